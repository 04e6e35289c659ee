-- How the runs of a month ended, and when the last of each did. Reads the month's outcomes whole, for operators.
SELECT t.ending, COUNT(*), MAX(t.finish_time)
FROM {a}{p}outcome_{m} AS t
GROUP BY t.ending
