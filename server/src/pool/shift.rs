//! A shift: one session of the pool, from its registration to its end.
//!
//! The pool keeps to the very protocol of a worker process. Its one claim loop asks for as many jobs as it has free slots;
//! each answer that brought jobs is acknowledged; heartbeats carry the inventory; an outcome is repeated until it is
//! acknowledged. A session that was lost is followed by a new one.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Pool, message};
use crate::engine::{
    Ack, ClaimAnswer, ClaimCall, Down, Error, Heartbeat, LeasedJob, LoopReport, OutcomeReport, Refusal,
    RegisterCall, Report, ReportLink, Result, Stop,
};
use crate::model::{Ended, FailureReason, Fence, JobError, JobId, Payload, Session, Work, limits};
use crate::outbound::{Call, CallError, Endpoint, Trouble};

/// The pool's one claim loop.
const LOOP: i32 = 0;
/// Wait after an error before the next try.
const PAUSE: Duration = Duration::from_secs(1);
/// What outcomes have to be stored when no call is under way any more.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
/// When a call whose lease is in doubt is stopped, if its job is strict: this part of the lease without an acknowledged
/// heartbeat.
const DOUBT_PERCENT: u32 = 80;

/// Works in shifts until `stop`.
pub(super) async fn work(pool: &Pool, stop: &CancellationToken) {
    if pool.outbound.targets().next().is_none() {
        // Nothing can be called, and nobody need see a worker process that never works.
        return stop.cancelled().await;
    }
    while !stop.is_cancelled() {
        let ended = match begin(pool).await {
            Ok(shift) => shift.run(stop).await,
            Err(Error::ShuttingDown) => return,
            Err(error) => {
                tracing::warn!(%error, "the server's own pool could not register, trying again");
                End::Again
            }
        };
        if ended == End::Drained {
            tracing::warn!(
                "the server's own pool was told to drain: it makes no more API calls until the server restarts"
            );
            return stop.cancelled().await;
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn begin(pool: &Pool) -> Result<Shift> {
    let call = RegisterCall {
        name: pool.settings.name.clone(),
        instance_id: uuid::Uuid::new_v4().to_string(),
        commands: Vec::new(),
        queues: Vec::new(),
        targets: pool.outbound.targets().map(str::to_owned).collect(),
        labels: [("pool".to_owned(), "api".to_owned())].into(),
        slots: i32::try_from(pool.settings.slots).unwrap_or(i32::MAX),
        sdk: format!("haulier-pool {}", env!("CARGO_PKG_VERSION")),
        lease_time: limits::LEASE_TIME_DEFAULT,
    };
    let session = pool.engine.register(call).await?;
    let (link, down) = pool.engine.open_reports(session.id).await?;
    let mut beats = tokio::time::interval(session.lease_time / limits::BEATS_PER_LEASE);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Ok(Shift {
        pool: pool.clone(),
        session,
        link,
        down,
        beats,
        beat: 0,
        beats_sent: HashMap::new(),
        safe_since: tokio::time::Instant::now(),
        claim: None,
        sequence: 0,
        received: 0,
        calls: JoinSet::new(),
        held: HashMap::new(),
        unacknowledged: HashMap::new(),
        repeat_at: None,
    })
}

/// How a shift ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Another may begin.
    Again,
    /// An operator wants no more calls.
    Drained,
}

/// What a shift does until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Working,
    /// No more claims; calls under way have until then.
    Finishing(Instant, End),
    /// No more calls; outcomes are told until then.
    Closing(Instant, End),
}

/// Why a call is stopped.
#[derive(Debug)]
enum Why {
    Cancelled(String),
    TimedOut,
    /// The lease goes back, its attempt unspent.
    GivenBack,
}

type Claim = Pin<Box<dyn Future<Output = Result<ClaimAnswer>> + Send>>;

struct Shift {
    pool: Pool,
    session: Session,
    link: ReportLink,
    down: mpsc::Receiver<Down>,
    beats: Interval,
    beat: i64,
    beats_sent: HashMap<i64, Instant>,
    /// When the last heartbeat was sent that was acknowledged.
    safe_since: Instant,
    claim: Option<Claim>,
    /// Of the claim under way, or of the last one.
    sequence: i64,
    /// The highest answer that brought jobs.
    received: i64,
    calls: JoinSet<OutcomeReport>,
    held: HashMap<JobId, Held>,
    unacknowledged: HashMap<JobId, OutcomeReport>,
    /// When outcomes that could not be stored are told again.
    repeat_at: Option<Instant>,
}

/// A call under way.
struct Held {
    fence: Fence,
    is_strict: bool,
    stop: Option<oneshot::Sender<Why>>,
    task: Id,
}

impl Shift {
    async fn run(mut self, stop: &CancellationToken) -> End {
        let mut mode = Mode::Working;
        loop {
            if let Some(end) = self.end_of(mode) {
                return self.end(end).await;
            }
            if mode == Mode::Working && stop.is_cancelled() {
                mode = self.finish();
                continue; // with nothing under way it is over now
            }
            if mode == Mode::Working {
                self.claim_if_free();
            }
            mode = self.step(mode, stop).await;
        }
    }

    /// Waits for what comes first, and acts on it.
    async fn step(&mut self, mode: Mode, stop: &CancellationToken) -> Mode {
        let until = match mode {
            Mode::Working => None,
            Mode::Finishing(until, _) | Mode::Closing(until, _) => Some(until),
        };
        let repeat_at = self.repeat_at;
        tokio::select! {
            answer = answered(&mut self.claim) => {
                self.claim = None;
                return self.take_answer(answer, mode);
            }
            Some(done) = self.calls.join_next(), if !self.calls.is_empty() => self.tell(done),
            down = self.down.recv() => return self.take_down(down, mode),
            _ = self.beats.tick() => self.send_heartbeat(),
            () = at(repeat_at) => self.repeat_outcomes(),
            () = at(until) => return self.close(mode),
            () = stop.cancelled(), if mode == Mode::Working => {}
        }
        mode
    }

    /// A shift is over when nothing of it is open any more, or when it took too long.
    fn end_of(&self, mode: Mode) -> Option<End> {
        let is_idle = self.held.is_empty() && self.unacknowledged.is_empty();
        match mode {
            Mode::Working => None,
            Mode::Finishing(_, end) => is_idle.then_some(end),
            Mode::Closing(until, end) => (is_idle || tokio::time::Instant::now() >= until).then_some(end),
        }
    }

    /// Claims nothing more.
    fn finish(&mut self) -> Mode {
        self.claim = None;
        Mode::Finishing(tokio::time::Instant::now() + self.pool.settings.drain, End::Again)
    }

    /// The time of the calls is over: they are given back.
    fn close(&mut self, mode: Mode) -> Mode {
        let Mode::Finishing(_, end) = mode else { return mode };
        self.held.values_mut().for_each(|held| stop_call(held, Why::GivenBack));
        Mode::Closing(tokio::time::Instant::now() + CLOSE_WITHIN, end)
    }

    async fn end(mut self, end: End) -> End {
        self.calls.abort_all();
        self.down.close();
        self.link.finish().await;
        if let Err(error) = self.pool.engine.unregister(self.session.id).await {
            tracing::debug!(%error, "the pool's session was not ended, its lease ends it");
        }
        end
    }

    fn claim_if_free(&mut self) {
        let free = self.pool.settings.slots.saturating_sub(self.held.len() + self.unacknowledged.len());
        if self.claim.is_none() && free > 0 {
            self.sequence += 1;
            self.begin_claim(free, Duration::ZERO);
        }
    }

    fn begin_claim(&mut self, free: usize, after: Duration) {
        let call = ClaimCall {
            session: self.session.id,
            claim_loop: LOOP,
            sequence: self.sequence,
            ack_sequence: self.received,
            max_jobs: free.min(limits::CLAIM_JOBS_MAX as usize),
            wait: limits::CLAIM_WAIT_MAX,
        };
        let engine = self.pool.engine.clone();
        self.claim = Some(Box::pin(async move {
            tokio::time::sleep(after).await;
            engine.claim(call).await
        }));
    }

    fn take_answer(&mut self, answer: Result<ClaimAnswer>, mode: Mode) -> Mode {
        match answer {
            Ok(answer) => {
                if !answer.jobs.is_empty() {
                    self.received = self.sequence;
                    self.report(Report { received: vec![(LOOP, self.sequence)], ..Report::default() });
                    answer.jobs.into_iter().for_each(|leased| self.begin_call(leased));
                }
                mode
            }
            Err(Error::SessionLost | Error::StaleSequence { .. }) => self.lose(mode),
            Err(Error::ShuttingDown) if mode == Mode::Working => self.finish(),
            Err(_) if mode != Mode::Working => mode,
            Err(error) => {
                tracing::debug!(%error, "the pool's claim failed, repeating it");
                // The same sequence again: it finds what was leased to it, if anything was.
                self.begin_claim(1, PAUSE);
                mode
            }
        }
    }

    fn begin_call(&mut self, leased: LeasedJob) {
        let fence = leased.lease.fence;
        let (stop, stopped) = oneshot::channel();
        let (pool, is_strict) = (self.pool.clone(), leased.spec.is_strict());
        let task = self.calls.spawn(async move {
            let (ended, result) = make_call(&pool, leased, stopped).await;
            OutcomeReport { fence, log_sequence: 0, ended, result, follow: Vec::new() }
        });
        self.held.insert(fence.job, Held { fence, is_strict, stop: Some(stop), task: task.id() });
    }

    /// A call has ended, by itself or because it was stopped.
    fn tell(&mut self, done: std::result::Result<OutcomeReport, JoinError>) {
        let outcome = match done {
            Ok(outcome) => outcome,
            Err(error) => {
                let Some(held) = self.held.values().find(|held| held.task == error.id()) else { return };
                tracing::error!(job = %held.fence.job, %error, "an API call panicked");
                let ended =
                    failed(FailureReason::Api, "INTERNAL", "the server failed to make the call".into());
                OutcomeReport {
                    fence: held.fence,
                    log_sequence: 0,
                    ended,
                    result: Payload::None,
                    follow: Vec::new(),
                }
            }
        };
        let held = self.held.remove(&outcome.fence.job);
        if held.is_some_and(|held| held.fence == outcome.fence) {
            self.unacknowledged.insert(outcome.fence.job, outcome.clone());
            self.report(Report { outcomes: vec![outcome], ..Report::default() });
        }
    }

    fn take_down(&mut self, down: Option<Down>, mode: Mode) -> Mode {
        match down {
            Some(Down::Beat { beat, .. }) => {
                if let Some(sent) = self.beats_sent.remove(&beat) {
                    self.safe_since = self.safe_since.max(sent);
                }
                self.beats_sent.retain(|sent, _| *sent > beat);
            }
            Some(Down::Acks(acks)) => acks.iter().for_each(|ack| self.take_ack(ack)),
            Some(Down::LeaseLost { fence, reason }) => {
                tracing::debug!(job = %fence.job, reason, "an API call lost its lease");
                self.drop_call(fence);
            }
            Some(Down::Cancel { fence, reason, who, .. }) => {
                let why = match who {
                    Stop::Client => Why::Cancelled(reason),
                    Stop::Timeout => Why::TimedOut,
                };
                if let Some(held) = self.held.get_mut(&fence.job).filter(|held| held.fence == fence) {
                    stop_call(held, why);
                }
            }
            Some(Down::Drain { grace, .. }) if mode == Mode::Working => {
                self.claim = None;
                return Mode::Finishing(tokio::time::Instant::now() + grace, End::Drained);
            }
            Some(Down::SessionLost) | None => return self.lose(mode),
            Some(Down::Credit(_) | Down::Drain { .. }) => {}
        }
        mode
    }

    fn take_ack(&mut self, ack: &Ack) {
        let job = ack.fence.job;
        if self.unacknowledged.get(&job).is_none_or(|outcome| outcome.fence != ack.fence) {
            return;
        }
        match ack.refused {
            None if ack.outcome.is_none() => {}
            None | Some(Refusal::LeaseLost | Refusal::LogGap) => drop(self.unacknowledged.remove(&job)),
            Some(Refusal::Unavailable | Refusal::Exhausted) => {
                self.repeat_at = Some(tokio::time::Instant::now() + PAUSE)
            }
        }
    }

    /// The session is over: what runs is dropped, outcomes are still told, since they are judged by their lease alone.
    fn lose(&mut self, mode: Mode) -> Mode {
        if matches!(mode, Mode::Closing(..)) {
            return mode;
        }
        tracing::warn!("the session of the server's own pool is over, beginning another");
        self.claim = None;
        self.held.clear();
        self.calls.abort_all();
        self.repeat_outcomes();
        let end = if let Mode::Finishing(_, end) = mode { end } else { End::Again };
        Mode::Closing(tokio::time::Instant::now() + CLOSE_WITHIN, end)
    }

    fn drop_call(&mut self, fence: Fence) {
        if self.held.get(&fence.job).is_some_and(|held| held.fence == fence) {
            // Dropping the sender stops the call, and what it still tells finds no lease that is held.
            self.held.remove(&fence.job);
        }
        if self.unacknowledged.get(&fence.job).is_some_and(|outcome| outcome.fence == fence) {
            self.unacknowledged.remove(&fence.job);
        }
    }

    fn send_heartbeat(&mut self) {
        let lease_time = self.session.lease_time;
        if self.safe_since.elapsed() > lease_time * DOUBT_PERCENT / 100 {
            self.held
                .values_mut()
                .filter(|held| held.is_strict)
                .for_each(|held| stop_call(held, Why::GivenBack));
        }
        self.beat += 1;
        self.beats_sent.insert(self.beat, tokio::time::Instant::now());
        let held = self.held.values().map(|held| held.fence);
        let told = self.unacknowledged.values().map(|outcome| outcome.fence);
        let place = LoopReport {
            claim_loop: LOOP,
            received: self.received,
            sent: self.sequence,
            sent_open: self.claim.is_some(),
        };
        let heartbeat = Heartbeat { beat: self.beat, loops: vec![place], leases: held.chain(told).collect() };
        self.report(Report { heartbeat: Some(heartbeat), ..Report::default() });
    }

    fn repeat_outcomes(&mut self) {
        self.repeat_at = None;
        let outcomes: Vec<OutcomeReport> = self.unacknowledged.values().cloned().collect();
        if !outcomes.is_empty() {
            self.report(Report { outcomes, ..Report::default() });
        }
    }

    fn report(&mut self, report: Report) {
        if let Err(error) = self.link.take(report) {
            tracing::warn!(%error, "the pool's report was refused");
            self.repeat_at = Some(tokio::time::Instant::now() + PAUSE);
        }
    }
}

fn stop_call(held: &mut Held, why: Why) {
    if let Some(stop) = held.stop.take() {
        // One that has just ended needs no stop.
        let _ = stop.send(why);
    }
}

/// The answer of a claim; never, without one under way.
async fn answered(claim: &mut Option<Claim>) -> Result<ClaimAnswer> {
    match claim {
        Some(claim) => claim.await,
        None => std::future::pending().await,
    }
}

/// At this time; never, without one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Makes the call of a job, for at most what is left of its timeout.
async fn make_call(pool: &Pool, leased: LeasedJob, stopped: oneshot::Receiver<Why>) -> (Ended, Payload) {
    let Work::Api { target, method } = &leased.spec.work else {
        return (
            failed(FailureReason::Api, "NOT_AN_API", "the job is not an API call".into()),
            Payload::None,
        );
    };
    let Some(endpoint) = Endpoint::read(method) else {
        let message = format!("{method:?} is nothing that can be called");
        return (failed(FailureReason::Api, "NOT_ALLOWED", message), Payload::None);
    };
    let call = Call {
        target,
        endpoint: &endpoint,
        body: message::request_body(&leased.request),
        headers: message::call_headers(&leased),
        time: leased.lease.time_left(pool.engine.now()),
        answer_bytes_max: pool.settings.answer_bytes_max,
    };
    tokio::select! {
        biased;
        answer = pool.outbound.call(call) => match answer {
            Ok(answer) => (Ended::Completed, message::result(answer)),
            Err(error) => (after_error(error, |error| pool.outbound.retries(target, error)), Payload::None),
        },
        // Without a word the lease is lost, and nothing that is told will be stored.
        why = stopped => match why.unwrap_or(Why::GivenBack) {
            Why::Cancelled(reason) => (Ended::Cancelled(reason), Payload::None),
            Why::GivenBack => (Ended::Released, Payload::None),
            Why::TimedOut => {
                let message = "the call took longer than the job's timeout".into();
                (failed(FailureReason::Timeout, "TIMEOUT", message), Payload::None)
            }
        },
    }
}

fn after_error(error: CallError, retries: impl Fn(&CallError) -> bool) -> Ended {
    let retryable = if retries(&error) { None } else { Some(false) };
    let reason = match error.kind {
        Trouble::Api | Trouble::NotAllowed => FailureReason::Api,
        Trouble::Unreadable => FailureReason::UnreadableRequest,
        Trouble::TooLarge => FailureReason::UnstorableResult,
        Trouble::Late => FailureReason::Timeout,
    };
    match failed(reason, &error.code, error.message) {
        Ended::Failed { error: told, .. } => {
            Ended::Failed { error: told, retryable, retry_delay: error.retry_after }
        }
        other => other,
    }
}

fn failed(reason: FailureReason, code: &str, mut message: String) -> Ended {
    let most = limits::ERROR_MESSAGE_BYTES_MAX;
    if message.len() > most {
        let cut = (0..=most).rev().find(|at| message.is_char_boundary(*at)).unwrap_or_default();
        message.truncate(cut);
    }
    let error = JobError { code: code.to_owned(), message, stack: String::new(), reason };
    Ended::Failed { error, retryable: Some(false), retry_delay: None }
}
