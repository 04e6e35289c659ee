-- How many jobs run.
SELECT COUNT(*) FROM {p}job_lease
