-- Every command with the named worker that was declared for it last.
SELECT command, worker, declare_time, change_time
FROM {p}command
