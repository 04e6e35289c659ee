-- How many jobs of a month have not ended. Reads the live tables whole, for operators.
SELECT
    (SELECT COUNT(*) FROM {p}job_ready AS r WHERE r.month = ?)
    + (SELECT COUNT(*) FROM {p}job_lease AS l WHERE l.month = ?)
