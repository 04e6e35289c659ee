-- Let jobs remember where their ready rows stand now.
UPDATE {p}job_{m} AS t {force_pk}
SET
    route_id = CASE t.job_id {each:WHEN ? THEN CAST(? AS SIGNED)} ELSE t.route_id END,
    priority = CASE t.job_id {each:WHEN ? THEN CAST(? AS SIGNED)} ELSE t.priority END,
    ready_time = CASE t.job_id {each:WHEN ? THEN CAST(? AS SIGNED)} ELSE t.ready_time END
WHERE t.job_id IN ({rows:?})
