-- Forget servers that are long gone.
{delete server}
WHERE t.beat_time < ?
