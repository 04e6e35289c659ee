-- Note what a worker process declares of its commands: the latest wins.
INSERT INTO {p}command (command, worker, version, request_schema, declare_time, change_time)
VALUES {rows:(?, ?, ?, ?, ?, ?)}
{upsert:command}
    worker = {new:worker},
    version = {new:version},
    request_schema = {new:request_schema},
    declare_time = {new:declare_time},
    change_time = {new:change_time}
