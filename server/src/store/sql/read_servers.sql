-- Every server that was heard of in the last day.
SELECT server_id, about, draining, start_time, beat_time
FROM {p}server
