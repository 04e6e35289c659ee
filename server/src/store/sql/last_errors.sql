-- The error of the last attempt of a run that left one.
SELECT a.job_id, a.error
FROM (
    SELECT t.job_id, t.run, MAX(t.epoch) AS epoch
    FROM {p}job_attempt_{m} AS t
    WHERE ({any:t.job_id, t.run}) AND t.error IS NOT NULL
    GROUP BY t.job_id, t.run
) AS latest
JOIN {p}job_attempt_{m} AS a {force_pk} ON a.job_id = latest.job_id AND a.run = latest.run AND a.epoch = latest.epoch
