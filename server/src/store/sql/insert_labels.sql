-- Make jobs findable by what lists filter on; a label that is there already is left alone.
{insert_new} INTO {p}job_label_{m} (kind, value, job_id)
VALUES {rows:(?, ?, ?)}
