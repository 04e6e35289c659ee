-- Add to how long jobs waited.
INSERT INTO {p}tally_wait (slot_time, step, starts)
VALUES {rows:(?, ?, ?)}
{upsert:slot_time, step}
    starts = {old:starts} + {new:starts}
