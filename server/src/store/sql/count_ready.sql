-- How many jobs wait.
SELECT COUNT(*) FROM {p}job_ready
