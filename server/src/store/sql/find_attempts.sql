-- How attempts ended that did not end their run, by job and epoch.
SELECT t.job_id, t.epoch, t.ended
FROM {p}job_attempt_{m} AS t {force_pk}
WHERE {any:t.job_id, t.epoch}
