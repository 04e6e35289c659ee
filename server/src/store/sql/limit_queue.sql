-- Set the limits of a queue whose row is locked.
UPDATE {p}queue AS t
SET concurrency = ?, rate_count = ?, rate_period = ?, starts = ?
WHERE t.name = ?
