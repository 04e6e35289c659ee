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
#[cfg(test)]
mod held_back;
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

/// Rows that stand together are named by the first and the last from so many on; fewer are named one by one, many at a time
/// whatever stands between them.
const STRETCH_MIN: usize = 16;

/// The keys of jobs.
fn ids(jobs: &[JobId]) -> Vec<Value> {
    jobs.iter().map(|job| Value::Int(job.0)).collect()
}

/// Ids of jobs in ascending order, none named twice.
enum Ids<'i> {
    /// Each is one more than the one before: the first and the last. Whoever finds them by this range finds no others.
    InARow(JobId, JobId),
    /// Others may stand between them.
    Scattered(&'i [JobId]),
}

impl<'i> Ids<'i> {
    fn of(jobs: &'i [JobId]) -> Self {
        match (jobs.first(), jobs.last()) {
            (Some(first), Some(last)) if last.0 - first.0 == jobs.len() as i64 - 1 => {
                Ids::InARow(*first, *last)
            }
            _ => Ids::Scattered(jobs),
        }
    }
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
    use super::{Ids, MONTH_TABLES};
    use crate::model::JobId;
    use crate::store::dialect::{Dialect, statements};

    #[test]
    fn ids_stand_in_a_row_or_not() {
        let kind = |ids: &[i64]| match Ids::of(&ids.iter().copied().map(JobId).collect::<Vec<_>>()) {
            Ids::InARow(first, last) => Some((first.0, last.0)),
            Ids::Scattered(_) => None,
        };
        assert_eq!(kind(&[7]), Some((7, 7)));
        assert_eq!(kind(&[7, 8, 9]), Some((7, 9)));
        assert_eq!(kind(&[7, 9]), None);
        assert_eq!(kind(&[]), None);
    }

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
