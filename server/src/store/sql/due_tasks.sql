-- Tasks that are due, the longest due first.
SELECT t.task_id
FROM {p}recurring_task AS t
WHERE t.next_time <= ?
ORDER BY t.next_time
LIMIT ?
