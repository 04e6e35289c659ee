//! The engine of a worker process: registered, it claims jobs, runs their handlers, and reports, until it is told to drain.
//!
//! It runs on a thread and a runtime of its own, with a connection of its own, so that a handler that blocks its runtime never
//! stops heartbeats, claims or reports. Handlers run on the runtime on which `Worker::run` was called.

mod attempt;
mod claims;
mod drain;
mod hub;
mod signals;
mod stream;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_proto::v1::worker_service_client::WorkerServiceClient;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

pub(crate) use attempt::{Handler, typed};
pub(crate) use hub::Hub;
pub(crate) use signals::Signals;

use crate::client::Client;
use crate::connect::{MESSAGE_BYTES_MAX, Transport};
use crate::errors::{Error, Result};
use crate::job::{Stop, StopReason};
use crate::options::{duration, duration_read};
use crate::report::{CLAIM_LOOPS, Event, Health, LeaseKey, Registered};
use crate::retry::Backoff;

/// How long a call other than a claim may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long outcomes may still be told after the session was lost, before the worker process registers anew.
const LOST_FLUSH_TIME: Duration = Duration::from_secs(2);
/// How long the handler of a lost lease may take to stop; that of a strict job is dropped at once.
const LOST_GRACE: Duration = Duration::from_secs(10);
/// How long a handler may take to stop when a client cancels and the server names no grace.
const CANCEL_GRACE: Duration = Duration::from_secs(30);

/// What a worker process is.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) instance_id: String,
    pub(crate) commands: Vec<pb::ServedCommand>,
    pub(crate) queues: Vec<String>,
    pub(crate) labels: HashMap<String, String>,
    pub(crate) slots: usize,
    pub(crate) lease_time: Option<Duration>,
    pub(crate) drain_time: Duration,
}

/// An order to drain.
#[derive(Debug, Clone)]
pub(crate) struct Drain {
    pub(crate) reason: String,
    /// How long handlers may still take. None: as the settings say.
    pub(crate) time: Option<Duration>,
}

/// What the program, or an operator through the server, orders.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    drain: Arc<watch::Sender<Option<Drain>>>,
    abort: CancellationToken,
}

impl Orders {
    pub(crate) fn new() -> Self {
        Self { drain: Arc::default(), abort: CancellationToken::new() }
    }

    /// End what is held within a time, claim nothing more. The first order counts.
    pub(crate) fn drain(&self, order: Drain) {
        self.drain.send_if_modified(|drain| {
            let is_first = drain.is_none();
            drain.get_or_insert(order);
            is_first
        });
    }

    /// End at once.
    pub(crate) fn abort(&self) {
        self.abort.cancel();
        self.drain(Drain { reason: "told to stop at once".into(), time: Some(Duration::ZERO) });
    }

    async fn ordered(&self) -> Drain {
        let mut drain = self.drain.subscribe();
        let order = drain.wait_for(Option::is_some).await.ok().and_then(|order| order.clone());
        match order {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }
}

/// How many slots are taken, how many attempts have no outcome yet, and for how many jobs each claim loop asks.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    slots: usize,
    live: usize,
    asked: [usize; CLAIM_LOOPS],
    /// The last answer brought many jobs, as was asked for: more wait.
    has_backlog: bool,
}

/// The engine.
pub(crate) struct Engine {
    settings: Settings,
    handlers: HashMap<String, Handler>,
    /// Where handlers run.
    user: Handle,
    client: Arc<Client>,
    transport: Mutex<Transport>,
    orders: Orders,
    hub: Arc<Hub>,
    attempts: Mutex<HashMap<LeaseKey, Arc<Signals>>>,
    load: watch::Sender<Load>,
    health: watch::Sender<Health>,
    /// Whether a claim, and a report, was ever answered: later a proxy may say that nobody serves them, while servers change.
    has_claimed: AtomicBool,
    has_reported: AtomicBool,
}

/// What ends a session.
enum SessionEnd {
    Lost,
    Drained,
}

/// Runs the engine until it has drained, or cannot run. `registered` is told of the first session.
pub(crate) async fn run(
    settings: Settings,
    handlers: HashMap<String, Handler>,
    user: Handle,
    client: Client,
    orders: Orders,
    registered: CancellationToken,
) -> Result<()> {
    let transport = Mutex::new(client.connector().lazy());
    let engine = Arc::new(Engine {
        settings,
        handlers,
        user,
        client: Arc::new(client),
        transport,
        orders,
        hub: Arc::default(),
        attempts: Mutex::default(),
        load: watch::Sender::default(),
        health: watch::Sender::new(Health::Held),
        has_claimed: AtomicBool::new(false),
        has_reported: AtomicBool::new(false),
    });
    let mut is_first = true;
    loop {
        let session = tokio::select! {
            session = engine.register(is_first) => session?,
            _ = engine.orders.ordered() => return Ok(()),
        };
        is_first = false;
        registered.cancel();
        match session.serve().await? {
            SessionEnd::Drained => return Ok(()),
            SessionEnd::Lost => tracing::warn!("the session was lost: registering anew"),
        }
    }
}

impl Engine {
    fn service(&self) -> WorkerServiceClient<Transport> {
        let transport = self.transport.lock().unwrap_or_else(PoisonError::into_inner).clone();
        WorkerServiceClient::new(transport)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Makes another connection, for when the present one takes what it is given and answers nothing.
    fn renew_transport(&self) {
        *self.transport.lock().unwrap_or_else(PoisonError::into_inner) = self.client.connector().lazy();
    }

    /// Registers, for as long as it takes. What an operator must mend fails the first registration and is waited out later.
    async fn register(self: &Arc<Self>, is_first: bool) -> Result<Session> {
        let (mut backoff, mut refusals) = (Backoff::calls(), Backoff::refusals());
        loop {
            let at = Instant::now();
            let calling = async { self.service().register_worker(self.registration()).await };
            let status = match timeout(CALL_TIMEOUT, calling).await {
                Ok(Ok(answer)) => return Ok(self.begin(answer.into_inner(), at)),
                Ok(Err(status)) => status,
                Err(_) => Status::unavailable("no answer in time"),
            };
            match Judged::of(&status) {
                Judged::Unserved if is_first => return Err(self.unserved("RegisterWorker", &status)),
                Judged::Refused if is_first => return Err(Error::from_status("RegisterWorker", &status)),
                Judged::Refused | Judged::Unserved => {
                    tracing::error!(code = ?status.code(), message = status.message(), "registering was refused: trying again");
                    refusals.pause().await;
                }
                Judged::Lost | Judged::Later => {
                    if backoff.spent().is_zero() {
                        let (code, message) = (status.code(), status.message());
                        tracing::warn!(
                            ?code,
                            message,
                            "registering failed: trying again, for as long as it takes"
                        );
                    }
                    backoff.pause().await;
                }
            }
        }
    }

    fn registration(&self) -> pb::RegisterWorkerRequest {
        let settings = self.settings.clone();
        pb::RegisterWorkerRequest {
            name: settings.name,
            instance_id: settings.instance_id,
            commands: settings.commands,
            queues: settings.queues,
            labels: settings.labels,
            slots: settings.slots.try_into().unwrap_or(i32::MAX),
            lease_time: settings.lease_time.map(duration),
            sdk: crate::SDK.to_owned(),
        }
    }

    fn begin(self: &Arc<Self>, answer: pb::RegisterWorkerResponse, at: Instant) -> Session {
        let lease_time = duration_read(answer.lease_time).unwrap_or(Duration::from_secs(30));
        let interval = duration_read(answer.heartbeat_interval).unwrap_or(lease_time / 3);
        let registered = Registered {
            session_id: answer.session_id,
            lease_time,
            heartbeat_interval: interval.max(Duration::from_millis(100)),
            log_credit_bytes: answer.log_credit_bytes,
            at,
        };
        self.hub.tell(|state| state.begin_session(&registered));
        self.load.send_modify(|load| {
            load.asked = Default::default();
            load.has_backlog = false;
        });
        self.health.send_replace(Health::Held);
        tracing::info!(worker = self.settings.name, slots = self.settings.slots, ?lease_time, "registered");
        let max_wait = duration_read(answer.max_wait).unwrap_or(Duration::from_secs(30));
        let (lost, draining, closed) = Default::default();
        Session { engine: self.clone(), registered, max_wait, lost, draining, closed }
    }

    fn unserved(&self, operation: &str, status: &Status) -> Error {
        let address = self.client.address();
        Error::Worker(format!(
            "the server at {address} does not serve {operation} ({}): is it a Haulier server, and of this version?",
            status.message()
        ))
    }

    fn signals(&self, key: LeaseKey) -> Option<Arc<Signals>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    fn all_signals(&self) -> Vec<Arc<Signals>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn lose_lease(&self, key: LeaseKey, message: String) {
        if let Some(signals) = self.signals(key) {
            let grace = if signals.is_strict { Duration::ZERO } else { LOST_GRACE };
            signals.stop(Stop { reason: StopReason::LeaseLost, message }, Some(Instant::now() + grace));
        }
    }

    /// Does what an answer of the server asks for. True: the session is over.
    fn obey(&self, event: Event) -> bool {
        match event {
            Event::LeaseLost { key, reason } => {
                tracing::warn!(reason, "a lease is lost: its handler is told to stop");
                self.lose_lease(key, reason);
            }
            Event::Stop { key, reason, message, grace } => {
                if let Some(signals) = self.signals(key) {
                    let force_at = Instant::now() + grace.unwrap_or(CANCEL_GRACE);
                    signals.stop(Stop { reason, message }, Some(force_at));
                }
            }
            Event::Drain { reason, grace } => self.orders.drain(Drain { reason, time: grace }),
            Event::GivenUp { why, .. } => {
                tracing::error!(why, "the server refuses every outcome of an attempt: it takes the job back");
            }
            Event::Stored { state, .. } => tracing::trace!(?state, "an outcome is stored"),
            Event::SessionLost => return true,
            Event::Broken { .. } => {}
        }
        false
    }
}

/// A session, from its registration to its end.
struct Session {
    engine: Arc<Engine>,
    registered: Registered,
    max_wait: Duration,
    /// The server said that it is over.
    lost: CancellationToken,
    /// No more claims.
    draining: CancellationToken,
    /// The report stream has ended well.
    closed: CancellationToken,
}

impl Session {
    async fn serve(&self) -> Result<SessionEnd> {
        tokio::select! {
            error = self.claim() => Err(error),
            error = self.report() => Err(error),
            () = self.watch_health() => Ok(SessionEnd::Lost),
            end = self.live() => Ok(end),
        }
    }

    /// Waits for what ends the session, and ends it in order.
    async fn live(&self) -> SessionEnd {
        tokio::select! {
            biased;
            order = self.engine.orders.ordered() => {
                self.drain(order).await;
                SessionEnd::Drained
            }
            () = self.lost.cancelled() => {
                self.drop_leases();
                let flushed = self.engine.hub.until(|state| state.is_flushed().then_some(()));
                if timeout(LOST_FLUSH_TIME, flushed).await.is_err() {
                    tracing::warn!("outcomes are not acknowledged yet: they are told again in the next session");
                }
                SessionEnd::Lost
            }
        }
    }

    /// The session is lost: what has no outcome yet is dropped.
    fn drop_leases(&self) {
        self.draining.cancel();
        for key in self.engine.hub.tell(crate::report::ReportState::lose_session) {
            self.engine.lose_lease(key, "the session is lost".into());
        }
        self.engine.hub.stir();
    }

    /// Keeps the lease clock: tells strict handlers to stop when the lease is in doubt, drops them when it is over, marks others.
    async fn watch_health(&self) {
        let engine = &self.engine;
        loop {
            let now = Instant::now();
            let (health, next) = engine.hub.look(|state| (state.health(now), state.next_health_change(now)));
            if engine.health.send_replace(health) != health {
                self.on_health(health);
            }
            let tick = now + Duration::from_millis(500);
            sleep_until(next.map_or(tick, |next| next.min(tick))).await;
        }
    }

    fn on_health(&self, health: Health) {
        match health {
            Health::Held => tracing::info!("leases are renewed again"),
            Health::InDoubt => {
                tracing::warn!("leases could not be renewed for 80 % of their time: they are in doubt")
            }
            Health::Over => tracing::warn!("leases could not be renewed in time"),
        }
        for signals in self.engine.all_signals() {
            tell_health(&signals, health);
        }
    }
}

/// Tells a handler how the lease is. In a strict job nobody else may run while it does: it stops by itself.
fn tell_health(signals: &Signals, health: Health) {
    signals.set_in_doubt(health != Health::Held);
    if !signals.is_strict || health == Health::Held {
        return;
    }
    let stop =
        Stop { reason: StopReason::LeaseInDoubt, message: "the lease could not be renewed in time".into() };
    signals.stop(stop, (health == Health::Over).then(Instant::now));
}

/// What an error of the worker's calls means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    /// The session is over: register anew.
    Lost,
    /// It may pass: try again.
    Later,
    /// An operator must mend it.
    Refused,
    /// The server does not know the call.
    Unserved,
}

impl Judged {
    fn of(status: &Status) -> Self {
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.as_str());
        match (status.code(), reason) {
            (_, Some("SESSION_LOST" | "STALE_SEQUENCE")) | (Code::Aborted, _) => Self::Lost,
            (Code::Unimplemented, _) => Self::Unserved,
            (
                Code::Unauthenticated
                | Code::PermissionDenied
                | Code::InvalidArgument
                | Code::FailedPrecondition
                | Code::NotFound
                | Code::AlreadyExists
                | Code::OutOfRange,
                _,
            ) => Self::Refused,
            _ => Self::Later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    fn judged(code: Code, reason: &str) -> Judged {
        let details = ErrorDetails::with_error_info(reason, "haulier", HashMap::<String, String>::new());
        Judged::of(&Status::with_error_details(code, "", details))
    }

    #[test]
    fn an_error_of_a_claim_or_stream_says_what_to_do() {
        assert_eq!(judged(Code::Aborted, "SESSION_LOST"), Judged::Lost);
        assert_eq!(judged(Code::Aborted, "STALE_SEQUENCE"), Judged::Lost);
        assert_eq!(judged(Code::Unavailable, "STORE_UNAVAILABLE"), Judged::Later);
        assert_eq!(judged(Code::ResourceExhausted, "OVERLOADED"), Judged::Later);
        assert_eq!(judged(Code::Internal, "INTERNAL"), Judged::Later);
        assert_eq!(judged(Code::PermissionDenied, "SCOPE_MISSING"), Judged::Refused);
        assert_eq!(judged(Code::Unimplemented, "NOT_SUPPORTED"), Judged::Unserved);
    }

    #[tokio::test]
    async fn the_first_order_to_drain_counts() {
        let orders = Orders::new();
        orders.drain(Drain { reason: "deploy".into(), time: Some(Duration::from_secs(9)) });
        orders.abort();
        assert_eq!(orders.ordered().await.reason, "deploy");
        assert!(orders.abort.is_cancelled());
    }
}
