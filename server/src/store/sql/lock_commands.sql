-- Lock what is known of commands.
SELECT t.command, t.worker, t.change_time
FROM {p}command AS t {force_pk}
WHERE t.command IN ({rows:?})
ORDER BY t.command
{for_update}
