-- Where the next block of ids begins; whoever reserves one at the same time waits.
SELECT b.next_id, b.month
FROM {p}id_block AS b {force_pk}
WHERE b.name = ?
{for_update}
