-- Keep log lines: their key refuses a line that is stored already.
INSERT INTO {p}job_log_{m} (job_id, run, epoch, sequence, log_time, level, message, fields)
VALUES {rows:(?, ?, ?, ?, ?, ?, ?, ?)}
