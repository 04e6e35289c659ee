-- Every queue that is paused: a sparse table, read whole.
SELECT name, pause_time, pause_reason
FROM {p}queue
