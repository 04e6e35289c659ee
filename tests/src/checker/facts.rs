//! The evidence, put in order: what each rule looks up.

use std::collections::{BTreeMap, HashMap};

use super::{Evidence, FinalJob};
use crate::history::{Event, Fault};

/// A handler that began, as its worker process saw it.
#[derive(Clone, Debug)]
pub(super) struct Start<'a> {
    pub(super) at: u64,
    pub(super) actor: &'a str,
    pub(super) job: i64,
    pub(super) run: i32,
    pub(super) attempt: i32,
    pub(super) epoch: i64,
}

/// Something that was broken for a while.
#[derive(Clone, Debug)]
pub(super) struct Breakage<'a> {
    pub(super) fault: Fault,
    pub(super) target: &'a str,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// The evidence by what is asked of it.
pub(super) struct Facts<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) jobs: HashMap<i64, &'a FinalJob>,
    /// Answers by intent: job, and whether it was said to be new.
    pub(super) accepted: BTreeMap<&'a str, Vec<(i64, bool)>>,
    /// Intents that were ever sent.
    pub(super) called: BTreeMap<&'a str, u64>,
    pub(super) starts: Vec<Start<'a>>,
    /// Ends of handlers: (job, epoch) -> well.
    pub(super) returns: HashMap<(i64, i64), bool>,
    pub(super) breakages: Vec<Breakage<'a>>,
    /// Stalls of worker processes: actor, from, to.
    pub(super) stalls: Vec<(&'a str, u64, u64)>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(evidence: &'a Evidence) -> Facts<'a> {
        let mut facts = Facts {
            evidence,
            jobs: evidence.jobs.iter().map(|job| (job.id, job)).collect(),
            accepted: BTreeMap::new(),
            called: BTreeMap::new(),
            starts: Vec::new(),
            returns: HashMap::new(),
            breakages: Vec::new(),
            stalls: Vec::new(),
        };
        for record in &evidence.records {
            let at = record.at;
            match &record.event {
                Event::EnqueueCalled { key } => {
                    facts.called.entry(key).or_insert(at);
                }
                Event::EnqueueAccepted { key, job, created } => {
                    facts.accepted.entry(key).or_default().push((*job, *created));
                }
                Event::Started { job, run, attempt, epoch } => {
                    let (job, run, attempt, epoch) = (*job, *run, *attempt, *epoch);
                    facts.starts.push(Start { at, actor: &record.actor, job, run, attempt, epoch });
                }
                Event::Returned { job, epoch, well } => {
                    facts.returns.insert((*job, *epoch), *well);
                }
                Event::Stalled { millis } => {
                    facts.stalls.push((&record.actor, at.saturating_sub(millis * 1_000_000), at));
                }
                Event::Broken { fault, target } => {
                    facts.breakages.push(Breakage { fault: *fault, target, from: at, to: u64::MAX });
                }
                Event::Healed { fault, target } => {
                    let mut latest_first = facts.breakages.iter_mut().rev();
                    let broken =
                        latest_first.find(|broken| broken.fault == *fault && broken.target == target);
                    if let Some(broken) = broken {
                        broken.to = at;
                    }
                }
                Event::CancelAnswered { .. } | Event::RequeueAnswered { .. } => {}
            }
        }
        facts
    }

    /// Was this worker process killed, frozen, or kept from running by the machine for so long that its lease may have run
    /// out, while it held the attempt of `epoch`? It held it from its start until another took the job at the latest.
    pub(super) fn had_reason_to_fall_silent(&self, actor: &str, job: i64, epoch: i64) -> bool {
        let of_job = |start: &&Start<'_>| start.job == job;
        let held = self.starts.iter().filter(of_job).find(|start| start.epoch == epoch);
        let next =
            self.starts.iter().filter(of_job).filter(|start| start.epoch > epoch).map(|start| start.at).min();
        let (begun, over) = (held.map_or(0, |start| start.at), next.unwrap_or(u64::MAX));
        let meanwhile = |from: u64, to: u64| from < over && to > begun;
        let struck = |broken: &Breakage<'_>| {
            broken.target == actor
                && matches!(broken.fault, Fault::WorkerKilled | Fault::WorkerFrozen)
                && meanwhile(broken.from, broken.to)
        };
        let half_lease = self.evidence.lease.as_nanos() as u64 / 2;
        self.breakages.iter().any(struck)
            || self
                .stalls
                .iter()
                .any(|&(who, from, to)| who == actor && to - from > half_lease && meanwhile(from, to))
    }

    /// Time between two points in which a server or the database was away, and the lease time that follows each outage.
    pub(super) fn outage(&self, from: u64, to: u64) -> u64 {
        let lease = self.evidence.lease.as_nanos() as u64;
        let of_ours = |broken: &&Breakage<'_>| {
            matches!(broken.fault, Fault::ServerKilled | Fault::ServerFrozen | Fault::DatabaseKilled)
        };
        let overlap = |broken: &Breakage<'_>| {
            let (begin, end) = (broken.from.max(from), broken.to.min(to));
            if begin < end { end - begin + lease } else { 0 }
        };
        self.breakages.iter().filter(of_ours).map(overlap).sum()
    }
}
