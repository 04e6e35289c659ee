-- A month is being dropped: from now on nobody reads it. The empty name stands for that.
UPDATE {p}month
SET moved_to = ''
WHERE month = ?
