//! What is SQLite's own: words, settings, errors, checks, the lock of a file and the files of closed months.
//!
//! Everything else is written once for both databases, because the statements differ in a few words only; what
//! really differs lies here, beside [`super::mysql`].

mod check;
mod errors;
mod file_lock;
pub(crate) mod history;

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

pub(crate) use check::check;
pub(crate) use errors::fault;
pub(crate) use file_lock::FileLock;

use super::dialect::Words;
use super::fault::Try;

/// SQLite's words. It has one writer, so that a transaction that may write needs no locks on rows.
pub(crate) const WORDS: Words = Words {
    name: "sqlite",
    begin: "BEGIN IMMEDIATE",
    text: "TEXT",
    blob: "BLOB",
    id: "INTEGER",
    wide: "",
    narrow: "WITHOUT ROWID",
    for_update: "",
    skip_locked: "",
    force_pk: "",
    insert_new: "INSERT OR IGNORE",
    now: "NULL",
    key: |_| "BLOB".to_owned(),
    index: |_, _| String::new(),
    by: |_, _| String::new(),
    by_range: |_| String::new(),
    // Of two ranges an index serves the first alone.
    between: |first, second| format!("({first}, {second}) >= (?, ?) AND ({first}, {second}) <= (?, ?)"),
    // Each term is a look-up by key; a list of rows would be a table to join.
    any: |columns, rows| {
        let row = columns.iter().map(|column| format!("{column} = ?")).collect::<Vec<_>>().join(" AND ");
        vec![format!("({row})"); rows].join(" OR ")
    },
    upsert: |key| format!("ON CONFLICT ({key}) DO UPDATE SET"),
    new: |column| format!("excluded.{column}"),
};

/// How long a statement waits for another process that holds the file, such as a backup.
const BUSY_TIME: Duration = Duration::from_secs(5);

/// Page cache of a connection, KiB; less than none, or SQLite takes it for pages. Small: a commit walks over all of it whenever
/// a page that was split took another's place (`pcache1TruncateUnsafe`), and what is not in it lies in the system's cache.
const PAGE_CACHE: &str = "-8192";
/// Rows that a statement may be ahead of who reads them: those of a claim, so that it does not stop to wait.
const ROWS_AHEAD: usize = 1_000;

/// Settings of every connection to a file.
pub(crate) fn options(path: &Path, create: bool) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(create)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIME)
        .foreign_keys(false)
        .pragma("cache_size", PAGE_CACHE)
        .pragma("temp_store", "MEMORY")
        .pragma("journal_size_limit", "67108864")
        .pragma("wal_autocheckpoint", "2000")
        .statement_cache_capacity(512)
        .row_buffer_size(ROWS_AHEAD)
        .disable_statement_logging()
}

/// A new connection with our settings.
pub(crate) async fn connect(options: &SqliteConnectOptions) -> Try<SqliteConnection> {
    options.connect().await.map_err(|error| fault(&error))
}

/// Closes a connection.
pub(crate) async fn close(connection: SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "a database file was not closed cleanly");
    }
}
