-- Note that a server lives.
INSERT INTO {p}server (server_id, address, beat_time)
VALUES (?, ?, ?)
{upsert:server_id}
    address = {new:address},
    beat_time = {new:beat_time}
