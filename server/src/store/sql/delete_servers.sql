-- Forget servers that are long gone.
DELETE FROM {p}server
WHERE beat_time < ?
