//! MySQL's and MariaDB's errors, sorted by what to do about them.

use sqlx::mysql::MySqlDatabaseError;

use crate::store::StoreError;
use crate::store::fault::Fault;

/// What follows from an error of a statement.
pub(crate) fn fault(error: &sqlx::Error) -> Fault {
    let sqlx::Error::Database(database) = error else { return fault_of_driver(error) };
    let Some(mysql) = database.try_downcast_ref::<MySqlDatabaseError>() else {
        return Fault::other(error.to_string());
    };
    let why = format!("{} {}", mysql.number(), mysql.message());
    match mysql.number() {
        // Lock wait timeout, deadlock, snapshot conflict, plan to be made anew, interrupted, group replication.
        1205 | 1213 | 1020 | 1615 | 1317 | 3101 => Fault::Again(why),
        1062 | 1586 => Fault::Duplicate(why),
        // Disk full, table full, temporary file write.
        1021 | 1114 | 1026 | 3 => Fault::Full(why),
        // "Got error 28 from storage engine" is the disk; any other may pass.
        1030 if why.contains("error 28") => Fault::Full(why),
        // Too many connections, shutdown, network, read only, failover, killed, idle too long, statement too long.
        1040 | 1053 | 1077..=1080 | 1158..=1161 | 1184 | 1203 | 1226 | 1030 => Fault::Gone(why),
        1290 | 1792 | 1836 | 1047 | 1927 | 1969 | 1180 | 2006 | 2013 | 3024 | 3100 | 4031 => Fault::Gone(why),
        _ => Fault::Store(StoreError::Other(why)),
    }
}

fn fault_of_driver(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            Fault::Gone(error.to_string())
        }
        _ => Fault::other(error.to_string()),
    }
}
