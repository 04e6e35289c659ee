-- A month is dropped.
DELETE FROM {p}month
WHERE month = ? AND moved_to = ''
