//! Why is this job not running? One code and one sentence, from what the store and the sessions say now.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::unit::unit;
use super::{Core, Engine, JobKey, Result};
use crate::model::{
    Ending, JobId, Lease, Outcome, Phase, QueueStanding, RouteId, RouteKind, Session, SessionState, Time,
    View, Wait, Work,
};

/// Why a job is not running, or that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its time has not come.
    Scheduled,
    /// It waits before its next attempt.
    Backoff,
    /// Parents have not ended.
    WaitingForParents,
    /// Another job of its named worker runs or stands before it.
    WorkerBusy,
    /// Its queue is paused.
    QueuePaused,
    /// Its queue runs as many jobs as it may.
    ConcurrencyLimit,
    /// Its queue has started as many jobs as it may for now.
    RateLimit,
    /// Nobody serves its command.
    CommandNotServed,
    /// Nobody serves its command in its queue.
    QueueNotServed,
    /// All that could take it are draining.
    WorkersDraining,
    /// All that could take it are full.
    WorkersFull,
    /// It is given only to a worker process that runs nothing else.
    Quarantined,
    /// It calls an API, and no server has its pool on.
    PoolOff,
    /// Nothing holds it.
    AboutToStart,
    /// It runs.
    Running,
    /// It runs and was told to stop.
    Stopping,
    /// It runs, but its worker process has not been heard of.
    InDoubt,
    /// It ended well, and something still follows.
    Executed,
    /// It has ended.
    Finished,
}

/// The answer to why.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// For programs.
    pub why: Why,
    /// For people.
    pub sentence: String,
    /// What the sentence speaks of.
    pub details: BTreeMap<&'static str, String>,
    /// The job as it is now.
    pub view: View,
}

/// A code, a sentence, and what it speaks of.
type Found = (Why, String, Vec<(&'static str, String)>);

impl Engine {
    /// Says why a job is not running.
    pub async fn explain(&self, key: JobKey) -> Result<Explanation> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let id = core.id_of(&key).await?;
            let view = core.view(id).await?;
            let now = core.clock.now();
            let (why, sentence, details) = match &view.phase {
                Phase::Ended(outcome) => ended(outcome),
                Phase::Leased(lease, name) => core.running(&view, lease, name, now).await?,
                Phase::Ready(Wait::Parents) => core.behind_parents(id).await?,
                Phase::Ready(Wait::Turn(lane)) => core.in_line(&view, *lane).await?,
                Phase::Ready(Wait::Worker) if view.job.ready.ready_time > now => before_its_time(&view, now),
                Phase::Ready(Wait::Worker) => core.unserved(&view, now).await?,
            };
            Ok(Explanation { why, sentence, details: details.into_iter().collect(), view })
        })
        .await
    }
}

fn ended(outcome: &Outcome) -> Found {
    let (why, sentence) = match outcome.ending {
        Ending::Executed => {
            (Why::Executed, "it ended well; its callback or notification is still on its way".into())
        }
        Ending::Completed => (Why::Finished, "it ended well".into()),
        Ending::Failed => {
            let message = outcome.error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
            (Why::Finished, format!("it failed for good: {message}"))
        }
        Ending::Cancelled => {
            let text =
                outcome.cancelled.as_ref().map(|cancelled| cancelled.text.as_str()).unwrap_or_default();
            (Why::Finished, format!("it was cancelled: {text}"))
        }
    };
    (why, sentence, vec![("attempts", outcome.turn.attempt.to_string())])
}

fn before_its_time(view: &View, now: Time) -> Found {
    let due = view.job.ready.ready_time;
    let seconds = due.since(now).as_secs_f64();
    let details = vec![("ready_time", due.0.to_string()), ("seconds", format!("{seconds:.0}"))];
    if view.turn.attempt > 0 || view.turn.crashes > 0 {
        let attempt = view.turn.attempt + 1;
        return (Why::Backoff, format!("it waits {seconds:.0} s more before attempt {attempt}"), details);
    }
    (Why::Scheduled, format!("its time comes in {seconds:.0} s"), details)
}

impl Core {
    async fn running(&self, view: &View, lease: &Lease, name: &str, now: Time) -> Result<Found> {
        let details = vec![("worker_process", name.to_owned()), ("attempt", lease.turn.attempt.to_string())];
        if let Some(reason) = &view.cancel {
            let sentence = format!("it runs on {name} and was told to stop: {reason}");
            return Ok((Why::Stopping, sentence, details));
        }
        let session = self.store.session(lease.session).await?;
        let silent =
            session.is_none_or(|session| session.state == SessionState::Lost || session.expire_time < now);
        Ok(if silent {
            let sentence = format!("it runs on {name}, which has not been heard of; it is taken back soon");
            (Why::InDoubt, sentence, details)
        } else {
            (Why::Running, format!("it runs on {name}"), details)
        })
    }

    async fn behind_parents(&self, id: JobId) -> Result<Found> {
        let parents = self.store.waiting_for(id).await?;
        let list = parents.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let sentence = match parents.len() {
            0 => "its parents have ended, it is about to go on".into(),
            1 => format!("it waits for job {list} to end"),
            _ => format!("it waits for jobs {list} to end"),
        };
        Ok((Why::WaitingForParents, sentence, vec![("waiting_for", list)]))
    }

    async fn in_line(&self, view: &View, lane: RouteId) -> Result<Found> {
        let (holder, before) = self.store.lane_line(lane, view.job.ready.ready_time).await?;
        let name = &view.job.spec.worker.name;
        if let Some(run) = holder.filter(|holder| holder.is_transient()) {
            let known = self.transients.view(run).map(|view| view.job.ref_id());
            let ref_id = known.unwrap_or_else(|| "of another server".into());
            let sentence = format!("a transient run ({ref_id}) has the named worker {name}");
            let details =
                [("worker", name.clone()), ("position", (before + 1).to_string()), ("holder", ref_id)];
            return Ok((Why::WorkerBusy, sentence, details.to_vec()));
        }
        let mut details = vec![("worker", name.clone()), ("position", (before + 1).to_string())];
        let sentence = match holder {
            Some(holder) => {
                details.push(("holder", holder.to_string()));
                format!("job {holder} has the named worker {name}, and {before} more stand before this one")
            }
            None => format!("it is about to get the named worker {name}"),
        };
        Ok((Why::WorkerBusy, sentence, details))
    }

    /// A job that could start: what keeps worker processes from taking it?
    async fn unserved(&self, view: &View, now: Time) -> Result<Found> {
        let spec = &view.job.spec;
        let queue = ("queue", spec.queue.clone());
        if self.routes.is_paused(&spec.queue) {
            let setting = self.queue_settings().await?.remove(&spec.queue);
            let reason = setting.and_then(|setting| setting.pause).map(|pause| pause.reason);
            let why = reason.filter(|reason| !reason.is_empty()).map(|reason| format!(": {reason}"));
            let sentence = format!("its queue {} is paused{}", spec.queue, why.unwrap_or_default());
            return Ok((Why::QueuePaused, sentence, vec![queue]));
        }
        if !view.job.id.is_transient()
            && let Some(standing) =
                self.store.queue_standing(&spec.queue).await?.filter(|its| its.room() == 0)
        {
            return Ok(at_limit(&spec.queue, &standing));
        }
        let mut all = self.store.sessions().await?;
        for (session, held) in &mut all {
            *held += self.transients.leases(session.id, None).len() as i64;
        }
        if view.job.id.is_transient() {
            // Only those that are attached here can take it.
            all.retain(|(session, _)| self.sessions.get(session.id).is_some_and(|link| link.is_here()));
        }
        let able = |(session, _): &&(Session, i64)| serves(session, &spec.work) && session.expire_time >= now;
        let able: Vec<&(Session, i64)> = all.iter().filter(able).collect();
        if able.is_empty() {
            return Ok(nobody_serves(&spec.work));
        }
        // Calls of a target are made in every queue.
        let in_queue =
            |session: &Session| matches!(spec.work, Work::Api { .. }) || session.queues.contains(&spec.queue);
        let able: Vec<&(Session, i64)> = able.into_iter().filter(|(session, _)| in_queue(session)).collect();
        if able.is_empty() {
            let sentence = format!("worker processes serve it, but none of them the queue {}", spec.queue);
            return Ok((Why::QueueNotServed, sentence, vec![queue]));
        }
        let live: Vec<&(Session, i64)> =
            able.iter().filter(|(session, _)| session.state == SessionState::Live).copied().collect();
        let workers = ("worker_processes", able.len().to_string());
        if live.is_empty() {
            return Ok((Why::WorkersDraining, "all that could take it are draining".into(), vec![workers]));
        }
        if !self.routes.knows([view.job.ready.route]) {
            self.routes.reload(&*self.store).await?;
        }
        let is_quarantined =
            self.routes.route(view.job.ready.route).is_some_and(|route| route.kind == RouteKind::Quarantined);
        if is_quarantined && live.iter().all(|(_, running)| *running > 0) {
            let crashes = ("crashes", view.turn.crashes.to_string());
            let sentence = "it lost its worker process too often: it waits for one that runs nothing else";
            return Ok((Why::Quarantined, sentence.into(), vec![crashes, workers]));
        }
        if live.iter().all(|(session, running)| *running >= i64::from(session.slots)) {
            let sentence = format!("all {} worker processes that could take it are full", live.len());
            return Ok((Why::WorkersFull, sentence, vec![workers]));
        }
        Ok((Why::AboutToStart, "nothing holds it: it is about to start".into(), vec![workers]))
    }
}

/// The queue of this job gives out nothing more for now.
fn at_limit(queue: &str, standing: &QueueStanding) -> Found {
    let details = |limit: i64| vec![("queue", queue.to_owned()), ("limit", limit.to_string())];
    match (standing.limits.concurrency, standing.limits.rate) {
        (Some(most), _) if standing.running >= most => {
            let sentence =
                format!("its queue {queue} runs {} jobs, and may run {most} at once", standing.running);
            let mut details = details(most);
            details.push(("running", standing.running.to_string()));
            (Why::ConcurrencyLimit, sentence, details)
        }
        (_, rate) => {
            let (count, seconds) = rate.map_or((0, 0.0), |rate| (rate.count, rate.period.as_secs_f64()));
            let sentence =
                format!("its queue {queue} may start {count} jobs in {seconds} s, and has done so");
            (Why::RateLimit, sentence, details(count))
        }
    }
}

fn serves(session: &Session, work: &Work) -> bool {
    match work {
        Work::Command(command) => session.commands.iter().any(|served| served.command == *command),
        Work::Api { target, .. } => session.targets.contains(target),
    }
}

fn nobody_serves(work: &Work) -> Found {
    match work {
        Work::Command(command) => {
            let sentence = format!("no live worker process serves the command {command}");
            (Why::CommandNotServed, sentence, vec![("command", command.clone())])
        }
        Work::Api { target, .. } => {
            let sentence =
                format!("it calls {target}, and no server that knows this target has its own worker pool on");
            (Why::PoolOff, sentence, vec![("target", target.clone())])
        }
    }
}
