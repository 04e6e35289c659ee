-- Everything that followed the end of a run is done: EXECUTED becomes COMPLETED, any other ending stays.
UPDATE {p}outcome_{m} AS t {force_pk}
SET
    ending = CASE WHEN t.ending = ? THEN ? ELSE t.ending END,
    notify_time = ?
WHERE t.job_id = ? AND t.run = ? AND t.notify_time = 0
