-- Take keys that nobody is expected to hold: one that somebody holds is an error.
INSERT INTO {p}job_ref (ref_key, job_id, expire_time)
VALUES {rows:(?, ?, ?)}
