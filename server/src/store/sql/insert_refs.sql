-- Take keys in ascending order; a key that somebody holds is left alone, and the count tells.
{insert_new} INTO {p}job_ref (ref_key, job_id, expire_time)
VALUES {rows:(?, ?, ?)}
