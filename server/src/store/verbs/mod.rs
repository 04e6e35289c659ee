//! The verbs, grouped by what they are about. Each is one unit of work; all are written once for both databases.

mod batch;
mod cancel;
mod claim;
mod command;
mod delivery;
mod enqueue;
mod family;
mod finish;
mod follow;
mod history;
mod ids;
#[cfg(test)]
mod interleavings;
mod lane;
mod lane_lease;
mod lock;
mod queue;
mod read;
mod recurring;
mod report;
mod requeue;
mod session;
mod tally;
mod upkeep;
mod walk;

use session::SILENT_AFTER;
pub(super) use upkeep::REAPER;

use super::rows::LeaseRow;
use super::value::{Value, values};
use crate::model::{JobId, Lease};

/// Tables of one month, as `month.sql` makes them.
pub(super) const MONTH_TABLES: [&str; 6] =
    ["job", "outcome", "job_attempt", "job_log", "job_label", "job_batch"];

/// The keys of jobs.
fn ids(jobs: &[JobId]) -> Vec<Value> {
    jobs.iter().map(|job| Value::Int(job.0)).collect()
}

/// The guards of leases: what they were when they were seen.
fn guards_of_leases(leases: &[&LeaseRow]) -> Vec<Value> {
    let guard = |row: &&LeaseRow| {
        let Lease { fence, flags, log_sequence, .. } = &row.lease;
        values![fence.job, fence.epoch, fence.nonce, flags.0, *log_sequence]
    };
    leases.iter().flat_map(guard).collect()
}

#[cfg(test)]
mod tests {
    use super::MONTH_TABLES;
    use crate::store::dialect::{Dialect, statements};

    #[test]
    fn the_tables_of_a_month_are_those_that_are_made() {
        let statements = statements(include_str!("../sql/month.sql"), Dialect::Sqlite);
        let name = |statement: &String| {
            let (_, rest) = statement.split_once("{p}").unwrap();
            rest.split_once("_{m}").unwrap().0.to_owned()
        };
        assert_eq!(statements.iter().map(name).collect::<Vec<_>>(), MONTH_TABLES);
    }
}
