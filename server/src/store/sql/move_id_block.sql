-- Take a block by compare-and-swap: one row, or somebody else was faster.
UPDATE {p}id_block
SET next_id = ?, month = ?
WHERE name = ? AND next_id = ? AND month = ?
