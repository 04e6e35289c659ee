-- Keep what was decided about due times; a due time that was decided before is refused.
INSERT INTO {p}recurring_tick (tick_time, task_id, until_time, skip_count, job_id, decide_time)
VALUES {rows:(?, ?, ?, ?, ?, ?)}
