-- Forget locks that nobody has held for long.
DELETE FROM {p}named_lock
WHERE {or:(name = ? AND token = ?)}
{by:name}
