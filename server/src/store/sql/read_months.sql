-- Every month whose ids were given out, oldest first.
SELECT month, first_id, moved_to
FROM {p}month
ORDER BY month
