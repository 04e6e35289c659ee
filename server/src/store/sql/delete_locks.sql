-- Forget locks that nobody has held for long.
DELETE FROM {p}named_lock
WHERE {any:name, token}
{by:name}
