-- Every lane that a transient run holds, with when its server was last alive: a sparse table, read whole.
SELECT t.lane_id, t.job_id, t.lease_time, s.beat_time
FROM {p}lane_lease AS t
LEFT JOIN {p}server AS s ON s.server_id = t.server_id
