//! The server: composition and lifecycle. Bind first, open the database, serve, drain, stop.
//!
//! The only room that starts long-lived tasks ([`tasks`]), and the only one that knows all others.

mod database;
mod doctor;
mod egress;
mod profiles;
mod signals;
mod tasks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use futures::FutureExt as _;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

pub use doctor::{doctor, migrate, report};
pub use signals::Signals;

use crate::config::{Bounds, Config, ConfigError, KeepFor};
use crate::engine::{self, Engine};
use crate::model::{DeliveryRetries, Retention, ServerAbout, limits};
use crate::outbound::Outbound;
use crate::pool::{self, Pool};
use crate::rpc::{self, Health};
use crate::store::{Check, Severity, Store, StoreError};
use crate::web;
use tasks::{Outgoing, Tasks};

/// Calls that one connection may have open.
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Bytes of the headers of one call.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// A connection that has been silent for this long is asked for a sign of life,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// and is closed when none comes within this time.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What API calls and replies under way have to end when the server stops.
const POOL_DRAIN: Duration = Duration::from_secs(10);
/// What the database's connections have to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is not what it may be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// The database cannot be used.
    #[error("database {url}: {error}")]
    Database {
        /// Which one, without its password.
        url: String,
        /// What is wrong.
        error: StoreError,
    },
    /// The engine did not start.
    #[error("the engine did not start: {0}")]
    Engine(#[from] engine::Error),
}

/// Starts a server; it answers calls when this returns.
pub async fn start(config: Config) -> Result<Running, StartError> {
    Server::bind(config).await?.start().await
}

/// A server that has its address and nothing else yet.
#[derive(Debug)]
pub struct Server {
    config: Config,
    outbound: Arc<Outbound>,
    settings: rpc::Settings,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Checks the settings and takes the address: what is wrong with either is known before the database is touched.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        config.validate(&bounds())?;
        let outbound = Arc::new(egress::open(&config)?);
        let settings = settings(&config, Arc::clone(&outbound))?;
        let refused = |error| StartError::Bind { address: config.listen, error };
        let listener = TcpListener::bind(config.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { config, outbound, settings, listener, address })
    }

    /// Opens the database, waiting for one that is down, and serves.
    pub async fn start(self) -> Result<Running, StartError> {
        let Server { config, outbound, settings, listener, address } = self;
        if config.is_exposed() {
            tracing::warn!(%address, "insecure: whoever can reach this address may do everything");
        }
        let store = database::open(&config).await?;
        let about = about(&config, &*store, address).await?;
        let engine = Engine::start(store, about).await?;
        if !outbound.signs() {
            tracing::info!("no outbound.signing_keys: notifications are sent without a signature");
        }
        let pool = config.pool.enabled.then(|| {
            let name = format!("haulier-pool@{address}");
            Pool::new(engine.clone(), outbound, pool_settings(&config, name))
        });
        let service = Service::new(engine, settings, pool);
        service.health.serve().await;
        let drain = CancellationToken::new();
        let ended = tokio::spawn(service.run(listener, drain.clone()));
        tracing::info!(%address, database = %config.database_url, version = env!("CARGO_PKG_VERSION"), "serving");
        Ok(Running { address, drain, ended })
    }
}

/// A server that answers calls. Dropping it drains it too.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    drain: CancellationToken,
    ended: JoinHandle<()>,
}

impl Running {
    /// Tells it to take no more calls, to finish those under way, and to stop.
    pub fn shutdown(&self) {
        self.drain.cancel();
    }

    /// Waits until it has stopped.
    pub async fn wait(&mut self) {
        if let Err(error) = (&mut self.ended).await {
            tracing::error!(%error, "the server ended badly");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.drain.cancel();
    }
}

/// What this server says of itself to those who list servers.
async fn about(config: &Config, store: &dyn Store, address: SocketAddr) -> Result<ServerAbout, StartError> {
    let checks = store.check().await.map_err(|error| database::failed(config, error))?;
    let weakens = |check: &Check| {
        check.problem.as_ref().is_some_and(|problem| problem.severity == Severity::Durability)
    };
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(ServerAbout {
        name: config.name.clone().unwrap_or_else(host),
        version: env!("CARGO_PKG_VERSION").into(),
        address: address.to_string(),
        store: store_name(&checks),
        pool_enabled: config.pool.enabled,
        is_durable: !checks.iter().any(weakens),
    })
}

/// The database and its version, as in `mariadb 10.11.14`.
fn store_name(checks: &[Check]) -> String {
    let value = |name: &str| checks.iter().find(|check| check.name == name).map(|check| check.value.as_str());
    match (value("sqlite_version"), value("version")) {
        (Some(version), _) => format!("sqlite {version}"),
        (None, Some(version)) => {
            let kind = if version.to_lowercase().contains("mariadb") { "mariadb" } else { "mysql" };
            format!("{kind} {}", version.split('-').next().unwrap_or_default())
        }
        (None, None) => String::new(),
    }
}

/// The most that settings may be.
fn bounds() -> Bounds {
    Bounds {
        payload_bytes_max: limits::PAYLOAD_BYTES_MAX,
        timeout_max: limits::TIMEOUT_MAX,
        retry_limit_max: limits::RETRY_LIMIT_MAX,
        batch_jobs_max: limits::BATCH_JOBS_MAX,
        run_wait_max: limits::RUN_WAIT_MAX,
        crash_limit_max: limits::CRASH_LIMIT_DEFAULT,
        retry_delay_max: limits::RETRY_DELAY_MAX,
        retry_factor_max: limits::RETRY_FACTOR_MAX,
        give_up_max: limits::GIVE_UP_MAX,
        retry_profiles_max: limits::RETRY_PROFILES_MAX,
    }
}

fn pool_settings(config: &Config, name: String) -> pool::Settings {
    let slots = |slots: i32| usize::try_from(slots).unwrap_or(1);
    pool::Settings {
        name,
        slots: slots(config.pool.slots),
        delivery_slots: slots(config.pool.delivery_slots),
        answer_bytes_max: config.payload_bytes_max.unwrap_or(limits::PAYLOAD_BYTES_DEFAULT),
        drain: POOL_DRAIN,
        deadline: config.outbound.deadline,
        retries: DeliveryRetries(config.outbound.delivery_retries.clone()),
    }
}

fn settings(config: &Config, outbound: Arc<Outbound>) -> Result<rpc::Settings, ConfigError> {
    Ok(rpc::Settings {
        payload_bytes_max: config.payload_bytes_max.unwrap_or(limits::PAYLOAD_BYTES_DEFAULT),
        timeout: config.timeout.unwrap_or(limits::TIMEOUT_DEFAULT),
        batch_jobs_max: config.batch_jobs_max.unwrap_or(limits::BATCH_JOBS_DEFAULT),
        egress: Some(Arc::new(egress::Gate(outbound))),
        run_wait: config.run_wait.unwrap_or(limits::RUN_WAIT_DEFAULT),
        retry: profiles::profiles(config)?.into(),
        retention: retention(config),
    })
}

fn retention(config: &Config) -> Retention {
    let KeepFor { completed, failed, cancelled } = config.retention;
    Retention { completed, failed, cancelled }
}

/// Everything that answers calls.
struct Service {
    engine: Engine,
    settings: rpc::Settings,
    pool: Option<Pool>,
    health: Health,
    /// Ends report streams.
    stop: CancellationToken,
    draining: Arc<AtomicBool>,
}

impl Service {
    fn new(engine: Engine, settings: rpc::Settings, pool: Option<Pool>) -> Self {
        let (health, stop, draining) = (Health::default(), CancellationToken::new(), Arc::default());
        Self { engine, settings, pool, health, stop, draining }
    }

    /// Serves until `drain`, then finishes what is under way.
    async fn run(self, listener: TcpListener, drain: CancellationToken) {
        let tasks = Tasks::start(&self.engine, self.settings.retention);
        let pool = self.pool.as_ref().map(Outgoing::start);
        let close = CancellationToken::new();
        let mut serving = tokio::spawn(serve(self.routes(), listener, close.clone()));
        tokio::select! {
            () = drain.cancelled() => {}
            _ = &mut serving => tracing::error!("the listener ended, stopping"),
        }
        tracing::info!("draining: no new calls, those under way are finished");
        self.draining.store(true, Ordering::Relaxed);
        self.health.drain().await;
        self.engine.stop_waiting();
        self.stop.cancel();
        close.cancel();
        // What the pool has under way ends while calls do.
        let pool = pool.map(|pool| tokio::spawn(pool.stop()));
        if !serving.is_finished() && tokio::time::timeout(limits::SERVER_DRAIN, serving).await.is_err() {
            tracing::warn!("calls were still open after {:?}, leaving them", limits::SERVER_DRAIN);
        }
        if let Some(Err(error)) = futures::future::OptionFuture::from(pool).await {
            tracing::error!(%error, "the server's own pool ended badly");
        }
        tasks.stop().await;
        let store = Arc::clone(self.engine.store());
        if tokio::time::timeout(CLOSE_WITHIN, tokio::spawn(async move { store.close().await })).await.is_err()
        {
            tracing::warn!("database connections were still in use after {CLOSE_WITHIN:?}, leaving them");
        }
        tracing::info!("stopped");
    }

    fn routes(&self) -> Routes {
        let probe = Probe {
            engine: self.engine.clone(),
            draining: Arc::clone(&self.draining),
            turn: Arc::new(Semaphore::new(1)),
        };
        let probe: web::Probe = Arc::new(move || probe.clone().look().boxed());
        let router = rpc::routes(&self.engine, self.settings.clone(), &self.health, &self.stop)
            .into_axum_router()
            .merge(web::router(probe))
            .fallback(nowhere)
            .layer(middleware::from_fn(within_deadline));
        Routes::from(router).prepare()
    }
}

/// One port for gRPC, gRPC-Web and plain HTTP.
async fn serve(routes: Routes, listener: TcpListener, close: CancellationToken) {
    let incoming =
        TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEPALIVE_INTERVAL));
    let served = tonic::transport::Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(rpc::catch_panics())
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, close.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "serving failed");
    }
}

/// Answers before the caller's deadline, if it named one. What it began goes on in a task of its own.
async fn within_deadline(request: Request, next: Next) -> Response {
    let Some(time) = rpc::time_for(request.headers()) else { return next.run(request).await };
    let answer = tokio::time::timeout(time, next.run(request)).await;
    answer.unwrap_or_else(|_| rpc::deadline_exceeded().map(Body::new))
}

/// The answer to a path that is neither a service nor a page.
async fn nowhere(request: Request) -> Response {
    if web::is_grpc(request.headers()) {
        rpc::unknown_method(request.uri().path()).map(Body::new)
    } else {
        web::not_found().await
    }
}

/// Can the server do its work now?
#[derive(Clone)]
struct Probe {
    engine: Engine,
    draining: Arc<AtomicBool>,
    /// One look at a time: checks of a database that hangs do not pile up.
    turn: Arc<Semaphore>,
}

impl Probe {
    async fn look(self) -> Result<(), String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("draining".into());
        }
        let turn = self.turn.acquire_owned().await.map_err(|_| "stopped".to_owned())?;
        let store = Arc::clone(self.engine.store());
        // In a task of its own: the check gives up after a second, the database's future is not dropped half-way.
        let look = tokio::spawn(async move {
            let _turn = turn;
            store.ping().await
        });
        match look.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::debug!(%error, "not ready");
                Err("the database cannot be used now".into())
            }
            Err(_) => Err("the check of the database failed".into()),
        }
    }
}
