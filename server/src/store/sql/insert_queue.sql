-- Make the row of a queue, before its limits are set.
{insert_new} INTO {p}queue (name, pause_time, pause_reason, concurrency, rate_count, rate_period, starts)
VALUES (?, 0, '', 0, 0, 0, NULL)
