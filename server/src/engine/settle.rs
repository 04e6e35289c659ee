//! What follows the end of a run: children are told, callbacks are settled, jobs enter their lanes when their time comes.
//!
//! The transaction that ends a run leaves a note for those who wait; here the notes are worked off, some at a time. A
//! hint starts it at once, and a look every other second finds what other servers left behind.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::unit::unit;
use super::{Core, Engine, Result};
use crate::clock;
use crate::model::{Ended, Time, limits};
use crate::store::{Finish, Finished, OnLocked, StoreError, Wake};

/// How often it is looked without a hint.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Inner {
    /// When the next job may enter its lane, as far as is known here.
    due: Option<Time>,
    /// A run has ended that others wait for.
    others_wait: bool,
}

/// What is known to be waiting for its turn here.
#[derive(Default)]
pub(crate) struct Settling {
    inner: Mutex<Inner>,
    hint: Notify,
}

impl Settling {
    fn note(&self, due: Option<Time>, others_wait: bool) {
        if due.is_none() && !others_wait {
            return;
        }
        let mut inner = self.lock();
        inner.due = match (inner.due, due) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        inner.others_wait |= others_wait;
        drop(inner);
        self.hint.notify_one();
    }

    /// How long nothing is known to be due.
    fn pause(&self, now: Time, looked: Instant) -> Duration {
        let inner = self.lock();
        if inner.others_wait {
            return Duration::ZERO;
        }
        let by_look = LOOK_INTERVAL.saturating_sub(looked.elapsed());
        inner.due.map_or(by_look, |due| due.since(now).min(by_look))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Passes on what a transaction brought about for those who wait.
    pub(crate) fn heed(&self, wake: Wake) {
        let Wake { ready, due, others_wait, notifies, freed } = wake;
        if notifies {
            self.delivery_hint.notify_one();
        }
        self.settling.note(due, others_wait);
        self.room.freed(&freed, &self.routes);
        if !ready.is_empty() {
            self.hub.changed(ready.iter().map(|key| key.job));
            self.room.note(ready.into_iter().map(|key| (key.route, key.priority, key.ready_time)));
        }
    }

    /// Ends attempts, and tells everybody concerned.
    pub(crate) async fn finish(
        &self,
        ends: &[Finish],
        on_locked: OnLocked,
    ) -> Result<Vec<Finished>, StoreError> {
        if ends.is_empty() {
            return Ok(Vec::new());
        }
        let (answers, wake) = self.store.finish(ends, on_locked).await?;
        self.heed(wake);
        for (end, answer) in ends.iter().zip(&answers) {
            let completed = end.ended == Ended::Completed && matches!(answer, Finished::Stored(_));
            self.estimates.ended(end.fence, completed.then(|| self.clock.now()));
        }
        self.hub.changed(ends.iter().map(|end| end.fence.job));
        Ok(answers)
    }

    async fn settle(&self) -> Result<()> {
        self.settling.lock().others_wait = false;
        while let Some(settled) = self.store.settle().await? {
            self.hub.changed(settled.changed);
            self.heed(settled.wake);
        }
        Ok(())
    }

    async fn enter_lanes(&self) -> Result<()> {
        loop {
            let wake = self.store.enter_lanes(self.clock.now(), limits::SWEEP_ROWS_MAX).await?;
            let moved = !wake.ready.is_empty();
            self.heed(wake);
            let next = self.store.next_in_lanes().await?;
            self.settling.lock().due = next;
            if !moved && next.is_none_or(|next| next > self.clock.now()) {
                return Ok(());
            }
        }
    }
}

impl Engine {
    /// Works off what follows the ends of runs, until `stop`.
    pub async fn run_settling(&self, stop: CancellationToken) -> Result<()> {
        let settling = &self.core.settling;
        loop {
            let looked = clock::instant();
            let core = Arc::clone(&self.core);
            unit(async move {
                core.settle().await?;
                core.enter_lanes().await
            })
            .await?;
            loop {
                let pause = settling.pause(self.core.clock.now(), looked);
                if pause.is_zero() {
                    break;
                }
                tokio::select! {
                    () = settling.hint.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
            if stop.is_cancelled() {
                return Ok(());
            }
        }
    }
}
