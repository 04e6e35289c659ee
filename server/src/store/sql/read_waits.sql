-- How long jobs waited that started since a time.
SELECT t.step, t.starts
FROM {p}tally_wait AS t {force_pk}
WHERE t.slot_time >= ?
