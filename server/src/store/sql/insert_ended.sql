-- Note runs whose end others wait for.
INSERT INTO {p}job_ended (job_id, run, ending, callback_of, callback_of_run)
VALUES {rows:(?, ?, ?, ?, ?)}
