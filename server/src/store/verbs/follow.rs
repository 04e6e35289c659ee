//! What follows the end of a run, in the outcome's own transaction: a note for those who wait for it, and what must
//! still happen before EXECUTED becomes COMPLETED.

use std::collections::BTreeMap;

use crate::model::{Ending, JobId, LeaseFlags, Month, Run, Spec};
use crate::store::Wake;
use crate::store::fault::Try;
use crate::store::rows::OutcomeRow;
use crate::store::statement::{Place, Sql};
use crate::store::unit::Unit;
use crate::store::value::values;
use crate::store::verbs::delivery::{NewDelivery, insert_deliveries};

/// What must still happen after a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    /// Its callback must end.
    Callback,
    /// Its notification must be delivered or given up.
    Notification,
}

impl Pending {
    /// The number that is stored.
    pub(super) fn code(self) -> i64 {
        match self {
            Pending::Callback => 1,
            Pending::Notification => 2,
        }
    }

    /// What follows a run of these options that ended so.
    pub(super) fn after(spec: &Spec, ending: Ending) -> Vec<Pending> {
        let callback = spec.callback_after(ending).map(|_| Pending::Callback);
        let notification = spec.reply_after(ending).map(|_| Pending::Notification);
        callback.into_iter().chain(notification).collect()
    }
}

/// A run that ends in this transaction.
pub(super) struct Over<'o> {
    pub(super) outcome: &'o OutcomeRow,
    pub(super) flags: LeaseFlags,
    /// The job's options, if the flags say that something follows.
    pub(super) spec: Option<&'o Spec>,
}

/// Notes what follows the ends of runs.
pub(super) async fn follow(unit: &mut Unit<'_>, over: &[Over<'_>]) -> Try<Wake> {
    let mut ended = Vec::new();
    let mut pending = Vec::new();
    let mut deliveries = Vec::new();
    for one in over {
        let (job, run, ending) = (one.outcome.job, one.outcome.run, one.outcome.ending);
        let callback_of = one.spec.and_then(|spec| spec.callback_of);
        if one.flags.has(LeaseFlags::CHILDREN) || callback_of.is_some() {
            let (of, of_run) = callback_of.unwrap_or((JobId(0), Run(0)));
            ended.push(values![job, run, ending.code(), of, of_run]);
        }
        for what in one.spec.map(|spec| Pending::after(spec, ending)).unwrap_or_default() {
            pending.push(values![job, run, what.code()]);
        }
        if let Some(reply) = one.spec.and_then(|spec| spec.reply_after(ending)) {
            deliveries.push(NewDelivery { job, run, to: &reply.to, now: one.outcome.finish_time });
        }
    }
    let wake = Wake { others_wait: !ended.is_empty(), notifies: !deliveries.is_empty(), ..Wake::default() };
    unit.insert(Sql::InsertEnded, Place::Fixed, ended).await?;
    unit.insert(Sql::InsertPending, Place::Fixed, pending).await?;
    insert_deliveries(unit, &deliveries).await?;
    Ok(wake)
}

/// Rows by the month of their jobs.
pub(super) fn by_month<T>(rows: impl IntoIterator<Item = (Month, T)>) -> BTreeMap<Month, Vec<T>> {
    let mut months: BTreeMap<Month, Vec<T>> = BTreeMap::new();
    rows.into_iter().for_each(|(month, row)| months.entry(month).or_default().push(row));
    months
}
