-- Resume a queue: one that is not paused has no row.
DELETE FROM {p}queue
WHERE name = ?
