-- When a task is due next.
SELECT t.next_time
FROM {p}recurring_task AS t
ORDER BY t.next_time
LIMIT 1
