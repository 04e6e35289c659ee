-- Forget old decisions.
DELETE FROM {p}recurring_tick
WHERE {any:tick_time, task_id}
{by:tick_time, task_id}
