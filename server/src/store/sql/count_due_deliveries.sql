-- How many notifications wait for a try.
SELECT COUNT(*)
FROM {p}delivery AS t
WHERE t.next_time < ?
