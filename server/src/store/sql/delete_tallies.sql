-- Forget tallies of long ago.
DELETE FROM {p}tally
WHERE slot_time < ?
