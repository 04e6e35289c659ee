-- Every session that is not lost, with the number of jobs that it holds.
SELECT
    t.session_id, t.state, t.name, t.instance_id, t.served, t.lease_time, t.create_time, t.expire_time, t.beat,
    t.server_id, t.completed, t.failed,
    (SELECT COUNT(*) FROM {p}job_lease AS l WHERE l.session_id = t.session_id)
FROM {p}session AS t
WHERE t.state <> ?
ORDER BY t.create_time, t.session_id
