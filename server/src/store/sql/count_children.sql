-- How many children wait for a parent, counted up to a limit.
SELECT COUNT(*)
FROM (SELECT 1 AS one FROM {p}job_edge AS t {force_pk} WHERE t.parent_id = ? LIMIT ?) AS counted
