-- Take a lock that has no row; one that exists is left alone, and the count tells.
{insert_new} INTO {p}named_lock (name, secret, owner, token, lease_time, acquire_time, expire_time, server_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
