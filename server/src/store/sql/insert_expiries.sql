-- Note when waiting jobs expire; one that is noted already is left alone.
{insert_new} INTO {p}job_expire (expire_time, job_id)
VALUES {rows:(?, ?)}
