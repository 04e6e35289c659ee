//! One attempt, from its lease to its outcome.

use std::any::Any;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use haulier_proto::v1 as pb;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::{AbortHandle, JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Engine, Signals, tell_health};
use crate::errors::{Cancelled, HandlerError};
use crate::job::{Job, Stop, StopReason};
use crate::log::within;
use crate::options::duration_read;
use crate::outcome::{Ended, decide};
use crate::payload::Payload;
use crate::report::LeaseKey;

/// How long after its timeout a handler may take to stop; a result within it still counts.
const TIMEOUT_GRACE: Duration = Duration::from_secs(10);
/// How long a handler that was dropped is waited for before its attempt is reported as ended all the same.
const DROP_TIME: Duration = Duration::from_secs(1);
/// How long a job that is not served here is kept before it goes back, so that it does not come and go in a hurry.
const UNSERVED_PAUSE: Duration = Duration::from_secs(1);
/// Largest request or result that any server takes.
const PAYLOAD_BYTES_MAX: usize = 3 << 20;

type HandlerResult = Result<Payload, HandlerError>;

/// A handler with its arguments and result as payloads.
pub(crate) type Handler = Arc<dyn Fn(Job, Payload) -> BoxFuture<'static, HandlerResult> + Send + Sync>;

/// Makes a handler of a function of typed arguments and result.
pub(crate) fn typed<A, T, F, Fut>(function: F) -> Handler
where
    A: DeserializeOwned + Send + 'static,
    T: Serialize,
    F: Fn(Job, A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, HandlerError>> + Send + 'static,
{
    let function = Arc::new(function);
    Arc::new(move |job, request| {
        let function = function.clone();
        Box::pin(async move {
            let args = request.read().map_err(|error| HandlerError::unreadable_request(error.to_string()))?;
            let running = function(job, args);
            let result = running.await?;
            Payload::json(&result).map_err(|error| HandlerError::unstorable_result(error.to_string()))
        })
    })
}

/// Runs an attempt and reports how it ended.
pub(super) async fn run_attempt(
    engine: Arc<Engine>,
    key: LeaseKey,
    mut lease: pb::LeasedJob,
    brought_by: Brought,
    received_at: Instant,
) {
    let signals = Arc::new(Signals::new(lease.strict));
    engine.attempts.lock().unwrap_or_else(PoisonError::into_inner).insert(key, signals.clone());
    let end_at = duration_read(lease.timeout).filter(|time| !time.is_zero()).map(|time| received_at + time);
    let request = Payload::from(lease.request.take());
    let job = Job::new(lease, key, engine.hub.clone(), signals.clone(), engine.client.clone());
    let attempt = Attempt { engine, key, brought_by, signals, job, end_at };
    let handler = attempt.begin(request).await;
    attempt.end(handler).await;
}

/// The claim answer that brought an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Brought {
    pub(super) claim_loop: usize,
    pub(super) sequence: i64,
}

struct Attempt {
    engine: Arc<Engine>,
    key: LeaseKey,
    brought_by: Brought,
    signals: Arc<Signals>,
    job: Job,
    /// When its timeout is over.
    end_at: Option<Instant>,
}

/// A handler on its runtime. Dropped with the engine.
struct Running {
    task: JoinHandle<HandlerResult>,
    abort: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Attempt {
    /// Starts the handler, once the server is being told that the job arrived. None: it was told to stop before that.
    async fn begin(&self, request: Payload) -> Option<Running> {
        tell_health(&self.signals, *self.engine.health.borrow());
        if !self.engine.hub.look(|state| state.holds(self.key)) {
            self.engine.lose_lease(self.key, "the lease is lost".into());
        }
        let Brought { claim_loop, sequence } = self.brought_by;
        let is_told =
            self.engine.hub.until(|state| (state.told_sequences()[claim_loop] >= sequence).then_some(()));
        tokio::select! {
            biased;
            _ = self.signals.stopped() => return None,
            () = is_told => {}
        }
        let handler = self.engine.handlers.get(self.job.command())?.clone();
        let job = self.job.clone();
        // The handler is called inside its task, so that whatever it does there, a panic included, stays there.
        let task = self.engine.user.spawn(within(job.clone(), async move { handler(job, request).await }));
        Some(Running { abort: task.abort_handle(), task })
    }

    /// Waits for the end, reports it, and gives the slot back when the handler is really gone.
    async fn end(&self, running: Option<Running>) {
        let mut running = running;
        let ended = match &mut running {
            Some(running) => self.supervise(&mut running.task).await,
            None => self.not_begun().await,
        };
        self.report(ended);
        self.engine.attempts.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        let blocks = running.as_ref().is_some_and(|running| !running.task.is_finished());
        self.engine.load.send_modify(|load| {
            load.live -= 1;
            load.slots -= usize::from(!blocks);
        });
        if let Some(running) = running.as_mut().filter(|_| blocks) {
            tracing::warn!(
                job = self.job.id(),
                "a handler blocks its thread and cannot be dropped: its slot stays taken"
            );
            let _ = (&mut running.task).await;
            self.engine.load.send_modify(|load| load.slots -= 1);
        }
    }

    async fn not_begun(&self) -> Ended {
        if self.signals.state().stop.is_none() {
            tokio::time::sleep(UNSERVED_PAUSE).await;
            return Ended::NotRun("the command is not served by this worker process");
        }
        Ended::Error(Cancelled.into())
    }

    /// Waits for the handler to end; tells it to stop at its timeout, and drops it when it does not stop in time.
    async fn supervise(&self, task: &mut JoinHandle<HandlerResult>) -> Ended {
        let mut signals = self.signals.subscribe();
        let mut end_at = self.end_at;
        loop {
            let force_at = signals.borrow_and_update().force_at;
            tokio::select! {
                biased;
                result = &mut *task => return self.ended(result),
                () = sleep_until_some(force_at) => return self.force(task).await,
                () = sleep_until_some(end_at) => {
                    end_at = None;
                    let stop = Stop { reason: StopReason::Timeout, message: "the timeout is over".into() };
                    self.signals.stop(stop, Some(Instant::now() + TIMEOUT_GRACE));
                }
                _ = signals.changed() => {}
            }
        }
    }

    /// Drops the handler. That of a strict job is waited for, since no other may run while it does.
    async fn force(&self, task: &mut JoinHandle<HandlerResult>) -> Ended {
        task.abort();
        let is_lost = self.signals.state().stop.is_some_and(|stop| stop.reason == StopReason::LeaseLost);
        let result = if self.signals.is_strict && !is_lost {
            task.await
        } else {
            match timeout(DROP_TIME, &mut *task).await {
                Ok(result) => result,
                Err(_) => return Ended::Dropped,
            }
        };
        self.ended(result)
    }

    fn ended(&self, result: Result<HandlerResult, JoinError>) -> Ended {
        match result {
            Ok(Ok(result)) => match size(&result) {
                bytes if bytes > PAYLOAD_BYTES_MAX => {
                    let why =
                        format!("the result has {bytes} bytes, at most {PAYLOAD_BYTES_MAX} are allowed");
                    Ended::Error(HandlerError::unstorable_result(why))
                }
                _ => Ended::Value(result, self.job.take_with_result()),
            },
            Ok(Err(error)) => Ended::Error(error),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => Ended::Panicked(panic_text(panic.as_ref())),
                Err(_) => Ended::Dropped,
            },
        }
    }

    fn report(&self, ended: Ended) {
        let job = self.job.id();
        match &ended {
            Ended::Value(..) => tracing::debug!(job, "done"),
            Ended::Error(error) if error.is_cancelled() => tracing::debug!(job, "cancelled"),
            Ended::Error(error) => tracing::warn!(job, code = error.code(), %error, "an attempt failed"),
            Ended::Panicked(message) => tracing::error!(job, message, "a handler panicked"),
            Ended::NotRun(why) => tracing::warn!(job, why, "a job was not run"),
            Ended::Dropped => tracing::warn!(job, "a handler was dropped"),
        }
        let stop = self.signals.state().stop;
        if let Some(outcome) = decide(ended, stop.as_ref()) {
            self.engine.hub.tell_outcome(self.key, outcome);
        }
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn size(payload: &Payload) -> usize {
    payload.as_json().map_or_else(|| payload.as_bytes().map_or(0, |data| data.len()), str::len)
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "with a value that is no text".into())
}
