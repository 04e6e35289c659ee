-- Jobs of a month with a label, oldest first.
SELECT t.job_id
FROM {a}{p}job_label_{m} AS t {force_pk}
WHERE t.kind = ? AND t.value = ? AND t.job_id > ?
ORDER BY t.job_id
LIMIT ?
