-- Keep the latest progress, status and checkpoint: what is not reported stays, an older checkpoint changes nothing.
-- The sequence comes last, since MySQL assigns in order and compares with what it has assigned.
INSERT INTO {p}job_progress (
    job_id, run, epoch, progress, status, checkpoint_sequence, checkpoint_kind, checkpoint_type, checkpoint,
    update_time
)
VALUES {rows:(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}
{upsert:job_id}
    run = {new:run},
    epoch = {new:epoch},
    progress = COALESCE({new:progress}, {old:progress}),
    status = COALESCE({new:status}, {old:status}),
    checkpoint_kind = CASE WHEN {new:checkpoint_sequence} > {old:checkpoint_sequence}
        THEN {new:checkpoint_kind} ELSE {old:checkpoint_kind} END,
    checkpoint_type = CASE WHEN {new:checkpoint_sequence} > {old:checkpoint_sequence}
        THEN {new:checkpoint_type} ELSE {old:checkpoint_type} END,
    checkpoint = CASE WHEN {new:checkpoint_sequence} > {old:checkpoint_sequence}
        THEN {new:checkpoint} ELSE {old:checkpoint} END,
    update_time = {new:update_time},
    checkpoint_sequence = CASE WHEN {new:checkpoint_sequence} > {old:checkpoint_sequence}
        THEN {new:checkpoint_sequence} ELSE {old:checkpoint_sequence} END
