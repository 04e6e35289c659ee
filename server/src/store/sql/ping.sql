-- Answers when the database can be read.
SELECT 1
