-- The ids of routes by their keys.
SELECT route_id, route_key
FROM {p}route
WHERE route_key IN ({rows:?})
