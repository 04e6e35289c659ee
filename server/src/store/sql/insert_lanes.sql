-- Make the rows by which lanes are locked.
{insert_new} INTO {p}lane (lane_id, holder)
VALUES {rows:(?, 0)}
