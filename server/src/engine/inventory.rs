//! Inventory: what a heartbeat's list of leases tells about the leases that the store knows.

use std::collections::{HashMap, HashSet};

use super::{Heartbeat, LoopReport};
use crate::model::{Fence, Lease};

/// What follows from an inventory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Leased here, but the worker process does not hold them: their claim's answer never arrived. They go back.
    pub(crate) unheld: Vec<Fence>,
    /// Held by the worker process, but leased no more.
    pub(crate) unknown: Vec<Fence>,
}

/// Compares what is leased with what is listed.
///
/// A lease is judged only if its claim is at or below `received`, or below `sent`, or equals a `sent` that is no longer
/// open: else its answer may be on the way, and nothing follows from its absence.
pub(crate) fn judge(leased: &[Lease], heartbeat: &Heartbeat) -> Findings {
    let loops: HashMap<i32, &LoopReport> =
        heartbeat.loops.iter().map(|report| (report.claim_loop, report)).collect();
    let listed: HashSet<Fence> = heartbeat.leases.iter().copied().collect();
    let known: HashSet<Fence> = leased.iter().map(|lease| lease.fence).collect();
    let arrived_or_never_will = |lease: &&Lease| {
        loops.get(&lease.claim_loop).is_some_and(|report| {
            lease.claim <= report.received
                || lease.claim < report.sent
                || (lease.claim == report.sent && !report.sent_open)
        })
    };
    Findings {
        unheld: leased
            .iter()
            .filter(|lease| !listed.contains(&lease.fence))
            .filter(arrived_or_never_will)
            .map(|lease| lease.fence)
            .collect(),
        unknown: heartbeat.leases.iter().filter(|fence| !known.contains(fence)).copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, JobId, LeaseFlags, Month, RouteId, Run, SessionId, Time, Turn};

    fn fence(job: i64) -> Fence {
        Fence { job: JobId(job), epoch: Epoch(1), nonce: job }
    }

    fn lease(job: i64, claim: i64) -> Lease {
        Lease {
            fence: fence(job),
            month: Month(202611),
            run: Run(1),
            route: RouteId(1),
            priority: 15,
            lane: None,
            session: SessionId([0; 16]),
            claim_loop: 0,
            claim,
            turn: Turn::default(),
            start_time: Time(0),
            deadline: Time(0),
            flags: LeaseFlags::default(),
            log_sequence: 0,
        }
    }

    fn beat(received: i64, sent: i64, sent_open: bool, held: &[i64]) -> Heartbeat {
        let loops = vec![LoopReport { claim_loop: 0, received, sent, sent_open }];
        Heartbeat { beat: 1, loops, leases: held.iter().map(|job| fence(*job)).collect() }
    }

    #[test]
    fn a_lease_whose_answer_may_be_on_the_way_is_not_judged() {
        assert_eq!(judge(&[lease(1, 5)], &beat(4, 5, true, &[])), Findings::default());
    }

    #[test]
    fn a_lease_whose_answer_arrived_or_never_will_goes_back() {
        let unheld = Findings { unheld: vec![fence(1)], unknown: vec![] };
        assert_eq!(judge(&[lease(1, 5)], &beat(5, 6, true, &[])), unheld, "received");
        assert_eq!(judge(&[lease(1, 5)], &beat(4, 6, true, &[])), unheld, "below sent");
        assert_eq!(judge(&[lease(1, 5)], &beat(4, 5, false, &[])), unheld, "sent and closed");
    }

    #[test]
    fn a_lease_of_a_loop_that_is_not_reported_is_not_judged() {
        let silent = Heartbeat { beat: 1, loops: vec![], leases: vec![] };
        assert_eq!(judge(&[lease(1, 5)], &silent), Findings::default());
    }

    #[test]
    fn a_listed_lease_that_is_none_is_told() {
        let told = Findings { unheld: vec![], unknown: vec![fence(2)] };
        assert_eq!(judge(&[lease(1, 5)], &beat(5, 5, false, &[1, 2])), told);
    }
}
