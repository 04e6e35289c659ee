//! Sweeps: what time does to jobs. They take no input, are idempotent, and any replica may do them.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::unit::unit;
use super::{Core, Engine, Result};
use crate::clock;
use crate::model::{CancelReason, Ended, Month, Time, limits};
use crate::store::{CancelOrder, Finish, Finished, OnLocked, SweptLease, Tick};

/// Lost sessions are remembered for a day, so that a worker process that comes back late is told so.
const LOST_SESSION_LIFE: Duration = Duration::from_secs(86_400);
/// Notifications that are over are kept for a month.
const DELIVERY_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// Months are made this long before they begin.
const MONTH_AHEAD: Duration = Duration::from_secs(3 * 86_400);
/// Request ids looked at in one step of forgetting.
const FORGET_STEP: i64 = 1_000;

impl Engine {
    /// One tick of the reaper: sessions that are over, and what they held; timeouts; forced cancels; expired jobs.
    pub async fn sweep(&self) -> Result<()> {
        let core = Arc::clone(&self.core);
        unit(async move { core.sweep().await }).await
    }

    /// Upkeep of months: the next one is made ahead of its time, closed ones are put away.
    pub async fn keep_months(&self) -> Result<()> {
        let core = Arc::clone(&self.core);
        unit(async move {
            core.store.prepare_month(Month::of(core.clock.now().plus(MONTH_AHEAD))).await?;
            while core.store.keep_months().await? {}
            Ok(())
        })
        .await
    }

    /// Forgets what has outlived its use: request ids, lost sessions, locks that nobody holds, decisions about due times,
    /// notifications, tallies.
    pub async fn forget_old(&self) -> Result<()> {
        let core = Arc::clone(&self.core);
        unit(async move {
            core.sessions.forget_stale();
            core.store.forget_sessions(core.clock.now().minus(LOST_SESSION_LIFE)).await?;
            let mut lock = core.store.forget_locks(None, FORGET_STEP).await?;
            while lock.is_some() {
                lock = core.store.forget_locks(lock, FORGET_STEP).await?;
            }
            let old_ticks = core.clock.now().minus(limits::TICK_LIFE);
            while core.store.forget_ticks(old_ticks, FORGET_STEP).await? {}
            let old = core.clock.now().minus(DELIVERY_LIFE);
            while core.store.forget_deliveries(old, FORGET_STEP).await? {}
            let old_tallies = now_less(&core, limits::OVERVIEW_HOURS_MAX + 1);
            core.store.forget_tallies(old_tallies, now_less(&core, 2)).await?;
            core.forget_requests().await
        })
        .await
    }
}

fn now_less(core: &Core, hours: i32) -> Time {
    core.clock.now().minus(limits::TALLY_SLOT * hours.unsigned_abs())
}

impl Core {
    async fn sweep(self: &Arc<Self>) -> Result<()> {
        let tick = self.store.tick(self.server, &self.about, self.stopping.is_cancelled()).await?;
        for session in self.store.lose_sessions(tick).await? {
            tracing::warn!(?session, "a worker process was given up for dead: no heartbeat within its lease");
            if let Some(link) = self.sessions.get(session) {
                link.mark_lost();
            }
        }
        self.sweep_lost().await?;
        self.sweep_timeouts(tick).await?;
        self.sweep_forced(tick).await?;
        self.sweep_expired(tick).await?;
        self.sweep_lanes(tick).await?;
        self.follow_declarations().await
    }

    async fn sweep_lost(&self) -> Result<()> {
        let lost = self.store.lost_leases(limits::SWEEP_ROWS_MAX).await?;
        self.end_swept(&lost, |lease| Ended::Crashed { acknowledged: lease.acknowledged }).await
    }

    /// Looks through all request ids, of which there may be a day of them, and forgets the old ones.
    async fn forget_requests(&self) -> Result<()> {
        let pace = || self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if !pace().is_due() {
            return Ok(());
        }
        let begun_at = clock::instant();
        let mut after = self.store.forget_requests(None, FORGET_STEP).await?;
        while after.is_some() {
            after = self.store.forget_requests(after, FORGET_STEP).await?;
        }
        pace().ended(begun_at);
        Ok(())
    }

    /// Looks through what runs for timeouts that are over.
    async fn sweep_timeouts(&self, tick: Tick) -> Result<()> {
        let pace = || self.timeouts.lock().unwrap_or_else(PoisonError::into_inner);
        if !pace().is_due() {
            return Ok(());
        }
        let begun_at = clock::instant();
        self.sweep_overdue(tick).await?;
        self.tell_timeouts(tick).await?;
        pace().ended(begun_at);
        Ok(())
    }

    async fn sweep_overdue(&self, tick: Tick) -> Result<()> {
        let overdue = self.store.overdue_leases(tick, limits::SWEEP_ROWS_MAX).await?;
        self.end_swept(&overdue, |_| Ended::TimedOut).await
    }

    async fn sweep_forced(&self, tick: Tick) -> Result<()> {
        let forced = self.store.forced_cancels(tick, limits::SWEEP_ROWS_MAX).await?;
        self.end_swept(&forced, |_| Ended::Forced).await
    }

    async fn sweep_expired(&self, tick: Tick) -> Result<()> {
        for job in self.store.expired(tick.now, limits::SWEEP_ROWS_MAX).await? {
            let order = CancelOrder {
                job,
                reason: CancelReason::Expired,
                text: "it had not started by its expire_time".into(),
                grace: Duration::ZERO,
                only_waiting: true,
            };
            let (_, wake) = self.store.cancel(&order).await?;
            self.heed(wake);
            self.hub.changed([job]);
        }
        Ok(())
    }

    /// Lanes of transient runs whose server is gone pass on.
    async fn sweep_lanes(&self, tick: Tick) -> Result<()> {
        for (lane, job) in self.store.lost_lanes(tick).await? {
            let wake = self.store.leave_lane(lane, job).await?;
            self.heed(wake);
        }
        Ok(())
    }

    /// Ends leases that a sweep found; the very same decision follows as after a report.
    async fn end_swept(&self, swept: &[SweptLease], how: impl Fn(&SweptLease) -> Ended) -> Result<()> {
        if swept.is_empty() {
            return Ok(());
        }
        let ends: Vec<Finish> = swept.iter().map(|lease| Finish::of(lease.fence, how(lease))).collect();
        let answers = self.finish(&ends, OnLocked::Skip).await?;
        let moved = answers.iter().filter(|answer| matches!(answer, Finished::Stored(_))).count();
        tracing::info!(moved, "the reaper ended attempts");
        Ok(())
    }
}
