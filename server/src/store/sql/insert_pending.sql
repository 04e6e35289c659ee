-- Note what must follow the end of runs.
INSERT INTO {p}job_pending (job_id, run, kind)
VALUES {rows:(?, ?, ?)}
