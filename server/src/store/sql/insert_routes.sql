-- Make routes that are new; a route that exists keeps its id.
{insert_new} INTO {p}route (route_id, route_key, queue, kind, work)
VALUES {rows:(?, ?, ?, ?, ?)}
