-- Note when jobs of a limited queue started, under its lock.
UPDATE {p}queue AS t
SET starts = ?
WHERE t.name = ?
