-- The database's time in microseconds UTC; SQLite answers nothing, its time is the store's own clock.
SELECT {now}
