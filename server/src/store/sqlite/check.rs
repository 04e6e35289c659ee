//! The settings of SQLite that the promises rest on.

use crate::store::connection::Connection;
use crate::store::fault::Try;
use crate::store::{Check, Problem, Severity};

/// Looks at the settings, as one of our connections has them.
pub(crate) async fn check(connection: &mut Connection) -> Try<Vec<Check>> {
    let mut checks = Vec::new();
    let version = value(connection, "SELECT sqlite_version()").await?;
    checks.push(Check { name: "sqlite_version".into(), value: version, problem: None });
    let wanted = [
        (
            "journal_mode",
            "wal",
            Severity::Durability,
            "the file system may not carry WAL (network drives do not): put the file on a local disk",
        ),
        ("synchronous", "2", Severity::Durability, "accepted jobs may be lost with power: it must be FULL"),
        ("foreign_keys", "0", Severity::Advice, "not used, and costs time"),
    ];
    for (name, expected, severity, remedy) in wanted {
        let value = value(connection, &format!("PRAGMA {name}")).await?;
        let problem = (value != expected).then(|| Problem { severity, remedy: remedy.into() });
        checks.push(Check { name: name.into(), value, problem });
    }
    let busy = value(connection, "PRAGMA busy_timeout").await?;
    checks.push(Check { name: "busy_timeout".into(), value: busy, problem: None });
    Ok(checks)
}

async fn value(connection: &mut Connection, sql: &str) -> Try<String> {
    let rows = connection.look_up(sql).await?;
    Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()).unwrap_or_default())
}
