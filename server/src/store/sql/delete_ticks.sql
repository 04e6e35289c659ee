-- Forget old decisions.
DELETE FROM {p}recurring_tick
WHERE {or:(tick_time = ? AND task_id = ?)}
{by:tick_time, task_id}
