-- Decisions about due times that are long past.
SELECT t.tick_time, t.task_id
FROM {p}recurring_tick AS t {force_pk}
WHERE t.tick_time < ?
ORDER BY t.tick_time, t.task_id
LIMIT ?
