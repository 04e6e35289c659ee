-- Make a claim loop; one that exists is left alone.
{insert_new} INTO {p}claim_loop (session_id, loop_id, sequence, received)
VALUES (?, ?, 0, 0)
