-- Resume a queue.
UPDATE {p}queue AS t
SET pause_time = 0, pause_reason = ''
WHERE t.name = ? AND t.pause_time > 0
