-- Nobody holds a lock any more; its token stays, so that the next one is larger. Changes nothing when it was lost. Token 0:
-- whichever the owner holds it with.
UPDATE {p}named_lock AS t {force_pk}
SET secret = ?, owner = ?, expire_time = ?
WHERE t.name = ? AND t.secret = ? AND ? IN (t.token, 0)
