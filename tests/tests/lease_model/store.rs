//! The store: every method is one transaction, hence one atomic step of the model.

use super::model::{Call, Guard, Protocol, Scope};

/// Stored as the sequence of the loops of an ended session: no claim is above it.
pub(crate) const ENDED: u8 = u8::MAX;

/// A lease token. The model's epochs never repeat within a job, so the nonce needs no field of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Token {
    pub(crate) job: u8,
    pub(crate) epoch: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Ending {
    Complete,
    Fail,
    Release,
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    pub(crate) epoch: u8,
    pub(crate) session: u8,
    pub(crate) claim: u8,
    pub(crate) acknowledged: bool,
}

/// A job's rows. Presence of each row is kept apart from the others, so that a broken protocol can
/// really store a job twice or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    pub(crate) enqueued: bool,
    pub(crate) ready: bool,
    pub(crate) leases: Vec<Lease>,
    pub(crate) history: Vec<u8>,
    pub(crate) run: u8,
    pub(crate) epoch: u8,
    pub(crate) cancel_asked: bool,
    pub(crate) failures: u8,
    pub(crate) crashes: u8,
    pub(crate) silent_reaps: u8,
    /// One bit per epoch whose attempt has a recorded outcome (history or `job_attempt`).
    pub(crate) settled: u32,
    /// Only watched: attempts that ended without being spent.
    pub(crate) releases: u8,
    /// Only watched: how often earlier runs may have been started.
    pub(crate) earlier_starts: u8,
    /// Only watched: one bit per epoch that a handler was started for.
    pub(crate) started: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Standing {
    Live,
    Lost,
    /// Lost, and the reaper found no more leases: it never looks here again.
    Swept,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) standing: Standing,
    pub(crate) sequence: u8,
    pub(crate) beat: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Answer {
    Leases(Vec<Token>),
    Stale,
    SessionLost,
}

/// What a heartbeat says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Inventory {
    pub(crate) session: u8,
    pub(crate) beat: u8,
    pub(crate) received: u8,
    pub(crate) sent: u8,
    pub(crate) sent_open: bool,
    pub(crate) listed: Vec<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stored,
    LeaseLost,
    /// Written although the lease was not the holder's: what the guard exists to prevent.
    Forged,
}

/// What a reap did to the count of crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    Nothing,
    Crash(Token),
    SilentCrash,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    pub(crate) jobs: Vec<Job>,
    pub(crate) sessions: Vec<Session>,
}

impl Store {
    pub(crate) fn new(scope: &Scope) -> Self {
        Self { jobs: vec![Job::default(); usize::from(scope.jobs)], sessions: Vec::new() }
    }

    /// Loop rows are written with the session: were they made by the first claim, a claim that comes
    /// after the end of its session would find no guard.
    pub(crate) fn register(&mut self) -> u8 {
        self.sessions.push(Session { standing: Standing::Live, sequence: 0, beat: 0 });
        last_index(self.sessions.len())
    }

    pub(crate) fn enqueue(&mut self, job: u8) {
        let job = self.job(job);
        job.enqueued = true;
        job.ready = true;
    }

    /// First half of a claim: `None` means that it may wait for jobs. Also tells which leases were given back.
    pub(crate) fn arrive(&mut self, protocol: &Protocol, call: &Call) -> (Option<Answer>, Vec<Token>) {
        if self.session(call.session).standing != Standing::Live {
            return (Some(Answer::SessionLost), Vec::new());
        }
        if let Some(refusal) = self.refuse(protocol, call, Guard::LoopSequence) {
            return (Some(refusal), Vec::new());
        }
        self.acknowledge(protocol, call);
        let above = if protocol.has(Guard::OnlyAboveAcknowledged) { call.acknowledged } else { 0 };
        let taken = self.give_back(protocol, call.session, |lease, _| lease.claim > above);
        (None, taken)
    }

    /// Second half: lease these ready jobs, unless the loop has moved on meanwhile.
    pub(crate) fn claim(&mut self, protocol: &Protocol, call: &Call, jobs: &[u8]) -> Answer {
        if let Some(refusal) = self.refuse(protocol, call, Guard::LoopSequenceAgain) {
            return refusal;
        }
        Answer::Leases(jobs.iter().map(|&job| self.lease(protocol, call, job)).collect())
    }

    /// A new job goes straight to a waiting claim, or becomes ready when the claim is refused.
    pub(crate) fn hand_off(&mut self, protocol: &Protocol, call: &Call, job: u8) -> Answer {
        self.job(job).enqueued = true;
        let refusal = self.refuse(protocol, call, Guard::LoopSequenceAgain);
        if let Some(refusal) = refusal {
            self.job(job).ready = protocol.has(Guard::RefusedHandoffIsReady);
            return refusal;
        }
        Answer::Leases(vec![self.lease(protocol, call, job)])
    }

    fn refuse(&self, protocol: &Protocol, call: &Call, guard: Guard) -> Option<Answer> {
        if !protocol.has(guard) {
            return None;
        }
        match self.session(call.session).sequence {
            ENDED => Some(Answer::SessionLost),
            stored if call.sequence < stored => Some(Answer::Stale),
            stored if call.sequence == stored => Some(Answer::Leases(self.leased_by(call.session, stored))),
            _ => None,
        }
    }

    fn lease(&mut self, protocol: &Protocol, call: &Call, job: u8) -> Token {
        self.sessions[usize::from(call.session)].sequence = call.sequence;
        let row = self.job(job);
        row.ready &= !protocol.has(Guard::ClaimTakesReadyRow);
        row.epoch += 1;
        let (epoch, session, claim) = (row.epoch, call.session, call.sequence);
        row.leases.push(Lease { epoch, session, claim, acknowledged: false });
        Token { job, epoch }
    }

    /// Exactly the answer named, not those below it: below may be a lease that a frozen server
    /// made for a sequence the client had long left.
    fn acknowledge(&mut self, protocol: &Protocol, call: &Call) {
        let exact = protocol.has(Guard::AcknowledgesExactly);
        for lease in self.jobs.iter_mut().flat_map(|job| &mut job.leases) {
            let named = lease.claim == call.acknowledged || (!exact && lease.claim < call.acknowledged);
            lease.acknowledged |= lease.session == call.session && named;
        }
    }

    pub(crate) fn received(&mut self, session: u8, claim: u8) {
        for lease in self.jobs.iter_mut().flat_map(|job| &mut job.leases) {
            lease.acknowledged |= lease.session == session && lease.claim == claim;
        }
    }

    pub(crate) fn outcome(&mut self, protocol: &Protocol, token: Token, ending: Ending) -> Verdict {
        let job = self.job(token.job);
        let held = job.leases.iter().any(|lease| lease.epoch == token.epoch);
        if !held && job.settled & bit(token.epoch) != 0 {
            return Verdict::Stored;
        }
        if !held && protocol.has(Guard::OutcomeFence) {
            return Verdict::LeaseLost;
        }
        job.leases.clear();
        job.settled |= bit(token.epoch);
        job.silent_reaps = 0;
        job.after(protocol, ending);
        if held { Verdict::Stored } else { Verdict::Forged }
    }

    /// `None`: the session is lost. The other value: what was given back.
    pub(crate) fn beat(&mut self, protocol: &Protocol, inventory: &Inventory) -> Option<Vec<Token>> {
        let session = &mut self.sessions[usize::from(inventory.session)];
        if session.standing != Standing::Live {
            return None;
        }
        if inventory.beat < session.beat && protocol.has(Guard::BeatOrder) {
            return Some(Vec::new());
        }
        session.beat = inventory.beat;
        let taken = self.give_back(protocol, inventory.session, |lease, token| {
            judged(protocol, inventory, lease.claim) && !inventory.listed.contains(&token)
        });
        Some(taken)
    }

    fn give_back(
        &mut self,
        protocol: &Protocol,
        session: u8,
        unheld: impl Fn(&Lease, Token) -> bool,
    ) -> Vec<Token> {
        let mut taken = Vec::new();
        for (index, job) in (0u8..).zip(&mut self.jobs) {
            let token = |lease: &Lease| Token { job: index, epoch: lease.epoch };
            let of_session = |lease: &&Lease| lease.session == session && unheld(lease, token(lease));
            let Some(found) = job.leases.iter().find(of_session).copied() else { continue };
            taken.push(token(&found));
            job.drop_lease(found.epoch);
            job.silent_reaps = 0;
            job.releases += 1;
            job.revive_or(protocol);
        }
        taken
    }

    pub(crate) fn lose_session(&mut self, protocol: &Protocol, session: u8) {
        let row = &mut self.sessions[usize::from(session)];
        row.standing = Standing::Lost;
        if protocol.has(Guard::EndedSessionEndsLoops) {
            row.sequence = ENDED;
        }
        self.sweep(session);
    }

    fn sweep(&mut self, session: u8) {
        let left = self.jobs.iter().flat_map(|job| &job.leases).any(|lease| lease.session == session);
        if !left {
            self.sessions[usize::from(session)].standing = Standing::Swept;
        }
    }

    pub(crate) fn reapable(&self, job: u8) -> bool {
        let lost = |lease: &Lease| self.session(lease.session).standing == Standing::Lost;
        self.jobs[usize::from(job)].leases.iter().any(lost)
    }

    pub(crate) fn reap(&mut self, protocol: &Protocol, job: u8) -> Blame {
        let sessions = self.sessions.clone();
        let lost = |lease: &&Lease| sessions[usize::from(lease.session)].standing == Standing::Lost;
        let row = self.job(job);
        let Some(lease) = row.leases.iter().find(lost).copied() else { return Blame::Nothing };
        row.drop_lease(lease.epoch);
        let blame = row.blame(protocol, Token { job, epoch: lease.epoch }, lease.acknowledged);
        if row.crashes >= protocol.scope.crash_limit {
            row.finish(protocol)
        } else {
            row.revive_or(protocol)
        }
        self.sweep(lease.session);
        blame
    }

    /// The deadline and its grace are over: a failure, whatever the holder does.
    pub(crate) fn time_out(&mut self, protocol: &Protocol, job: u8) {
        let row = self.job(job);
        row.leases.clear();
        row.silent_reaps = 0;
        row.after(protocol, Ending::Fail);
    }

    pub(crate) fn cancel(&mut self, protocol: &Protocol, job: u8) {
        let row = self.job(job);
        row.cancel_asked = true;
        if row.leases.is_empty() {
            row.finish(protocol);
        }
    }

    pub(crate) fn force_cancel(&mut self, protocol: &Protocol, job: u8) {
        self.job(job).finish(protocol);
    }

    pub(crate) fn requeue(&mut self, protocol: &Protocol, job: u8) {
        let row = self.job(job);
        row.run += 1;
        row.earlier_starts += 1 + protocol.scope.retry_limit + row.crashes;
        (row.failures, row.crashes) = (0, 0);
        row.cancel_asked = false;
        row.revive();
    }

    pub(crate) fn leased_by(&self, session: u8, claim: u8) -> Vec<Token> {
        let of_claim = |lease: &&Lease| lease.session == session && lease.claim == claim;
        let tokens = |(job, row): (u8, &Job)| {
            let epochs: Vec<u8> = row.leases.iter().filter(of_claim).map(|lease| lease.epoch).collect();
            epochs.into_iter().map(move |epoch| Token { job, epoch })
        };
        (0u8..).zip(&self.jobs).flat_map(tokens).collect()
    }

    pub(crate) fn leases(&self) -> impl Iterator<Item = (Token, &Lease)> {
        let of_job = |(job, row)| {
            let row: &Job = row;
            row.leases.iter().map(move |lease| (Token { job, epoch: lease.epoch }, lease))
        };
        (0u8..).zip(&self.jobs).flat_map(of_job)
    }

    pub(crate) fn is_leased(&self, token: Token) -> bool {
        self.jobs[usize::from(token.job)].leases.iter().any(|lease| lease.epoch == token.epoch)
    }

    pub(crate) fn job(&mut self, job: u8) -> &mut Job {
        &mut self.jobs[usize::from(job)]
    }

    pub(crate) fn session(&self, session: u8) -> &Session {
        &self.sessions[usize::from(session)]
    }
}

impl Job {
    pub(crate) fn is_ended(&self) -> bool {
        self.history.contains(&self.run)
    }

    /// In how many of the places where a job can be does this one stand? One, if the protocol is sound.
    pub(crate) fn places(&self) -> usize {
        usize::from(self.ready) + usize::from(!self.leases.is_empty()) + usize::from(self.is_ended())
    }

    fn after(&mut self, protocol: &Protocol, ending: Ending) {
        match ending {
            Ending::Complete | Ending::Cancelled => self.finish(protocol),
            Ending::Fail => {
                self.failures += u8::from(protocol.has(Guard::FailureSpendsAttempt));
                let spent = self.failures > protocol.scope.retry_limit;
                if spent { self.finish(protocol) } else { self.revive_or(protocol) }
            }
            Ending::Release => {
                self.releases += 1;
                self.revive_or(protocol);
            }
        }
    }

    fn blame(&mut self, protocol: &Protocol, token: Token, acknowledged: bool) -> Blame {
        if acknowledged || !protocol.has(Guard::CrashNeedsAcknowledgement) {
            self.silent_reaps = 0;
            self.crashes += 1;
            return Blame::Crash(token);
        }
        self.releases += 1;
        self.silent_reaps += 1;
        if self.silent_reaps < 3 || !protocol.has(Guard::ThirdSilentReapIsCrash) {
            return Blame::Nothing;
        }
        self.silent_reaps = 0;
        self.crashes += 1;
        Blame::SilentCrash
    }

    /// The history's primary key: the first outcome of a run stands, whatever the code does.
    fn finish(&mut self, protocol: &Protocol) {
        self.ready = false;
        self.leases.clear();
        if !self.is_ended() || !protocol.has(Guard::HistoryKey) {
            self.history.push(self.run);
        }
    }

    /// A cancel mark wins over a new attempt.
    fn revive_or(&mut self, protocol: &Protocol) {
        if self.cancel_asked { self.finish(protocol) } else { self.revive() }
    }

    fn revive(&mut self) {
        self.epoch += 1;
        self.ready = true;
    }

    fn drop_lease(&mut self, epoch: u8) {
        self.leases.retain(|lease| lease.epoch != epoch);
    }
}

/// May this heartbeat say anything about leases of that claim? Only where the client can no longer
/// come to hold what the claim leased: else the lease may be in an answer on its way.
fn judged(protocol: &Protocol, inventory: &Inventory, claim: u8) -> bool {
    if !protocol.has(Guard::InventoryJudges) {
        return false;
    }
    if !protocol.has(Guard::JudgesOnlyKnownClaims) || claim <= inventory.received {
        return true;
    }
    if claim < inventory.sent {
        return protocol.has(Guard::JudgesBelowSent);
    }
    let given_up = !inventory.sent_open || !protocol.has(Guard::OpenCallIsNotJudged);
    claim == inventory.sent && given_up && protocol.has(Guard::JudgesGivenUpCall)
}

pub(crate) fn bit(epoch: u8) -> u32 {
    1 << epoch
}

fn last_index(len: usize) -> u8 {
    u8::try_from(len - 1).expect("a model has a handful of sessions")
}
