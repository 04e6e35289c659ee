//! Sessions: worker processes that are attached to this server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::group::Commit;
use super::routes::Served;
use super::unit::unit;
use super::{Core, Down, Engine, Error, RegisterCall, Result};
use crate::clock;
use crate::model::{JobId, Session, SessionId, SessionState, limits};
use crate::store::{Beat, BeatAnswer, ClaimTicket, StoreError};

/// What this server remembers of a claim loop; a hint that the transaction's own guard checks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoopMemory {
    /// The highest sequence stored with a claim.
    pub(crate) stored: i64,
    /// The highest answer known to have arrived.
    pub(crate) received: i64,
    /// The last call that this server took.
    pub(crate) last_call: i64,
}

/// A session as this server knows it.
pub(crate) struct SessionLink {
    pub(crate) id: SessionId,
    pub(crate) name: String,
    pub(crate) served: Served,
    pub(crate) lease_time: Duration,
    loops: Mutex<HashMap<i32, LoopMemory>>,
    lost: AtomicBool,
    draining: AtomicBool,
    /// The quarantined job that it runs alone, or is about to be given.
    exclusive: Mutex<Option<JobId>>,
    /// The way down to the worker process, if its stream is open here.
    down: Mutex<Option<mpsc::Sender<Down>>>,
    last_seen: Mutex<Instant>,
    /// The highest heartbeat that came here.
    beat: AtomicI64,
}

impl SessionLink {
    fn new(session: &Session) -> Self {
        Self {
            id: session.id,
            name: session.name.clone(),
            served: Served::of(session),
            lease_time: session.lease_time,
            loops: Mutex::default(),
            lost: AtomicBool::new(session.state == SessionState::Lost),
            draining: AtomicBool::new(session.state == SessionState::Draining),
            exclusive: Mutex::default(),
            down: Mutex::default(),
            last_seen: Mutex::new(clock::instant()),
            beat: AtomicI64::new(0),
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Does it run a quarantined job, which tolerates no other beside it?
    pub(crate) fn is_exclusive(&self) -> bool {
        lock(&self.exclusive).is_some()
    }

    pub(crate) fn set_exclusive(&self, job: Option<JobId>) {
        *lock(&self.exclusive) = job;
    }

    /// A job of it ended; was it the one that it ran alone?
    pub(crate) fn ended(&self, job: JobId) {
        let mut exclusive = lock(&self.exclusive);
        if *exclusive == Some(job) {
            *exclusive = None;
        }
    }

    pub(crate) fn exclusive_job(&self) -> Option<JobId> {
        *lock(&self.exclusive)
    }

    pub(crate) fn loop_memory(&self, claim_loop: i32) -> Option<LoopMemory> {
        lock(&self.loops).get(&claim_loop).copied()
    }

    pub(crate) fn remember_loop(&self, claim_loop: i32, memory: LoopMemory) {
        lock(&self.loops).insert(claim_loop, memory);
    }

    /// The transaction's guard says otherwise than what is remembered here: ask the store next time.
    pub(crate) fn forget_loop(&self, claim_loop: i32) {
        lock(&self.loops).remove(&claim_loop);
    }

    /// A claim stored its sequence.
    pub(crate) fn moved_on(&self, ticket: ClaimTicket, leased: bool) {
        if leased && let Some(memory) = lock(&self.loops).get_mut(&ticket.claim_loop) {
            memory.stored = memory.stored.max(ticket.sequence);
        }
    }

    /// Answers up to here arrived; false if that was known.
    pub(crate) fn received(&self, claim_loop: i32, sequence: i64) -> bool {
        match lock(&self.loops).get_mut(&claim_loop) {
            Some(memory) if memory.received >= sequence => false,
            Some(memory) => {
                memory.received = sequence;
                true
            }
            None => true,
        }
    }

    /// Sends something down if the worker process's stream is open here; hints and directives are repeated, so one
    /// that finds no room is dropped.
    pub(crate) fn tell(&self, down: Down) -> bool {
        lock(&self.down).as_ref().is_some_and(|sender| sender.try_send(down).is_ok())
    }

    /// From now on this is the way down.
    pub(crate) fn attach(&self, sender: mpsc::Sender<Down>) {
        *lock(&self.down) = Some(sender);
    }

    pub(crate) fn mark_lost(&self) {
        self.lost.store(true, Ordering::Relaxed);
        self.tell(Down::SessionLost);
    }

    pub(crate) fn mark_draining(&self, reason: String, grace: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        self.tell(Down::Drain { reason, grace });
    }

    /// A heartbeat came.
    pub(crate) fn note_beat(&self, beat: i64) {
        self.beat.fetch_max(beat, Ordering::Relaxed);
    }

    /// Has none come since?
    pub(crate) fn is_last_beat(&self, beat: i64) -> bool {
        self.beat.load(Ordering::Relaxed) <= beat
    }

    pub(crate) fn touch(&self) {
        *lock(&self.last_seen) = clock::instant();
    }

    /// Has it been heard of here lately? A session that went to another server, or ended, has not.
    pub(crate) fn is_here(&self) -> bool {
        !self.is_lost() && lock(&self.last_seen).elapsed() <= self.lease_time + 2 * limits::TICK
    }

    fn is_stale(&self) -> bool {
        let quiet = lock(&self.last_seen).elapsed() > 2 * limits::LEASE_TIME_MAX;
        quiet && lock(&self.down).as_ref().is_none_or(mpsc::Sender::is_closed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sessions that this server has met.
#[derive(Default)]
pub(crate) struct Sessions {
    links: RwLock<HashMap<SessionId, Arc<SessionLink>>>,
    /// Told when one is met for the first time.
    pub(crate) arrived: tokio::sync::Notify,
}

impl Sessions {
    pub(crate) fn get(&self, id: SessionId) -> Option<Arc<SessionLink>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn insert(&self, session: &Session) -> Arc<SessionLink> {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        let link = Arc::clone(links.entry(session.id).or_insert_with(|| Arc::new(SessionLink::new(session))));
        drop(links);
        self.arrived.notify_waiters();
        link
    }

    /// Is there one like this?
    pub(crate) fn any(&self, like: impl Fn(&SessionLink) -> bool) -> bool {
        self.links.read().unwrap_or_else(PoisonError::into_inner).values().any(|link| like(link))
    }

    /// Forgets sessions that have not been heard of for long.
    pub(crate) fn forget_stale(&self) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, link| !link.is_stale());
    }
}

impl Core {
    /// The session, remembered or read; [`Error::SessionLost`] if it is over.
    pub(crate) async fn session(&self, id: SessionId) -> Result<Arc<SessionLink>> {
        let link = match self.sessions.get(id) {
            Some(link) => link,
            None => match self.store.session(id).await? {
                Some(session) if session.state != SessionState::Lost => self.sessions.insert(&session),
                _ => return Err(Error::SessionLost),
            },
        };
        link.touch();
        if link.is_lost() { Err(Error::SessionLost) } else { Ok(link) }
    }
}

/// Which worker processes are told to drain.
#[derive(Clone, Debug)]
pub enum DrainTarget {
    /// The one with this instance id.
    Instance(String),
    /// All with this name.
    Name(String),
}

impl Engine {
    /// Begins a session. An earlier one of the same instance id ends, and what it held goes back.
    pub async fn register(&self, call: RegisterCall) -> Result<Session> {
        let core = Arc::clone(&self.core);
        unit(async move {
            for (earlier, _) in core.store.sessions().await? {
                if earlier.instance_id == call.instance_id {
                    core.end(earlier.id).await?;
                }
            }
            core.declare(&call).await?;
            let now = core.clock.now();
            let session = Session {
                id: SessionId(clock::random_128()),
                name: call.name,
                instance_id: call.instance_id,
                state: SessionState::Live,
                commands: call.commands,
                queues: call.queues,
                targets: call.targets,
                labels: call.labels,
                slots: call.slots,
                sdk: call.sdk,
                lease_time: call.lease_time,
                create_time: now,
                expire_time: now.plus(call.lease_time),
                server: core.server,
                completed: 0,
                failed: 0,
            };
            core.store.register(&session).await?;
            core.sessions.insert(&session);
            tracing::info!(session = ?session.id, name = session.name, "worker process registered");
            Ok(session)
        })
        .await
    }

    /// Ends a session; what it still holds is released. Answers how many jobs were.
    pub async fn unregister(&self, id: SessionId) -> Result<i32> {
        let core = Arc::clone(&self.core);
        unit(async move { core.end(id).await }).await
    }

    /// Worker processes that are not lost, with the number of jobs that each holds.
    pub async fn workers(&self) -> Result<Vec<(Session, i64)>> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let mut sessions = core.store.sessions().await?;
            for (session, held) in &mut sessions {
                *held += core.transients.leases(session.id, None).len() as i64;
            }
            Ok(sessions)
        })
        .await
    }

    /// The jobs that a session holds, at most `most`.
    pub async fn running_jobs(&self, session: SessionId, most: usize) -> Result<Vec<JobId>> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let leases = core.store.leases(session, None).await?;
            Ok(leases.into_iter().take(most).map(|(lease, _)| lease.fence.job).collect())
        })
        .await
    }

    /// Tells worker processes to end what they hold and claim nothing more.
    pub async fn drain_workers(
        &self,
        target: DrainTarget,
        reason: String,
        grace: Duration,
    ) -> Result<Vec<(Session, i64)>> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let wanted = |session: &Session| match &target {
                DrainTarget::Instance(instance) => session.instance_id == *instance,
                DrainTarget::Name(name) => session.name == *name,
            };
            let mut told = core.store.sessions().await?;
            told.retain(|(session, _)| wanted(session));
            for (session, _) in &mut told {
                core.store.drain_session(session.id).await?;
                session.state = SessionState::Draining;
                if let Some(link) = core.sessions.get(session.id) {
                    link.mark_draining(reason.clone(), grace);
                }
            }
            if told.is_empty() {
                let (DrainTarget::Instance(name) | DrainTarget::Name(name)) = target;
                return Err(Error::NotFound { kind: "worker process", name });
            }
            Ok(told)
        })
        .await
    }
}

/// Takes heartbeats.
pub(crate) struct BeatWork {
    pub(crate) core: Arc<Core>,
}

#[async_trait]
impl Commit for BeatWork {
    type Member = Beat;
    type Answer = BeatAnswer;

    async fn commit(&self, members: &[Beat]) -> Result<Vec<BeatAnswer>, StoreError> {
        self.core.store.beat(members).await
    }
}

/// Notes that claim answers arrived.
pub(crate) struct AcknowledgeWork {
    pub(crate) core: Arc<Core>,
}

#[async_trait]
impl Commit for AcknowledgeWork {
    type Member = ClaimTicket;
    type Answer = ();

    async fn commit(&self, members: &[ClaimTicket]) -> Result<Vec<()>, StoreError> {
        self.core.store.acknowledge(members).await?;
        Ok(vec![(); members.len()])
    }
}
