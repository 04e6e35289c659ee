-- How attempts ended that ended their run, by job and epoch: a repeat finds its own outcome.
SELECT t.job_id, t.epoch, t.ending
FROM {p}outcome_{m} AS t {force_pk}
WHERE {any:t.job_id, t.epoch}
