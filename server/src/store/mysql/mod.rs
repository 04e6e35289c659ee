//! What is MySQL's and MariaDB's own: words, session settings, errors, checks.
//!
//! Everything else is written once for both databases, because the statements differ in a few words only; what
//! really differs lies here, beside [`super::sqlite`].

mod check;
mod errors;

use std::str::FromStr;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions as _, Connection as _};

pub(crate) use check::check;
pub(crate) use errors::fault;

use super::dialect::Words;
use super::fault::{Fault, Try};
use super::{Result, StoreError};
use crate::model::limits;

/// MySQL's words.
pub(crate) const WORDS: Words = Words {
    name: "mysql",
    begin: "START TRANSACTION",
    text: "MEDIUMTEXT",
    blob: "MEDIUMBLOB",
    id: "BIGINT",
    wide: TABLE,
    narrow: TABLE,
    for_update: "FOR UPDATE",
    skip_locked: "FOR UPDATE SKIP LOCKED",
    force_pk: "FORCE INDEX (PRIMARY)",
    insert_new: "INSERT IGNORE",
    now: "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)",
    key: |bytes| format!("VARBINARY({bytes})"),
    index: |name, columns| format!(", INDEX {name} ({columns})"),
    // Without an order by the key MariaDB reads a small table whole, waits for rows that others lock, and deadlocks with
    // them; hot tables are always small. An index hint does not help a DELETE, measured on 10.11.
    by: |key, rows| format!("ORDER BY {key} LIMIT {rows}"),
    by_range: |key| format!("ORDER BY {key} LIMIT {}", limits::GROUP_ROWS_MAX),
    // Pairs are compared, but not looked up by an index.
    between: |first, second| format!("{first} >= ? AND {second} >= ? AND {first} <= ? AND {second} <= ?"),
    // A list of rows is searched by halves, a chain of OR from end to end for each row.
    any: |columns, rows| {
        let row = format!("({})", vec!["?"; columns.len()].join(", "));
        format!("({}) IN ({})", columns.join(", "), vec![row; rows].join(", "))
    },
    upsert: |_| "ON DUPLICATE KEY UPDATE".to_owned(),
    new: |column| format!("VALUES({column})"),
};

const TABLE: &str = "ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// How long to wait for a new connection.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Said to every new connection. Waits are short, so that a server process that freezes holds nobody's locks for
/// long; the comment is read by MariaDB only, the one that knows the setting.
const SETTINGS: [&str; 2] = [
    "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
     SESSION time_zone = '+00:00', SESSION innodb_lock_wait_timeout = 5, SESSION lock_wait_timeout = 30, \
     SESSION wait_timeout = 30 /*M! , SESSION idle_transaction_timeout = 10 */",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/// Reads a URL such as `mysql://user:password@host:3306/database?socket=/run/mysqld/mysqld.sock`.
pub(crate) fn options(url: &str) -> Result<MySqlConnectOptions> {
    let bad = |why: String| StoreError::Other(format!("database URL: {why}"));
    let options = MySqlConnectOptions::from_str(url).map_err(|error| bad(error.to_string()))?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(bad("names no database: write mysql://user@host/database".into()));
    }
    Ok(options
        .charset("utf8mb4")
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .statement_cache_capacity(512)
        .disable_statement_logging())
}

/// One text of several statements, of which the first begins a transaction. MariaDB alone prepares such a block with its values
/// left open; it answers how many rows all of them changed.
pub(crate) fn block(texts: &[&str]) -> String {
    format!("BEGIN NOT ATOMIC {}; END", texts.join("; "))
}

/// Whether a version is that of MariaDB.
pub(crate) fn is_mariadb(version: &str) -> bool {
    version.to_lowercase().contains("mariadb")
}

/// A new connection with our settings.
pub(crate) async fn connect(options: &MySqlConnectOptions) -> Try<MySqlConnection> {
    let connecting = async {
        let mut connection = options.connect().await?;
        for setting in SETTINGS {
            sqlx::raw_sql(setting).execute(&mut connection).await?;
        }
        Ok::<_, sqlx::Error>(connection)
    };
    match tokio::time::timeout(CONNECT_TIME, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(connect_fault(&error)),
        Err(_) => Err(Fault::Gone(format!("no connection within {CONNECT_TIME:?}"))),
    }
}

/// Ends a connection politely, so that the server notes no aborted one.
pub(crate) async fn close(connection: MySqlConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "a database connection did not end politely");
    }
}

/// A refused password is our own fault and no outage; everything else may pass.
fn connect_fault(error: &sqlx::Error) -> Fault {
    match fault(error) {
        Fault::Store(error) => Fault::Store(error),
        other => Fault::Gone(StoreError::from(other).to_string()),
    }
}
