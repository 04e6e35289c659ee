-- Note that a transient run holds a lane, and whose it is. Its key refuses a second one.
INSERT INTO {p}lane_lease (lane_id, job_id, server_id, lease_time, take_time)
VALUES (?, ?, ?, ?, ?)
