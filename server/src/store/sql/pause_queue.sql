-- Pause a queue. One that is paused keeps its time and takes the new reason.
INSERT INTO {p}queue (name, pause_time, pause_reason, concurrency, rate_count, rate_period, starts)
VALUES (?, ?, ?, 0, 0, 0, NULL)
{upsert:name}
    pause_reason = {new:pause_reason},
    pause_time = CASE WHEN {old:pause_time} = 0 THEN {new:pause_time} ELSE {old:pause_time} END
