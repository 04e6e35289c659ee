-- Forget waits of long ago.
DELETE FROM {p}tally_wait
WHERE slot_time < ?
