-- Where the next block of ids begins, without waiting.
SELECT b.next_id, b.month
FROM {p}id_block AS b
WHERE b.name = ?
