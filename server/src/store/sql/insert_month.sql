-- Note where a month's ids begin; the first word stands.
{insert_new} INTO {p}month (month, first_id)
VALUES (?, ?)
