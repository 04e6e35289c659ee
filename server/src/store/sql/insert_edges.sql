-- Let children wait for parents.
INSERT INTO {p}job_edge (parent_id, child_id, condition_code)
VALUES {rows:(?, ?, ?)}
