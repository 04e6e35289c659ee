-- Note the file that a closed month was copied to; SQLite only.
UPDATE {p}month
SET moved_to = ?
WHERE month = ?
