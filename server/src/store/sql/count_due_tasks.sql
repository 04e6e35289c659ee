-- How many recurring tasks come due.
SELECT COUNT(*)
FROM {p}recurring_task AS t
WHERE t.next_time < ?
