//! What Haulier can do, one method a verb.
//!
//! The unit of work is the commit. Enqueues, claims and reports that arrive while a commit of their kind is in flight
//! form the next one ([`group`]); a job that is enqueued while a worker process waits for it is leased in the very
//! commit that stores it ([`room`]). Watchers are told after the commit ([`hub`]).
//!
//! A transient run is given to a waiting claim without any row, and lives in memory ([`run`], [`transient`]).
//!
//! Every use of the store runs in a task that nobody cancels ([`unit`]): a database future is never dropped half-way.
//! A leased row is changed only through its lease. Losing every wake-up and every in-memory hint loses no job: they
//! only save time.

mod batch;
mod bulk;
mod calls;
mod cancel;
mod claim;
mod commands;
mod deliveries;
mod enqueue;
mod error;
mod estimates;
mod explain;
mod figures;
mod follow;
mod group;
mod history;
mod hub;
mod ids;
mod inventory;
mod list;
mod lock;
mod lock_queue;
mod overview;
mod pace;
mod prepare;
mod queues;
mod read;
mod recurring;
mod report;
mod room;
mod routes;
mod run;
mod sessions;
mod settle;
mod sweep;
mod transient;
mod unit;
mod watch;

use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use calls::*;
pub use deliveries::ListDeliveriesCall;
pub use error::{Error, Result, Violation};
pub use explain::{Explanation, Why};
pub use history::{ExportCall, Exported, Record};
pub use lock::{AcquireAnswer, AcquireCall, HeldCall, ListLocksCall};
pub use overview::{CommandFigures, HourFigures, LaneFigures, Overview, ServedWork};
pub use report::ReportLink;
pub use sessions::DrainTarget;

pub use crate::store::{LeasedJob, MonthFigures, MonthKept};

use crate::clock::{self, Clock};
use crate::model::{ServerAbout, ServerId, Time};
use crate::store::Store;
use claim::ClaimWork;
use commands::Commands;
use enqueue::EnqueueWork;
use estimates::Estimates;
use figures::Figures;
use group::Group;
use hub::Hub;
use ids::Ids;
use lock_queue::LockQueues;
use pace::Pace;
use recurring::Recurring;
use report::{FinishWork, LogWork, ProgressWork};
use room::Room;
use routes::Routes;
use sessions::{AcknowledgeWork, BeatWork, Sessions};
use settle::Settling;
use transient::Transients;

/// Everything the parts of the engine share.
pub(crate) struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) server: ServerId,
    pub(crate) about: ServerAbout,
    pub(crate) ids: Ids,
    pub(crate) routes: Routes,
    pub(crate) commands: Commands,
    pub(crate) room: Room,
    pub(crate) sessions: Sessions,
    pub(crate) hub: Arc<Hub>,
    pub(crate) locks: Arc<LockQueues>,
    pub(crate) estimates: Estimates,
    pub(crate) figures: Figures,
    pub(crate) settling: Settling,
    /// How often what runs is looked through for timeouts that are over.
    pub(crate) timeouts: Mutex<Pace>,
    /// How often request ids are looked through for those that have outlived their use.
    pub(crate) requests: Mutex<Pace>,
    pub(crate) recurring: Recurring,
    pub(crate) transients: Transients,
    /// Rung when a notification was stored.
    pub(crate) delivery_hint: tokio::sync::Notify,
    pub(crate) stopping: tokio_util::sync::CancellationToken,
}

/// What Haulier can do. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    core: Arc<Core>,
    enqueues: Arc<Group<EnqueueWork>>,
    /// Enqueues that wait for rows of others: parents, lanes.
    entangled: Arc<Group<EnqueueWork>>,
    claims: Arc<ClaimWork>,
    finishes: Arc<Group<FinishWork>>,
    logs: Arc<Group<LogWork>>,
    progress: Arc<Group<ProgressWork>>,
    beats: Arc<Group<BeatWork>>,
    acknowledges: Arc<Group<AcknowledgeWork>>,
}

impl Engine {
    /// An engine on a store, for the server that says this of itself.
    pub async fn start(store: Arc<dyn Store>, about: ServerAbout) -> Result<Self> {
        let now = store.now().await?;
        let core = Arc::new(Core {
            store,
            clock: Clock::new(now, clock::instant()),
            server: ServerId(clock::random_63()),
            about,
            ids: Ids::new(),
            routes: Routes::default(),
            commands: Commands::default(),
            room: Room::default(),
            sessions: Sessions::default(),
            hub: Arc::default(),
            locks: Arc::default(),
            settling: Settling::default(),
            timeouts: Mutex::new(Pace::new(Duration::ZERO)),
            requests: Mutex::new(Pace::new(Duration::ZERO)),
            estimates: Estimates::default(),
            figures: Figures::default(),
            recurring: Recurring::default(),
            transients: Transients::default(),
            delivery_hint: tokio::sync::Notify::new(),
            stopping: tokio_util::sync::CancellationToken::new(),
        });
        core.routes.reload(&*core.store).await?;
        core.reload_commands().await?;
        core.follow_queues().await?;
        if let Err(error) = core.learn_durations().await {
            tracing::warn!(%error, "how long commands take is not known: progress is estimated from runs to come");
        }
        core.ids.refresh(&*core.store).await?;
        Ok(Self {
            enqueues: Group::new(EnqueueWork { core: Arc::clone(&core) }),
            entangled: Group::new(EnqueueWork { core: Arc::clone(&core) }),
            claims: Arc::new(ClaimWork { core: Arc::clone(&core) }),
            finishes: Group::new(FinishWork { core: Arc::clone(&core) }),
            logs: Group::new(LogWork { core: Arc::clone(&core) }),
            progress: Group::new(ProgressWork { core: Arc::clone(&core) }),
            beats: Group::new(BeatWork { core: Arc::clone(&core) }),
            acknowledges: Group::new(AcknowledgeWork { core: Arc::clone(&core) }),
            core,
        })
    }

    /// The database's time, never ahead of it.
    pub fn now(&self) -> Time {
        self.core.clock.now()
    }

    /// The store, for checks that are not verbs of the engine.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.core.store
    }

    /// Ends every wait (claims, watches, report streams) so that a server can drain; calls under way are finished.
    pub fn stop_waiting(&self) {
        self.core.stopping.cancel();
    }

    /// Follows the database's clock, and keeps ids ready for a lone enqueue; called every second or two.
    pub async fn pulse(&self) -> Result<()> {
        let core = Arc::clone(&self.core);
        unit::unit(async move {
            let now = core.store.now().await?;
            core.clock.follow(now, clock::instant());
            core.ids.refresh(&*core.store).await?;
            core.reload_commands().await
        })
        .await
    }
}
