//! SQLite's errors, sorted by what to do about them.

use crate::store::StoreError;
use crate::store::fault::Fault;

const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READ_ONLY: i32 = 8;
const INTERRUPTED: i32 = 9;
const IO: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANNOT_OPEN: i32 = 14;
const NOT_A_DATABASE: i32 = 26;
const IO_FSYNC: i32 = 1034;
const IO_DIR_FSYNC: i32 = 1290;
const UNIQUE: [i32; 3] = [1555, 2067, 2579];

/// What follows from an error of a statement. A failed fsync or a corrupt file ends the process: what the file
/// holds is not known any more, and whatever is acknowledged from here on may be lost.
pub(crate) fn fault(error: &sqlx::Error) -> Fault {
    let sqlx::Error::Database(database) = error else { return fault_of_driver(error) };
    let code: i32 = database.code().and_then(|code| code.parse().ok()).unwrap_or_default();
    let why = format!("SQLite: {error}");
    match (code & 0xff, code) {
        (_, IO_FSYNC | IO_DIR_FSYNC) | (CORRUPT | NOT_A_DATABASE, _) => stop(&why),
        (_, code) if UNIQUE.contains(&code) => Fault::Duplicate(why),
        (BUSY | LOCKED | INTERRUPTED, _) => Fault::Again(why),
        (FULL, _) => Fault::Full(why),
        (READ_ONLY | IO | CANNOT_OPEN, _) => Fault::Gone(why),
        _ => Fault::Store(StoreError::Other(why)),
    }
}

fn fault_of_driver(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => Fault::Gone(error.to_string()),
        _ => Fault::other(error.to_string()),
    }
}

fn stop(why: &str) -> ! {
    tracing::error!(
        "the database file cannot be trusted any more, this process ends: {why}. Look at the disk; restore the file \
         from a backup if `PRAGMA integrity_check` finds faults"
    );
    std::process::abort()
}
