-- Every route there is.
SELECT route_id, queue, kind, work
FROM {p}route
ORDER BY route_id
