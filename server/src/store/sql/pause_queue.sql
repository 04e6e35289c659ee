-- Pause a queue. One that is paused keeps its time and takes the new reason.
INSERT INTO {p}queue (name, pause_time, pause_reason)
VALUES (?, ?, ?)
{upsert:name}
    pause_reason = {new:pause_reason}
