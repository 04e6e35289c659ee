//! Reports: what a worker process says of the jobs it holds, taken from its one stream.
//!
//! Nothing here makes the reading of the stream wait. Each part of a message becomes work of its own; only two orders are
//! kept: an outcome comes after the log lines of its lease, and the list of leases in a heartbeat is judged after the outcomes
//! before it. The heartbeat itself waits for nothing: an outcome may wait for a lock that a frozen server holds.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::group::Commit;
use super::inventory;
use super::sessions::SessionLink;
use super::unit::unit;
use super::{
    Ack, CheckpointReport, Core, Down, Engine, Error, Heartbeat, LogsReport, OutcomeReport, ProgressReport,
    Refusal, Report, Result,
};
use crate::model::{Ended, Fence, JobId, LogLine, Run, SessionId, limits};
use crate::store::{
    Beat, BeatAnswer, ClaimTicket, Fate, Finish, Finished, LogAppend, OnLocked, ProgressWrite, StoreError,
    Written,
};

/// What a worker process hears that was told to drain through another server, or before its stream was open.
const DRAIN_REASON: &str = "the worker process was told to drain";
/// Time between two tries to store a heartbeat.
const BEAT_RETRY: Duration = Duration::from_millis(200);
/// Messages on their way down before their writers wait.
const DOWN_MAX: usize = 1_024;
/// Outcomes under way of which none is looked at to forget it.
const FORGET_AT_MIN: usize = 64;

/// Cancelled when a piece of work is done, even by a panic: something to wait for, not to stop.
type Done = CancellationToken;

/// One report stream of a worker process.
pub struct ReportLink {
    engine: Engine,
    session: SessionId,
    /// None when the session was over before the stream began: outcomes are judged by their lease all the same.
    link: Option<Arc<SessionLink>>,
    down: mpsc::Sender<Down>,
    work: TaskTracker,
    /// The last write of log lines or checkpoints of a lease that is under way.
    tails: HashMap<JobId, Done>,
    /// Outcomes that the list of leases in a heartbeat must wait for.
    before_beat: Vec<Done>,
    /// How many of them it takes to look which are done.
    forget_at: usize,
    open_outcomes: Arc<AtomicUsize>,
    open_bytes: Arc<AtomicI64>,
    /// Nothing comes any more.
    ended: CancellationToken,
}

impl Engine {
    /// Opens the way for reports of a session. If it is over, `SessionLost` goes down first.
    pub async fn open_reports(&self, session: SessionId) -> Result<(ReportLink, mpsc::Receiver<Down>)> {
        let core = Arc::clone(&self.core);
        let link = match unit(async move { core.session(session).await }).await {
            Ok(link) => Some(link),
            Err(Error::SessionLost) => None,
            Err(error) => return Err(error),
        };
        let (down, receiver) = mpsc::channel(DOWN_MAX);
        match &link {
            Some(link) => {
                link.attach(down.clone());
                // Told before this stream was open, or to one that is gone: tell it again.
                if link.is_draining() {
                    link.mark_draining(DRAIN_REASON.into(), limits::WORKER_DRAIN);
                }
                self.core.hub.repeat_directives();
            }
            None => drop(down.try_send(Down::SessionLost)),
        }
        let report = ReportLink {
            engine: self.clone(),
            session,
            link,
            down,
            work: TaskTracker::new(),
            tails: HashMap::new(),
            before_beat: Vec::new(),
            forget_at: FORGET_AT_MIN,
            open_outcomes: Arc::default(),
            open_bytes: Arc::default(),
            ended: CancellationToken::new(),
        };
        Ok((report, receiver))
    }
}

impl ReportLink {
    /// Takes a message; its answers go down when they are known. [`Error::Overloaded`] when more is open than a worker
    /// process may have open.
    pub fn take(&mut self, report: Report) -> Result<()> {
        self.tails.retain(|_, tail| !tail.is_cancelled());
        self.forget_done();
        self.check_limits(&report)?;
        report.logs.into_iter().for_each(|logs| self.take_logs(logs));
        report.checkpoints.into_iter().for_each(|checkpoint| self.take_checkpoint(checkpoint));
        report.progress.into_iter().for_each(|progress| self.take_progress(progress));
        self.take_received(report.received);
        self.take_outcomes(report.outcomes);
        if let Some(heartbeat) = report.heartbeat {
            self.take_heartbeat(heartbeat);
        }
        Ok(())
    }

    /// Waits until everything taken is answered.
    pub async fn finish(self) {
        self.ended.cancel();
        self.work.close();
        self.work.wait().await;
    }

    /// Forgets outcomes that are stored. Looking at each of a thousand with every message costs more than the message: this
    /// waits until as many have come as were left the last time.
    fn forget_done(&mut self) {
        if self.before_beat.len() >= self.forget_at {
            self.before_beat.retain(|done| !done.is_cancelled());
            self.forget_at = FORGET_AT_MIN.max(2 * self.before_beat.len());
        }
    }

    fn check_limits(&self, report: &Report) -> Result<()> {
        let outcomes = self.open_outcomes.load(Ordering::Relaxed) + report.outcomes.len();
        let bytes = report.logs.iter().map(|logs| logs.bytes).sum::<i64>()
            + report.checkpoints.iter().map(|checkpoint| checkpoint.bytes).sum::<i64>();
        let most_bytes = 2 * limits::LOG_CREDIT_BYTES + limits::MESSAGE_IN_BYTES_MAX as i64;
        let message = if outcomes > 2 * limits::OUTCOMES_UNACKNOWLEDGED_MAX {
            format!(
                "{outcomes} outcomes are unacknowledged, at most {} may be",
                limits::OUTCOMES_UNACKNOWLEDGED_MAX
            )
        } else if self.open_bytes.load(Ordering::Relaxed) + bytes > most_bytes {
            "far more log lines and checkpoints were sent than the log credit allows".into()
        } else {
            return Ok(());
        };
        Err(Error::Overloaded { message, retry: Duration::from_secs(1) })
    }

    fn take_logs(&mut self, logs: LogsReport) {
        let (engine, down, open) = (self.engine.clone(), self.down.clone(), Arc::clone(&self.open_bytes));
        let (fence, bytes) = (logs.fence, logs.bytes);
        open.fetch_add(bytes, Ordering::Relaxed);
        self.after_tail(fence.job, async move {
            let ack = engine.append_logs(logs).await;
            open.fetch_sub(bytes, Ordering::Relaxed);
            let _ = down.send(Down::Acks(vec![ack])).await;
            let _ = down.send(Down::Credit(bytes)).await;
        });
    }

    fn take_checkpoint(&mut self, checkpoint: CheckpointReport) {
        let (engine, down, open) = (self.engine.clone(), self.down.clone(), Arc::clone(&self.open_bytes));
        let (fence, bytes, sequence) = (checkpoint.fence, checkpoint.bytes, checkpoint.sequence);
        open.fetch_add(bytes, Ordering::Relaxed);
        self.after_tail(fence.job, async move {
            let write = ProgressWrite {
                fence,
                progress: None,
                status: None,
                checkpoint: Some((sequence, checkpoint.payload)),
            };
            let written = engine.take_progress(write).await;
            let mut ack = Ack::of(fence);
            match written {
                Ok(Written::Stored(_) | Written::Gap(_)) => ack.checkpoint_sequence = Some(sequence),
                Ok(Written::LeaseLost) => ack.refused = Some(Refusal::LeaseLost),
                Err(error) => ack.refused = Some(error.into()),
            }
            open.fetch_sub(bytes, Ordering::Relaxed);
            let _ = down.send(Down::Acks(vec![ack])).await;
            let _ = down.send(Down::Credit(bytes)).await;
        });
    }

    /// Progress is stored at most twice a second for each job; meanwhile the latest wins.
    fn take_progress(&mut self, progress: ProgressReport) {
        if let Some(job) = self.engine.core.hub.offer_progress(progress) {
            let engine = self.engine.clone();
            self.work.spawn(async move {
                while let Some(latest) = engine.core.hub.next_progress(job) {
                    let ProgressReport { fence, progress, status } = latest;
                    let write = ProgressWrite { fence, progress, status, checkpoint: None };
                    if let Err(error) = engine.take_progress(write).await {
                        tracing::debug!(%job, %error, "progress was not stored");
                    }
                    tokio::time::sleep(limits::PROGRESS_INTERVAL_MIN).await;
                }
            });
        }
    }

    fn take_received(&mut self, received: Vec<(i32, i64)>) {
        let Some(link) = &self.link else { return };
        for (claim_loop, sequence) in received {
            // An answer that the store knows nothing of brought transient runs alone.
            let memory = link.loop_memory(claim_loop);
            if link.received(claim_loop, sequence) && memory.is_none_or(|memory| memory.stored >= sequence) {
                let ticket = ClaimTicket { session: self.session, claim_loop, sequence };
                let engine = self.engine.clone();
                self.work.spawn(async move {
                    if let Err(error) = engine.acknowledges.join(ticket).await {
                        tracing::debug!(%error, "a claim's receipt was not stored");
                    }
                });
            }
        }
    }

    fn take_outcomes(&mut self, outcomes: Vec<OutcomeReport>) {
        let (waiting, free): (Vec<_>, Vec<_>) =
            outcomes.into_iter().partition(|outcome| self.tails.contains_key(&outcome.fence.job));
        for outcome in waiting {
            let tail = self.tails.get(&outcome.fence.job).cloned();
            self.run_outcomes(vec![outcome], tail);
        }
        if !free.is_empty() {
            self.run_outcomes(free, None);
        }
    }

    fn run_outcomes(&mut self, outcomes: Vec<OutcomeReport>, tail: Option<Done>) {
        let (engine, down, link) = (self.engine.clone(), self.down.clone(), self.link.clone());
        let open = Arc::clone(&self.open_outcomes);
        let count = outcomes.len();
        open.fetch_add(count, Ordering::Relaxed);
        let done = Done::new();
        self.before_beat.push(done.clone());
        self.work.spawn(async move {
            let _done = done.drop_guard();
            if let Some(tail) = tail {
                tail.cancelled().await;
            }
            let acks = engine.end_attempts(outcomes, link.as_deref()).await;
            open.fetch_sub(count, Ordering::Relaxed);
            let _ = down.send(Down::Acks(acks)).await;
        });
    }

    fn take_heartbeat(&mut self, heartbeat: Heartbeat) {
        let (engine, down) = (self.engine.clone(), self.down.clone());
        let Some(link) = self.link.clone() else {
            let _ = down.try_send(Down::SessionLost);
            return;
        };
        link.touch();
        // A worker process may beat on another stream for a while; what it has to hear goes where it beats.
        link.attach(self.down.clone());
        link.note_beat(heartbeat.beat);
        let (before, ended) = (self.before_beat.clone(), self.ended.clone());
        self.work.spawn(async move {
            let Some(answer) = engine.renew(&link, heartbeat.beat, &ended).await else { return };
            if !heeds(&link, answer) {
                return;
            }
            let _ = down.send(Down::Beat { beat: heartbeat.beat, lease_time: link.lease_time }).await;
            for outcome in before {
                outcome.cancelled().await;
            }
            if let Err(error) = engine.take_inventory(&link, heartbeat, &down).await {
                tracing::warn!(session = ?link.id, %error, "the leases of a heartbeat could not be judged");
            }
        });
    }

    /// Runs `work` after the write of this lease that is under way.
    fn after_tail(&mut self, job: JobId, work: impl Future<Output = ()> + Send + 'static) {
        let tail = self.tails.get(&job).cloned();
        let done = Done::new();
        self.tails.insert(job, done.clone());
        self.work.spawn(async move {
            let _done = done.drop_guard();
            if let Some(tail) = tail {
                tail.cancelled().await;
            }
            work.await;
        });
    }
}

impl Engine {
    async fn append_logs(&self, logs: LogsReport) -> Ack {
        let fence = logs.fence;
        let now = self.now();
        let lines = logs
            .lines
            .into_iter()
            .zip(logs.from_sequence + 1..)
            .map(|((ago, level, message, fields), sequence)| LogLine {
                sequence,
                run: Run::default(),
                epoch: fence.epoch,
                time: now.minus(ago),
                level,
                message,
                fields,
            })
            .collect();
        let mut ack = Ack::of(fence);
        match self.take_lines(LogAppend { fence, lines }).await {
            Ok(Written::Stored(to)) => ack.log_sequence = Some(to),
            Ok(Written::Gap(stored)) => {
                ack.log_sequence = Some(stored);
                ack.refused = Some(Refusal::LogGap);
            }
            Ok(Written::LeaseLost) => ack.refused = Some(Refusal::LeaseLost),
            Err(error) => ack.refused = Some(error.into()),
        }
        ack
    }

    /// Ends attempts: those that need nothing else together, whatever else there is by itself, and so too each that was not
    /// ended with its neighbours.
    async fn end_attempts(&self, outcomes: Vec<OutcomeReport>, link: Option<&SessionLink>) -> Vec<Ack> {
        let is_plain =
            |outcome: &OutcomeReport| outcome.follow.is_empty() && !outcome.fence.job.is_transient();
        let (plain, mut others): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(is_plain);
        let mut answers = Vec::new();
        if plain.len() > 1 {
            let ends = plain.iter().map(|outcome| outcome.finish(Vec::new())).collect();
            answers = self.finishes.join(ends).await.unwrap_or_default();
        }
        let mut answers = answers.into_iter();
        let mut acks = Vec::with_capacity(plain.len());
        for outcome in plain {
            match answers.next() {
                None | Some(Finished::NeedsCallback) => others.push(outcome),
                Some(finished) => acks.push(ack_of(outcome.fence, Ok(finished), link)),
            }
        }
        acks.extend(join_all(others.into_iter().map(|outcome| self.end_attempt(outcome, link))).await);
        acks
    }

    async fn end_attempt(&self, outcome: OutcomeReport, link: Option<&SessionLink>) -> Ack {
        let fence = outcome.fence;
        let finished = if fence.job.is_transient() {
            self.finish_transient(outcome).await
        } else {
            self.finish_attempt(outcome).await
        };
        ack_of(fence, finished, link)
    }

    /// Renews the session as soon as the database takes it: a short outage must not cost the time until the next heartbeat.
    /// None when that has come, or the stream has ended.
    async fn renew(&self, link: &SessionLink, beat: i64, ended: &CancellationToken) -> Option<BeatAnswer> {
        let renewal = Beat { session: link.id, beat, server: self.core.server };
        let mut is_told = false;
        loop {
            match self.beats.join(renewal).await {
                Ok(answer) => return Some(answer),
                Err(_) if is_told => {}
                Err(error) => {
                    tracing::warn!(session = ?link.id, %error, "a heartbeat could not be stored: trying on");
                    is_told = true;
                }
            }
            tokio::select! {
                () = ended.cancelled() => return None,
                () = tokio::time::sleep(BEAT_RETRY) => {}
            }
            if !link.is_last_beat(beat) {
                return None;
            }
        }
    }

    /// Acts on what the list of leases in a heartbeat tells.
    async fn take_inventory(
        &self,
        link: &Arc<SessionLink>,
        heartbeat: Heartbeat,
        down: &mpsc::Sender<Down>,
    ) -> Result<()> {
        let core = Arc::clone(&self.core);
        let session = Arc::clone(link);
        let (unknown, fates) = unit(async move {
            let mut leased: Vec<_> =
                core.store.leases(session.id, None).await?.into_iter().map(|(lease, _)| lease).collect();
            leased.extend(core.transients.leases(session.id, None));
            if let Some(job) = session.exclusive_job()
                && job != JobId::default()
                && !leased.iter().any(|lease| lease.fence.job == job)
            {
                session.ended(job);
            }
            let findings = inventory::judge(&leased, &heartbeat);
            let (runs, unheld): (Vec<Fence>, Vec<Fence>) =
                findings.unheld.into_iter().partition(|fence| fence.job.is_transient());
            core.give_back_runs(runs);
            core.give_back(&unheld).await?;
            let (runs, mut unknown): (Vec<Fence>, Vec<Fence>) =
                findings.unknown.into_iter().partition(|fence| fence.job.is_transient());
            let mut fates = core.store.fates(&unknown).await?;
            fates.extend(runs.iter().map(|fence| core.transients.fate(*fence)));
            unknown.extend(runs);
            Ok((unknown, fates))
        })
        .await?;
        for (fence, fate) in unknown.into_iter().zip(fates) {
            let message = match fate {
                Fate::Held => continue,
                Fate::Ended(state) => Down::Acks(vec![Ack { outcome: Some(state), ..Ack::of(fence) }]),
                Fate::Gone => Down::LeaseLost { fence, reason: "the lease was taken back".into() },
            };
            let _ = down.send(message).await;
        }
        Ok(())
    }
}

/// Acts on what a renewal was answered; does the session live?
fn heeds(link: &SessionLink, answer: BeatAnswer) -> bool {
    match answer {
        BeatAnswer::Lost => {
            link.mark_lost();
            return false;
        }
        BeatAnswer::Draining if !link.is_draining() => {
            link.mark_draining(DRAIN_REASON.into(), limits::WORKER_DRAIN);
        }
        BeatAnswer::Draining | BeatAnswer::Renewed => {}
    }
    link.touch();
    true
}

impl Core {
    /// Gives back jobs whose claim's answer never arrived.
    async fn give_back(&self, unheld: &[Fence]) -> Result<()> {
        if unheld.is_empty() {
            return Ok(());
        }
        let ends: Vec<Finish> = unheld.iter().map(|fence| Finish::of(*fence, Ended::Undelivered)).collect();
        self.finish(&ends, OnLocked::Wait).await?;
        tracing::info!(count = unheld.len(), "jobs whose claim answer never arrived went back");
        Ok(())
    }
}

impl Ack {
    fn of(fence: Fence) -> Self {
        Ack { fence, outcome: None, log_sequence: None, checkpoint_sequence: None, refused: None }
    }
}

/// What is said of an attempt that ended so; its session forgets it.
fn ack_of(fence: Fence, finished: Result<Finished>, link: Option<&SessionLink>) -> Ack {
    let mut ack = Ack::of(fence);
    match finished {
        Ok(Finished::Stored(state) | Finished::Repeated(state)) => ack.outcome = Some(state),
        Ok(Finished::LogGap(stored)) => {
            ack.log_sequence = Some(stored);
            ack.refused = Some(Refusal::LogGap);
        }
        Ok(Finished::LeaseLost) => ack.refused = Some(Refusal::LeaseLost),
        Ok(Finished::Skipped | Finished::NeedsCallback | Finished::Taken(_) | Finished::Crowded(_)) => {
            ack.refused = Some(Refusal::Unavailable);
        }
        Err(error) => ack.refused = Some(error.into()),
    }
    if let Some(link) = link.filter(|_| ack.refused.is_none()) {
        link.ended(fence.job);
    }
    ack
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Overloaded { .. } | Error::DiskFull => Refusal::Exhausted,
            Error::LeaseLost => Refusal::LeaseLost,
            Error::Internal(details) => {
                tracing::error!(details, "a report could not be stored");
                Refusal::Unavailable
            }
            _ => Refusal::Unavailable,
        }
    }
}

/// Ends attempts; a member is all that one message told.
pub(crate) struct FinishWork {
    pub(crate) core: Arc<Core>,
}

#[async_trait]
impl Commit for FinishWork {
    type Member = Vec<Finish>;
    type Answer = Vec<Finished>;

    fn rows(&self, member: &Vec<Finish>) -> usize {
        member.len()
    }

    fn bytes(&self, member: &Vec<Finish>) -> usize {
        member.iter().map(|end| end.result.len() + 256).sum()
    }

    async fn commit(&self, members: &[Vec<Finish>]) -> Result<Vec<Vec<Finished>>, StoreError> {
        let ends = match members {
            [one] => Cow::Borrowed(one.as_slice()),
            several => Cow::Owned(several.concat()),
        };
        let mut answers = self.end(&ends).await?.into_iter();
        Ok(members.iter().map(|member| answers.by_ref().take(member.len()).collect()).collect())
    }
}

impl FinishWork {
    async fn end(&self, ends: &[Finish]) -> Result<Vec<Finished>, StoreError> {
        // An unknown commit is simply repeated: what was stored finds its own outcome, and a transaction that is still
        // undecided holds the rows that the repeat must lock.
        match self.core.finish(ends, OnLocked::Wait).await {
            Err(StoreError::Unknown(_)) => self.core.finish(ends, OnLocked::Wait).await,
            Err(StoreError::IdTaken) => {
                self.core.ids.forget().await;
                Err(StoreError::Unavailable("a reserved job id was taken".into()))
            }
            answer => answer,
        }
    }
}

/// Stores log lines.
pub(crate) struct LogWork {
    pub(crate) core: Arc<Core>,
}

#[async_trait]
impl Commit for LogWork {
    type Member = LogAppend;
    type Answer = Written;

    fn bytes(&self, member: &LogAppend) -> usize {
        member.lines.iter().map(|line| line.message.len() + line.fields.len() + 64).sum()
    }

    async fn commit(&self, members: &[LogAppend]) -> Result<Vec<Written>, StoreError> {
        let answers = self.core.store.append_logs(members).await?;
        self.core.hub.changed(members.iter().map(|member| member.fence.job));
        Ok(answers)
    }
}

/// Stores progress, status lines and checkpoints.
pub(crate) struct ProgressWork {
    pub(crate) core: Arc<Core>,
}

#[async_trait]
impl Commit for ProgressWork {
    type Member = ProgressWrite;
    type Answer = Written;

    async fn commit(&self, members: &[ProgressWrite]) -> Result<Vec<Written>, StoreError> {
        let answers = self.core.store.write_progress(members).await?;
        self.core.hub.changed(members.iter().map(|member| member.fence.job));
        Ok(answers)
    }
}
