//! The one implementation of the verbs, for both databases. The verbs themselves are in [`super::verbs`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use super::caches::{Months, Routes, SessionNames};
use super::sqlite::FileLock;
use super::unit::Engine;
use super::{
    Backlog, Beat, BeatAnswer, CancelAnswer, CancelOrder, Check, ClaimTicket, Claimed, Claimer, CommandRow,
    Declaration, DeliveriesCall, DropAnswer, Enqueued, Fate, Finish, Finished, IdBlock, LaneLease, LeasedJob,
    LockAnswer, LockBreak, LockKey, LockOrder, LockWalk, LogAppend, LogPosition, LoopState, MonthFigures,
    MonthRange, NewJob, OnLocked, Payloads, ProgressWrite, RefKey, RequeueAnswer, Result, Settled, Store,
    SweptLease, Tallied, TaskChange, TaskChanged, TaskKey, Tick, Wake, Walk, Watch, Written,
};
use crate::model::{
    AfterTry, Attempt, CancelMark, Delivery, DeliveryId, Dependency, Epoch, Fence, Job, JobId, Lease, Level,
    LimitChange, LiveJobs, LogLine, Month, NamedLock, Outcome, Payload, QueueSetting, QueueStanding,
    Retention, Route, RouteId, Run, Server, ServerAbout, ServerId, Session, SessionId, Task, TaskId, Time,
    TryEnd, View,
};

/// A store that speaks SQL.
pub(crate) struct SqlStore {
    pub(crate) engine: Engine,
    pub(crate) months: Months,
    pub(crate) routes: Routes,
    pub(crate) names: SessionNames,
    /// SQLite: the database file.
    pub(crate) path: Option<PathBuf>,
    _lock: Option<FileLock>,
}

impl SqlStore {
    /// A store over open pools.
    pub(crate) fn new(engine: Engine, path: Option<PathBuf>, lock: Option<FileLock>) -> Self {
        Self {
            engine,
            months: Months::default(),
            routes: Routes::default(),
            names: SessionNames::default(),
            path,
            _lock: lock,
        }
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn now(&self) -> Result<Time> {
        SqlStore::now(self).await
    }

    async fn check(&self) -> Result<Vec<Check>> {
        SqlStore::check(self).await
    }

    async fn ping(&self) -> Result<()> {
        SqlStore::ping(self).await
    }

    async fn close(&self) {
        self.engine.pools.close().await;
    }

    async fn reserve_ids(&self, size: i64) -> Result<IdBlock> {
        SqlStore::reserve_ids(self, size).await
    }

    async fn is_newest(&self, block: IdBlock) -> Result<bool> {
        SqlStore::is_newest(self, block).await
    }

    async fn months(&self) -> Result<Vec<MonthRange>> {
        SqlStore::months(self).await
    }

    async fn prepare_month(&self, month: Month) -> Result<()> {
        SqlStore::prepare_month(self, month).await
    }

    async fn keep_months(&self) -> Result<bool> {
        SqlStore::keep_months(self).await
    }

    async fn month_figures(&self, month: Month) -> Result<Option<MonthFigures>> {
        SqlStore::month_figures(self, month).await
    }

    async fn drop_month(&self, month: Month) -> Result<DropAnswer> {
        SqlStore::drop_month(self, month).await
    }

    async fn forget_jobs(
        &self,
        month: Month,
        after: JobId,
        retention: Retention,
        limit: i64,
    ) -> Result<(Option<JobId>, i64)> {
        SqlStore::forget_jobs(self, month, after, retention, limit).await
    }

    async fn routes(&self, routes: &[Route]) -> Result<Vec<RouteId>> {
        SqlStore::routes(self, routes).await
    }

    async fn all_routes(&self) -> Result<Vec<(RouteId, Route)>> {
        SqlStore::all_routes(self).await
    }

    async fn enqueue(&self, jobs: &[NewJob]) -> Result<(Vec<Enqueued>, Wake)> {
        SqlStore::enqueue(self, jobs).await
    }

    async fn enqueue_all(&self, jobs: &[NewJob]) -> Result<(Vec<Enqueued>, Wake)> {
        SqlStore::enqueue_all(self, jobs).await
    }

    async fn was_enqueued(&self, job: &Job) -> Result<bool> {
        SqlStore::was_enqueued(self, job).await
    }

    async fn find_ref(&self, key: RefKey<'_>) -> Result<Option<JobId>> {
        SqlStore::find_ref(self, key).await
    }

    async fn forget_requests(&self, after: Option<Vec<u8>>, limit: i64) -> Result<Option<Vec<u8>>> {
        SqlStore::forget_requests(self, after, limit).await
    }

    async fn look(&self) -> Result<Vec<Backlog>> {
        SqlStore::look(self).await
    }

    async fn claim(
        &self,
        claims: &[Claimer],
        limited: &BTreeMap<RouteId, String>,
        now: Time,
    ) -> Result<(Vec<Claimed>, BTreeSet<String>)> {
        SqlStore::claim(self, claims, limited, now).await
    }

    async fn loop_state(&self, session: SessionId, claim_loop: i32) -> Result<Option<LoopState>> {
        SqlStore::loop_state(self, session, claim_loop).await
    }

    async fn leases(&self, session: SessionId, claim_loop: Option<i32>) -> Result<Vec<(Lease, bool)>> {
        SqlStore::leases(self, session, claim_loop).await
    }

    async fn jobs_of(&self, leases: &[Lease]) -> Result<HashMap<JobId, LeasedJob>> {
        SqlStore::jobs_of(self, leases).await
    }

    async fn leased_jobs(&self, leases: &[Lease]) -> Result<Vec<LeasedJob>> {
        SqlStore::leased_jobs(self, leases).await
    }

    async fn acknowledge(&self, received: &[ClaimTicket]) -> Result<()> {
        SqlStore::acknowledge(self, received).await
    }

    async fn register(&self, session: &Session) -> Result<()> {
        SqlStore::register(self, session).await
    }

    async fn beat(&self, beats: &[Beat]) -> Result<Vec<BeatAnswer>> {
        SqlStore::beat(self, beats).await
    }

    async fn end_session(&self, session: SessionId) -> Result<bool> {
        SqlStore::end_session(self, session).await
    }

    async fn drain_session(&self, session: SessionId) -> Result<bool> {
        SqlStore::drain_session(self, session).await
    }

    async fn session(&self, session: SessionId) -> Result<Option<Session>> {
        SqlStore::session(self, session).await
    }

    async fn sessions(&self) -> Result<Vec<(Session, i64)>> {
        SqlStore::sessions(self).await
    }

    async fn finish(&self, ends: &[Finish], on_locked: OnLocked) -> Result<(Vec<Finished>, Wake)> {
        SqlStore::finish(self, ends, on_locked).await
    }

    async fn settle(&self) -> Result<Option<Settled>> {
        SqlStore::settle(self).await
    }

    async fn enter_lanes(&self, now: Time, limit: i64) -> Result<Wake> {
        SqlStore::enter_lanes(self, now, limit).await
    }

    async fn next_in_lanes(&self) -> Result<Option<Time>> {
        SqlStore::next_in_lanes(self).await
    }

    async fn lane_line(&self, lane: RouteId, place: Time) -> Result<(Option<JobId>, i64)> {
        SqlStore::lane_line(self, lane, place).await
    }

    async fn holder(&self, lane: RouteId) -> Result<Option<JobId>> {
        SqlStore::holder(self, lane).await
    }

    async fn take_lane(&self, lease: &LaneLease) -> Result<bool> {
        SqlStore::take_lane(self, lease).await
    }

    async fn leave_lane(&self, lane: RouteId, job: JobId) -> Result<Wake> {
        SqlStore::leave_lane(self, lane, job).await
    }

    async fn lost_lanes(&self, tick: Tick) -> Result<Vec<(RouteId, JobId)>> {
        SqlStore::lost_lanes(self, tick).await
    }

    async fn waiting_for(&self, job: JobId) -> Result<Vec<JobId>> {
        SqlStore::waiting_for(self, job).await
    }

    async fn declare(&self, declarations: &[Declaration]) -> Result<Vec<CommandRow>> {
        SqlStore::declare(self, declarations).await
    }

    async fn commands(&self) -> Result<Vec<CommandRow>> {
        SqlStore::commands(self).await
    }

    async fn follow_declaration(&self, command: &str, worker: &str, live: &[View]) -> Result<Wake> {
        SqlStore::follow_declaration(self, command, worker, live).await
    }

    async fn append_logs(&self, logs: &[LogAppend]) -> Result<Vec<Written>> {
        SqlStore::append_logs(self, logs).await
    }

    async fn write_progress(&self, progress: &[ProgressWrite]) -> Result<Vec<Written>> {
        SqlStore::write_progress(self, progress).await
    }

    async fn fates(&self, fences: &[Fence]) -> Result<Vec<Fate>> {
        SqlStore::fates(self, fences).await
    }

    async fn views(&self, jobs: &[JobId], payloads: Payloads) -> Result<Vec<View>> {
        SqlStore::views(self, jobs, payloads).await
    }

    async fn outcome(&self, job: JobId, run: Run) -> Result<Option<Outcome>> {
        SqlStore::outcome(self, job, run).await
    }

    async fn checkpoint(&self, job: JobId) -> Result<Option<(i64, Payload)>> {
        SqlStore::checkpoint(self, job).await
    }

    async fn walk(&self, walk: &Walk) -> Result<Vec<JobId>> {
        SqlStore::walk(self, walk).await
    }

    async fn attempts(&self, job: JobId) -> Result<Vec<Attempt>> {
        SqlStore::attempts(self, job).await
    }

    async fn logs(&self, job: JobId, after: LogPosition, level: Level, limit: i64) -> Result<Vec<LogLine>> {
        SqlStore::logs(self, job, after, level, limit).await
    }

    async fn cancel(&self, order: &CancelOrder) -> Result<(CancelAnswer, Wake)> {
        SqlStore::cancel(self, order).await
    }

    async fn cancel_marks(&self) -> Result<Vec<CancelMark>> {
        SqlStore::cancel_marks(self).await
    }

    async fn requeue(&self, job: JobId, run: Option<Run>, request_id: &str) -> Result<(RequeueAnswer, Wake)> {
        SqlStore::requeue(self, job, run, request_id).await
    }

    async fn requeue_child(&self, job: JobId, waits: &[Dependency]) -> Result<(RequeueAnswer, Wake)> {
        SqlStore::requeue_child(self, job, waits).await
    }

    async fn acquire_lock(&self, order: &LockOrder) -> Result<LockAnswer> {
        SqlStore::acquire_lock(self, order).await
    }

    async fn renew_lock(&self, lock: &LockKey, lease_time: Duration, server: ServerId) -> Result<bool> {
        SqlStore::renew_lock(self, lock, lease_time, server).await
    }

    async fn release_lock(&self, lock: &LockKey) -> Result<bool> {
        SqlStore::release_lock(self, lock).await
    }

    async fn break_lock(&self, name: &str, token: Option<Epoch>) -> Result<LockBreak> {
        SqlStore::break_lock(self, name, token).await
    }

    async fn free_locks(&self, names: &[String]) -> Result<Vec<String>> {
        SqlStore::free_locks(self, names).await
    }

    async fn walk_locks(&self, walk: &LockWalk) -> Result<(Vec<NamedLock>, Option<String>)> {
        SqlStore::walk_locks(self, walk).await
    }

    async fn forget_locks(&self, after: Option<String>, limit: i64) -> Result<Option<String>> {
        SqlStore::forget_locks(self, after, limit).await
    }

    async fn queue_settings(&self) -> Result<Vec<QueueSetting>> {
        SqlStore::queue_settings(self).await
    }

    async fn pause_queue(&self, name: &str, reason: &str) -> Result<()> {
        SqlStore::pause_queue(self, name, reason).await
    }

    async fn resume_queue(&self, name: &str) -> Result<bool> {
        SqlStore::resume_queue(self, name).await
    }

    async fn limit_queue(&self, name: &str, change: LimitChange) -> Result<()> {
        SqlStore::limit_queue(self, name, change).await
    }

    async fn queue_standing(&self, name: &str) -> Result<Option<QueueStanding>> {
        SqlStore::queue_standing(self, name).await
    }

    async fn live_jobs(&self, now: Time) -> Result<LiveJobs> {
        SqlStore::live_jobs(self, now).await
    }

    async fn make_task(&self, task: &Task) -> Result<Option<TaskId>> {
        SqlStore::make_task(self, task).await
    }

    async fn task(&self, key: TaskKey<'_>) -> Result<Option<Task>> {
        SqlStore::task(self, key).await
    }

    async fn tasks(&self, prefix: &str, after: &str, limit: i64) -> Result<Vec<Task>> {
        SqlStore::tasks(self, prefix, after, limit).await
    }

    async fn due_tasks(&self, now: Time, limit: i64) -> Result<Vec<TaskId>> {
        SqlStore::due_tasks(self, now, limit).await
    }

    async fn next_task(&self) -> Result<Option<Time>> {
        SqlStore::next_task(self).await
    }

    async fn change_task(&self, change: &TaskChange) -> Result<TaskChanged> {
        SqlStore::change_task(self, change).await
    }

    async fn delete_task(&self, task: TaskId, revision: i64) -> Result<bool> {
        SqlStore::delete_task(self, task, revision).await
    }

    async fn forget_ticks(&self, before: Time, limit: i64) -> Result<bool> {
        SqlStore::forget_ticks(self, before, limit).await
    }

    async fn watch(&self) -> Result<Watch> {
        SqlStore::watch(self).await
    }

    async fn take_deliveries(&self, now: Time, hold: Duration, limit: i64) -> Result<Vec<Delivery>> {
        SqlStore::take_deliveries(self, now, hold, limit).await
    }

    async fn end_delivery(&self, taken: &Delivery, end: &TryEnd, after: AfterTry) -> Result<bool> {
        SqlStore::end_delivery(self, taken, end, after).await
    }

    async fn deliveries(&self, call: &DeliveriesCall) -> Result<Vec<Delivery>> {
        SqlStore::deliveries(self, call).await
    }

    async fn replay_delivery(&self, delivery: DeliveryId) -> Result<Option<Delivery>> {
        SqlStore::replay_delivery(self, delivery).await
    }

    async fn forget_deliveries(&self, before: Time, limit: i64) -> Result<bool> {
        SqlStore::forget_deliveries(self, before, limit).await
    }

    async fn tick(&self, server: ServerId, about: &ServerAbout, is_draining: bool) -> Result<Tick> {
        SqlStore::tick(self, server, about, is_draining).await
    }

    async fn servers(&self) -> Result<Vec<Server>> {
        SqlStore::servers(self).await
    }

    async fn add_tallies(&self) -> Result<()> {
        SqlStore::add_tallies(self).await
    }

    async fn tallies(&self, since: Time, waits_since: Time) -> Result<Tallied> {
        SqlStore::tallies(self, since, waits_since).await
    }

    async fn pending_deliveries(&self) -> Result<i64> {
        SqlStore::pending_deliveries(self).await
    }

    async fn count_due_tasks(&self) -> Result<i64> {
        SqlStore::count_due_tasks(self).await
    }

    async fn forget_tallies(&self, before: Time, waits_before: Time) -> Result<()> {
        SqlStore::forget_tallies(self, before, waits_before).await
    }

    async fn schemas(&self, commands: &[String]) -> Result<BTreeMap<String, String>> {
        SqlStore::schemas(self, commands).await
    }

    async fn lose_sessions(&self, tick: Tick) -> Result<Vec<SessionId>> {
        SqlStore::lose_sessions(self, tick).await
    }

    async fn lost_leases(&self, limit: i64) -> Result<Vec<SweptLease>> {
        SqlStore::lost_leases(self, limit).await
    }

    async fn overdue_leases(&self, tick: Tick, limit: i64) -> Result<Vec<SweptLease>> {
        SqlStore::overdue_leases(self, tick, limit).await
    }

    async fn forced_cancels(&self, tick: Tick, limit: i64) -> Result<Vec<SweptLease>> {
        SqlStore::forced_cancels(self, tick, limit).await
    }

    async fn expired(&self, now: Time, limit: i64) -> Result<Vec<JobId>> {
        SqlStore::expired(self, now, limit).await
    }

    async fn forget_sessions(&self, before: Time) -> Result<()> {
        SqlStore::forget_sessions(self, before).await
    }

    async fn counts(&self) -> Result<BTreeMap<String, i64>> {
        SqlStore::counts(self).await
    }
}
