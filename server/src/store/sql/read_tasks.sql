-- Tasks in the order of their names, without their requests, which may be large.
SELECT t.task_id, t.name, t.revision, t.next_time, t.create_time, t.update_time, t.definition, t.standing
FROM {p}recurring_task AS t
WHERE t.name >= ? AND t.name > ? AND t.name < ?
ORDER BY t.name
LIMIT ?
