-- Note that a server lives, and since when without a gap. The time of the beat comes last, since MySQL assigns in order
-- and compares with what it has assigned.
INSERT INTO {p}server (server_id, about, draining, start_time, beat_time, alive_since)
VALUES (?, ?, ?, ?, ?, ?)
{upsert:server_id}
    draining = {new:draining},
    alive_since = CASE WHEN {new:beat_time} - {old:beat_time} > ? THEN {new:beat_time} ELSE {old:alive_since} END,
    beat_time = {new:beat_time}
