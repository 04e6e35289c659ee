//! Transient runs, in memory: what waits for a worker process, what runs, and what has ended in the last minute.
//!
//! Everything here is a step under one lock, without waiting. What must be stored elsewhere, the lane of a named worker,
//! is held beside it ([`super::run`]). A server that ends takes its transient runs along.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::room::Waiter;
use super::{Error, Result};
use crate::clock;
use crate::model::{
    CancelMark, CancelReason, Cancelled, Circumstances, Ended, Ending, FailureReason, Fence, Job, JobError,
    JobId, Lease, LeaseFlags, Level, LogLine, Next, Outcome, Payload, Phase, Route, RouteId, Run, SessionId,
    Spec, State, Time, Turn, View, Wait, after_transient, limits,
};
use crate::store::{
    CancelAnswer, Fate, Finish, Finished, LeasedJob, LogAppend, LogPosition, ProgressWrite, Written,
};

/// The code of the error of a run that nobody serves.
pub(crate) const NO_WORKER_HERE: &str = "NO_WORKER_HERE";
/// What a run weighs beside its payloads and lines, bytes.
const RUN_BYTES: usize = 1_024;
/// What a log line weighs beside its text, bytes.
const LINE_BYTES: usize = 64;

/// A run that is to begin.
pub(crate) struct NewRun {
    pub(crate) job: Job,
    /// The lane that it must hold while it runs.
    pub(crate) lane: Option<RouteId>,
    /// How long it waits for somebody who serves its command.
    pub(crate) patience: Duration,
}

/// Where a run stands.
enum Stage {
    Waiting,
    /// Leased; the name is that of the worker process.
    Leased(Lease, String),
    Ended(Box<Outcome>),
}

struct Entry {
    job: Job,
    stage: Stage,
    turn: Turn,
    lane: Option<RouteId>,
    /// The lane is held in its name, and must be left when it does not run.
    holds_lane: bool,
    progress: Option<f64>,
    status: String,
    checkpoint: Option<(i64, Payload)>,
    lines: Vec<LogLine>,
    line_bytes: usize,
    cancel: Option<CancelMark>,
    /// The fence of the last attempt, and whether it was taken from its worker process.
    last: Option<(Fence, bool)>,
    patience: Duration,
    /// Since when nobody serves its command; none while somebody does.
    unserved_since: Option<Instant>,
    /// When it ended.
    ended: Option<Instant>,
    /// What it was counted with, bytes.
    weight: usize,
}

#[derive(Default)]
struct Inner {
    runs: HashMap<JobId, Entry>,
    refs: HashMap<String, JobId>,
    /// In the order of arrival; looked at by priority.
    waiting: Vec<JobId>,
    bytes: usize,
}

/// Every transient run of this server.
#[derive(Default)]
pub(crate) struct Transients {
    inner: Mutex<Inner>,
    /// Lanes are taken and left one at a time.
    pub(crate) lanes: tokio::sync::Mutex<()>,
}

/// A run that waits, as dealing sees it.
pub(crate) struct WaitingRun {
    pub(crate) job: JobId,
    pub(crate) route: Route,
    pub(crate) lane: Option<RouteId>,
}

/// A running run that its worker process must be told something about, or that is over by time.
pub(crate) struct Running {
    pub(crate) lease: Lease,
    pub(crate) timeout: Duration,
    pub(crate) cancel: Option<CancelMark>,
}

impl Transients {
    /// Takes a run in. Its ref id must be free here.
    pub(crate) fn add(&self, new: NewRun) -> Result<()> {
        let mut inner = self.lock();
        let NewRun { job, lane, patience } = new;
        inner.make_room(job.request.len() + RUN_BYTES)?;
        if inner.refs.contains_key(&job.spec.ref_id) {
            return Err(Error::RefTaken { ref_id: job.ref_id(), job: JobId(0) });
        }
        inner.refs.insert(job.spec.ref_id.clone(), job.id);
        inner.waiting.push(job.id);
        let entry = Entry {
            stage: Stage::Waiting,
            turn: Turn::default(),
            lane,
            holds_lane: false,
            progress: None,
            status: String::new(),
            checkpoint: None,
            lines: Vec::new(),
            line_bytes: 0,
            cancel: None,
            last: None,
            patience,
            unserved_since: Some(clock::instant()),
            ended: None,
            weight: 0,
            job,
        };
        let job = entry.job.id;
        inner.runs.insert(job, entry);
        inner.weigh(job);
        Ok(())
    }

    /// The run of a ref id.
    pub(crate) fn by_ref(&self, ref_id: &str) -> Option<JobId> {
        self.lock().refs.get(ref_id).copied()
    }

    /// A run with all that is known of it.
    pub(crate) fn view(&self, job: JobId) -> Option<View> {
        self.lock().runs.get(&job).map(Entry::view)
    }

    /// Its last checkpoint.
    pub(crate) fn checkpoint(&self, job: JobId) -> Option<Payload> {
        let inner = self.lock();
        inner.runs.get(&job)?.checkpoint.as_ref().map(|(_, payload)| payload.clone())
    }

    /// Its log lines after a position, oldest first.
    pub(crate) fn lines(&self, job: JobId, after: LogPosition, level: Level, limit: i64) -> Vec<LogLine> {
        let inner = self.lock();
        let Some(entry) = inner.runs.get(&job) else { return Vec::new() };
        let comes = |line: &&LogLine| {
            line.level >= level
                && (LogPosition { run: line.run, epoch: line.epoch, sequence: line.sequence }) > after
        };
        entry.lines.iter().filter(comes).take(usize::try_from(limit).unwrap_or_default()).cloned().collect()
    }

    /// Runs that wait for a worker process, the highest priority first and then the longest waiting.
    pub(crate) fn waiting(&self) -> Vec<WaitingRun> {
        let inner = self.lock();
        let mut waiting: Vec<&Entry> = inner.waiting.iter().filter_map(|job| inner.runs.get(job)).collect();
        waiting.sort_by_key(|entry| -entry.job.spec.priority);
        waiting
            .into_iter()
            .map(|entry| WaitingRun { job: entry.job.id, route: entry.job.spec.route(), lane: entry.lane })
            .collect()
    }

    /// The run that waits, among those that `fits` accepts: of the highest priority the one that has waited longest.
    pub(crate) fn first_waiting(&self, fits: impl Fn(&Spec) -> bool) -> Option<JobId> {
        let inner = self.lock();
        let entries = inner.waiting.iter().filter_map(|job| inner.runs.get(job));
        // A lane must be taken first.
        let fitting = entries.filter(|entry| entry.lane.is_none() && fits(&entry.job.spec));
        fitting.rev().max_by_key(|entry| entry.job.spec.priority).map(|entry| entry.job.id)
    }

    /// Leases a run that still waits to a claim; its lane, if it has one, is held.
    pub(crate) fn lease(&self, job: JobId, waiter: &Waiter, now: Time) -> Option<LeasedJob> {
        let mut inner = self.lock();
        let entry = inner.runs.get_mut(&job).filter(|entry| matches!(entry.stage, Stage::Waiting))?;
        let epoch = entry.turn.epoch.next(now);
        entry.turn = Turn { epoch, attempt: entry.turn.attempt + 1, ..entry.turn };
        let lease = Lease {
            fence: Fence { job, epoch, nonce: clock::random_63() },
            month: entry.job.month,
            run: entry.job.run,
            route: RouteId::default(),
            priority: entry.job.spec.priority,
            lane: entry.lane,
            session: waiter.ticket.session,
            claim_loop: waiter.ticket.claim_loop,
            claim: waiter.ticket.sequence,
            turn: entry.turn,
            start_time: now,
            deadline: now.plus(entry.job.spec.timeout),
            flags: LeaseFlags::default(),
            log_sequence: 0,
        };
        entry.stage = Stage::Leased(lease, waiter.session.name.clone());
        entry.unserved_since = None;
        entry.holds_lane = entry.lane.is_some();
        let leased = entry.leased();
        inner.waiting.retain(|waiting| *waiting != job);
        leased
    }

    /// Runs that a session holds, of one claim loop or of all.
    pub(crate) fn leases(&self, session: SessionId, claim_loop: Option<i32>) -> Vec<Lease> {
        let inner = self.lock();
        let of = |lease: &&Lease| {
            lease.session == session && claim_loop.is_none_or(|number| number == lease.claim_loop)
        };
        inner.runs.values().filter_map(Entry::lease).filter(of).cloned().collect()
    }

    /// What one claim was answered, as far as it is still held.
    pub(crate) fn answered(&self, session: SessionId, claim_loop: i32, claim: i64) -> Vec<LeasedJob> {
        let inner = self.lock();
        let of = |entry: &&Entry| {
            entry.lease().is_some_and(|lease| {
                (lease.session, lease.claim_loop, lease.claim) == (session, claim_loop, claim)
            })
        };
        inner.runs.values().filter(of).filter_map(Entry::leased).collect()
    }

    /// Takes log lines.
    pub(crate) fn append(&self, append: LogAppend) -> Written {
        let mut inner = self.lock();
        let LogAppend { fence, lines } = append;
        let written = inner.held(fence).map_or(Written::LeaseLost, |entry| entry.append(lines));
        inner.weigh(fence.job);
        written
    }

    /// Takes progress, status and a checkpoint.
    pub(crate) fn write_progress(&self, write: ProgressWrite) -> Written {
        let mut inner = self.lock();
        let Some(entry) = inner.held(write.fence) else { return Written::LeaseLost };
        entry.progress = write.progress.or(entry.progress);
        if let Some(status) = write.status {
            entry.status = status;
        }
        let newer = |(sequence, _): &(i64, Payload)| {
            entry.checkpoint.as_ref().is_none_or(|(stored, _)| sequence > stored)
        };
        if let Some(checkpoint) = write.checkpoint.filter(newer) {
            entry.checkpoint = Some(checkpoint);
        }
        inner.weigh(write.fence.job);
        Written::Stored(0)
    }

    /// Ends an attempt.
    pub(crate) fn finish(&self, end: &Finish, now: Time) -> Finished {
        let mut inner = self.lock();
        let Some(entry) = inner.held(end.fence) else { return inner.repeated(end.fence) };
        let Some(lease) = entry.lease() else { return Finished::LeaseLost };
        if lease.log_sequence < end.log_sequence {
            return Finished::LogGap(lease.log_sequence);
        }
        let state = entry.end(end, now);
        if state.waits() {
            inner.waiting.push(end.fence.job);
        }
        inner.weigh(end.fence.job);
        Finished::Stored(state)
    }

    /// What became of a lease that a worker process believes it holds.
    pub(crate) fn fate(&self, fence: Fence) -> Fate {
        let mut inner = self.lock();
        if inner.held(fence).is_some() {
            return Fate::Held;
        }
        match inner.repeated(fence) {
            Finished::Repeated(state) => Fate::Ended(state),
            _ => Fate::Gone,
        }
    }

    /// Cancels a run: at once while it waits, through its handler while it runs.
    pub(crate) fn cancel(&self, job: JobId, text: &str, grace: Duration, now: Time) -> CancelAnswer {
        let mut inner = self.lock();
        let Some(entry) = inner.runs.get_mut(&job) else { return CancelAnswer::NotFound };
        match &entry.stage {
            Stage::Ended(outcome) => CancelAnswer::Ended(outcome.ending.state()),
            Stage::Leased(lease, _) => {
                let epoch = lease.fence.epoch;
                let mark = || CancelMark {
                    job,
                    epoch,
                    reason: CancelReason::Client,
                    text: text.to_owned(),
                    force_time: now.plus(grace),
                };
                CancelAnswer::Requested(entry.cancel.get_or_insert_with(mark).clone())
            }
            Stage::Waiting => {
                entry.cancel_waiting(CancelReason::Client, text.to_owned(), now);
                inner.waiting.retain(|waiting| *waiting != job);
                CancelAnswer::Cancelled
            }
        }
    }

    /// Runs that a worker process holds.
    pub(crate) fn running(&self) -> Vec<Running> {
        let inner = self.lock();
        let running = |entry: &Entry| {
            let lease = entry.lease()?.clone();
            Some(Running { lease, timeout: entry.job.spec.timeout, cancel: entry.cancel.clone() })
        };
        inner.runs.values().filter_map(running).collect()
    }

    /// Ends runs that nobody serves or that have waited for too long; answers which.
    pub(crate) fn tidy(&self, is_served: impl Fn(&Route) -> bool, now: Time) -> Vec<JobId> {
        let mut inner = self.lock();
        let mut ended = Vec::new();
        for job in inner.waiting.clone() {
            let Some(entry) = inner.runs.get_mut(&job) else { continue };
            if entry.is_unserved(&is_served) {
                entry.fail_unserved(now);
            } else if now.since(entry.job.run_time) > entry.job.spec.timeout {
                let text = format!("it had not started within its timeout of {:?}", entry.job.spec.timeout);
                entry.cancel_waiting(CancelReason::Expired, text, now);
            } else {
                continue;
            }
            ended.push(job);
        }
        inner.waiting.retain(|job| !ended.contains(job));
        ended
    }

    /// Forgets runs that ended so long ago.
    pub(crate) fn forget_old(&self, life: Duration) {
        self.lock().forget(|entry| entry.ended.is_some_and(|at| at.elapsed() >= life && !entry.holds_lane));
    }

    /// Lanes that are held in the name of runs that do not run.
    pub(crate) fn lanes_to_leave(&self) -> Vec<(RouteId, JobId)> {
        let inner = self.lock();
        let idle = |entry: &&Entry| entry.holds_lane && entry.lease().is_none();
        inner.runs.values().filter(idle).filter_map(|entry| Some((entry.lane?, entry.job.id))).collect()
    }

    /// A lane is held no more.
    pub(crate) fn left_lane(&self, job: JobId) {
        if let Some(entry) = self.lock().runs.get_mut(&job) {
            entry.holds_lane = false;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The run that is leased by exactly this fence.
    fn held(&mut self, fence: Fence) -> Option<&mut Entry> {
        let entry = self.runs.get_mut(&fence.job)?;
        let holds = entry.lease().is_some_and(|lease| lease.fence == fence);
        holds.then_some(entry)
    }

    /// The answer to an end of a lease that is no longer held.
    fn repeated(&self, fence: Fence) -> Finished {
        match self.runs.get(&fence.job) {
            Some(entry) if entry.last == Some((fence, false)) => Finished::Repeated(entry.state()),
            _ => Finished::LeaseLost,
        }
    }

    /// Counts anew what a run weighs; ended ones give way when all become too heavy.
    fn weigh(&mut self, job: JobId) {
        let Some(entry) = self.runs.get_mut(&job) else { return };
        let weight = entry.bytes();
        self.bytes = self.bytes + weight - entry.weight;
        entry.weight = weight;
        self.forget_some(self.bytes.saturating_sub(limits::TRANSIENT_BYTES_MAX));
    }

    /// Refuses one more run when there are too many, or when they are too heavy with it.
    fn make_room(&mut self, bytes: usize) -> Result<()> {
        self.forget_some((self.bytes + bytes).saturating_sub(limits::TRANSIENT_BYTES_MAX));
        let is_crowded = self.runs.len() >= limits::TRANSIENT_RUNS_MAX
            && self.runs.values().filter(|entry| entry.ended.is_none()).count() >= limits::TRANSIENT_RUNS_MAX;
        if is_crowded || self.bytes + bytes > limits::TRANSIENT_BYTES_MAX {
            let message = "as many transient runs are under way as this server keeps in memory".into();
            return Err(Error::Overloaded { message, retry: Duration::from_secs(1) });
        }
        Ok(())
    }

    /// Forgets so many bytes of ended runs before their time, the oldest first.
    fn forget_some(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut ended: Vec<(Instant, JobId, usize)> = self
            .runs
            .values()
            .filter(|entry| !entry.holds_lane)
            .filter_map(|entry| Some((entry.ended?, entry.job.id, entry.weight)))
            .collect();
        ended.sort_unstable();
        let (mut freed, mut gone) = (0, HashSet::new());
        for (_, job, weight) in ended {
            if freed >= bytes {
                break;
            }
            freed += weight;
            gone.insert(job);
        }
        self.forget(|entry| gone.contains(&entry.job.id));
    }

    fn forget(&mut self, over: impl Fn(&Entry) -> bool) {
        let (mut freed, mut refs) = (0, Vec::new());
        self.runs.retain(|_, entry| {
            let gone = over(entry);
            if gone {
                freed += entry.weight;
                refs.push(entry.job.spec.ref_id.clone());
            }
            !gone
        });
        self.bytes -= freed;
        for ref_id in refs {
            self.refs.remove(&ref_id);
        }
    }
}

/// How a run ended.
struct End {
    ending: Ending,
    result: Payload,
    error: Option<JobError>,
    cancelled: Option<Cancelled>,
}

impl Entry {
    fn lease(&self) -> Option<&Lease> {
        match &self.stage {
            Stage::Leased(lease, _) => Some(lease),
            _ => None,
        }
    }

    fn leased(&self) -> Option<LeasedJob> {
        Some(LeasedJob {
            lease: self.lease()?.clone(),
            create_time: self.job.create_time,
            spec: self.job.spec.clone(),
            request: self.job.request.clone(),
            checkpoint: self.checkpoint.clone(),
            last_error: None,
            parents: Vec::new(),
        })
    }

    fn state(&self) -> State {
        match &self.stage {
            Stage::Waiting if self.lane.is_some() => State::Blocked,
            Stage::Waiting => State::Queued,
            Stage::Leased(..) => State::Running,
            Stage::Ended(outcome) => outcome.ending.state(),
        }
    }

    fn view(&self) -> View {
        let phase = match &self.stage {
            Stage::Waiting => Phase::Ready(self.lane.map_or(Wait::Worker, Wait::Turn)),
            Stage::Leased(lease, name) => Phase::Leased(Box::new(lease.clone()), name.clone()),
            Stage::Ended(outcome) => Phase::Ended(outcome.clone()),
        };
        View {
            job: self.job.clone(),
            phase,
            turn: self.turn,
            progress: self.progress,
            progress_estimated: false,
            status: self.status.clone(),
            cancel: self.cancel.as_ref().map(|mark| mark.text.clone()),
            cancel_deadline: self.cancel.as_ref().map(|mark| mark.force_time),
            last_error: None,
        }
    }

    /// What it weighs, bytes.
    fn bytes(&self) -> usize {
        let result = match &self.stage {
            Stage::Ended(outcome) => outcome.result.len(),
            _ => 0,
        };
        let checkpoint = self.checkpoint.as_ref().map_or(0, |(_, payload)| payload.len());
        RUN_BYTES + self.job.request.len() + result + checkpoint + self.line_bytes
    }

    /// Takes the lines that follow those that are known. Beyond the limit they are counted and not kept.
    fn append(&mut self, lines: Vec<LogLine>) -> Written {
        let run = self.job.run;
        let Stage::Leased(lease, _) = &mut self.stage else { return Written::LeaseLost };
        for line in lines {
            if line.sequence > lease.log_sequence + 1 {
                return Written::Gap(lease.log_sequence);
            }
            if line.sequence <= lease.log_sequence {
                continue;
            }
            lease.log_sequence = line.sequence;
            let before = self.line_bytes;
            self.line_bytes += line.message.len() + line.fields.len() + LINE_BYTES;
            if self.line_bytes <= limits::TRANSIENT_LOG_BYTES_MAX {
                self.lines.push(LogLine { run, ..line });
                continue;
            }
            if before <= limits::TRANSIENT_LOG_BYTES_MAX {
                let most = limits::TRANSIENT_LOG_BYTES_MAX >> 10;
                let message = format!("the log was cut here: {most} KiB of a transient run are kept");
                self.lines.push(LogLine { run, level: Level::Warn, message, fields: String::new(), ..line });
            }
            // Said once: what is not kept weighs nothing more.
            self.line_bytes = limits::TRANSIENT_LOG_BYTES_MAX + 1;
        }
        Written::Stored(lease.log_sequence)
    }

    /// Ends the attempt that is under way.
    fn end(&mut self, end: &Finish, now: Time) -> State {
        let Stage::Leased(lease, worker_process) = &self.stage else { return self.state() };
        let at = Circumstances {
            policy: &self.job.spec.retry,
            turn: lease.turn,
            run_time: self.job.run_time,
            now,
            cancel: self.cancel.as_ref().map(|mark| (mark.reason, mark.text.as_str())),
            timeout: self.job.spec.timeout,
            chance: 0.0,
        };
        let next = after_transient(&end.ended, &at);
        let was_taken = matches!(
            end.ended,
            Ended::TimedOut | Ended::Forced | Ended::Crashed { .. } | Ended::TakenBack | Ended::Undelivered
        );
        self.last = Some((lease.fence, was_taken));
        match next {
            Next::Ready { turn, .. } => {
                (self.turn, self.stage, self.unserved_since) = (turn, Stage::Waiting, None);
            }
            Next::Done { ending, turn, error, cancelled, .. } => {
                let start =
                    Some((lease.start_time, lease.session, worker_process.clone(), lease.log_sequence));
                let result = if ending == Ending::Completed { end.result.clone() } else { Payload::None };
                self.turn = turn;
                self.settle(End { ending, result, error, cancelled }, start, now);
            }
        }
        self.state()
    }

    fn cancel_waiting(&mut self, reason: CancelReason, text: String, now: Time) {
        let cancelled = Some(Cancelled { reason, text });
        let end = End { ending: Ending::Cancelled, result: Payload::None, error: None, cancelled };
        self.settle(end, None, now);
    }

    fn is_unserved(&mut self, is_served: impl Fn(&Route) -> bool) -> bool {
        if is_served(&self.job.spec.route()) {
            self.unserved_since = None;
            return false;
        }
        self.unserved_since.get_or_insert_with(clock::instant).elapsed() > self.patience
    }

    fn fail_unserved(&mut self, now: Time) {
        let message = "no worker process on this server serves the command".into();
        let reason = FailureReason::Crash;
        let error = JobError { code: NO_WORKER_HERE.into(), message, stack: String::new(), reason };
        let end = End { ending: Ending::Failed, result: Payload::None, error: Some(error), cancelled: None };
        self.settle(end, None, now);
    }

    fn settle(&mut self, end: End, start: Option<(Time, SessionId, String, i64)>, now: Time) {
        let (start_time, session, worker_process, log_sequence) = match start {
            Some((time, session, name, lines)) => (Some(time), Some(session), name, lines),
            None => (None, None, String::new(), 0),
        };
        let End { ending, result, error, cancelled } = end;
        self.stage = Stage::Ended(Box::new(Outcome {
            run: Run(1),
            ending,
            turn: self.turn,
            start_time,
            finish_time: now,
            session,
            worker_process,
            result,
            error,
            cancelled,
            status: self.status.clone(),
            log_sequence,
            notify_time: None,
            callback: None,
            callback_error: String::new(),
            notify_error: String::new(),
        }));
        self.cancel = None;
        self.ended = Some(clock::instant());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Month, ReadyKey, RetryPolicy, Work};

    fn run(id: i64, ref_id: &str, bytes: usize) -> NewRun {
        let id = JobId(-id);
        let mut spec = Box::new(Spec::new(Work::Command("work".into())));
        spec.ref_id = ref_id.into();
        spec.retry = RetryPolicy::transient();
        let job = Job {
            id,
            month: Month(202611),
            run: Run(1),
            run_time: Time(0),
            create_time: Time(0),
            ready: ReadyKey { route: RouteId(0), priority: 15, ready_time: Time(0), job: id },
            spec: spec.into(),
            request: Payload::Json(vec![b' '; bytes].into()),
            digest: [0; 16],
        };
        NewRun { job, lane: None, patience: Duration::from_secs(60) }
    }

    fn ref_id(number: i64) -> String {
        format!("r{number}")
    }

    #[test]
    fn a_ref_id_is_taken_until_its_run_is_forgotten() {
        let runs = Transients::default();
        runs.add(run(1, "one", 0)).unwrap();
        assert!(matches!(runs.add(run(2, "one", 0)), Err(Error::RefTaken { .. })));
        assert_eq!(runs.cancel(JobId(-1), "no", Duration::ZERO, Time(1)), CancelAnswer::Cancelled);
        runs.forget_old(Duration::from_secs(60));
        assert!(runs.add(run(2, "one", 0)).is_err(), "it is known for a while");
        runs.forget_old(Duration::ZERO);
        assert_eq!((runs.by_ref("one"), runs.view(JobId(-1)).is_none()), (None, true));
        assert!(runs.add(run(2, "one", 0)).is_ok());
    }

    #[test]
    fn too_many_runs_are_refused_and_ended_ones_give_way() {
        let runs = Transients::default();
        for number in 1..=limits::TRANSIENT_RUNS_MAX as i64 {
            runs.add(run(number, &ref_id(number), 0)).unwrap();
        }
        let one_more = || run(-1 + i64::MAX, "more", 0);
        assert!(matches!(runs.add(one_more()), Err(Error::Overloaded { .. })));
        runs.cancel(JobId(-1), "", Duration::ZERO, Time(1));
        assert!(runs.add(one_more()).is_ok());
    }

    #[test]
    fn runs_that_are_too_heavy_are_refused_and_ended_ones_give_way() {
        let runs = Transients::default();
        let most = (limits::TRANSIENT_BYTES_MAX / (3 << 20)) as i64;
        for number in 1..=most {
            runs.add(run(number, &ref_id(number), 3 << 20)).unwrap();
        }
        assert!(matches!(runs.add(run(99, "more", 3 << 20)), Err(Error::Overloaded { .. })));
        runs.cancel(JobId(-1), "", Duration::ZERO, Time(1));
        assert!(runs.add(run(99, "more", 3 << 20)).is_ok());
        assert!(runs.view(JobId(-1)).is_none(), "the ended one gave way");
    }

    #[test]
    fn a_run_that_waits_longer_than_its_timeout_is_over_and_so_is_one_that_nobody_serves() {
        let runs = Transients::default();
        runs.add(run(1, "served", 0)).unwrap();
        runs.add(NewRun { patience: Duration::ZERO, ..run(2, "unserved", 0) }).unwrap();
        let long = Time(0).plus(limits::TIMEOUT_DEFAULT + Duration::from_secs(1));
        assert_eq!(runs.tidy(|_| false, Time(1)), [JobId(-2)]);
        let outcome = |id: i64| runs.view(JobId(id)).unwrap().outcome().cloned().unwrap();
        assert_eq!(outcome(-2).error.unwrap().code, NO_WORKER_HERE);
        assert!(runs.tidy(|_| true, Time(1)).is_empty());
        assert_eq!(runs.tidy(|_| true, long), [JobId(-1)]);
        assert_eq!(outcome(-1).cancelled.unwrap().reason, CancelReason::Expired);
    }

    #[test]
    fn of_those_that_wait_the_highest_priority_goes_first_and_then_the_longest_waiting() {
        let runs = Transients::default();
        for (number, priority) in [(1, 15), (2, 20), (3, 20), (4, 5)] {
            let mut new = run(number, &ref_id(number), 0);
            new.job.spec_mut().priority = priority;
            runs.add(new).unwrap();
        }
        assert_eq!(runs.first_waiting(|_| true), Some(JobId(-2)));
        assert_eq!(runs.first_waiting(|spec| spec.priority < 20), Some(JobId(-1)));
        let order: Vec<i64> = runs.waiting().iter().map(|run| -run.job.0).collect();
        assert_eq!(order, [2, 3, 1, 4]);
    }
}
