//! Named locks: one holder at a time, held for a time and renewed, fenced by a token that only grows.
//!
//! The store decides, by the database's clock. A caller that waits stands in a queue of its server and is woken when its
//! lock is released here; a look at the table every [`limits::LOCK_LOOK_INTERVAL`] finds those that were released
//! through another server or are over. Of the callers that wait on one server the first to come is the first to get it;
//! between servers, and for a call that does not wait, chance decides.

use std::sync::Arc;
use std::time::Duration;

use super::unit::unit;
use super::{Core, Engine, Error, Page, Result};
use crate::clock;
use crate::model::{Epoch, LockSecret, NamedLock, digest, limits, read_token, write_token};
use crate::store::{LockAnswer, LockBreak, LockKey, LockOrder, LockWalk};

const LOCKS_TOKEN: &str = "l1";
/// Rows read in one step of a walk over locks.
const STEP: i64 = 500;

/// A wish for a lock; checked by the caller of the engine.
#[derive(Clone, Debug)]
pub struct AcquireCall {
    /// The lock.
    pub name: String,
    /// Who wants it.
    pub secret: LockSecret,
    /// Who wants it, for people.
    pub owner: String,
    /// How long it is held unless it is renewed.
    pub lease_time: Duration,
    /// How long to wait while another holds it.
    pub wait: Duration,
}

/// What became of a wish for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcquireAnswer {
    /// The caller holds it.
    Acquired {
        /// The lock.
        lock: NamedLock,
        /// For how long, counted from when the call arrived.
        held_for: Duration,
    },
    /// Another held it all the while; none when it became free at the very end.
    Refused(Option<NamedLock>),
}

/// A lock in the hands of a caller.
#[derive(Clone, Debug)]
pub struct HeldCall {
    /// The lock.
    pub name: String,
    /// The holder.
    pub secret: LockSecret,
    /// The holder's token.
    pub token: Epoch,
}

/// A page of locks that is asked for.
#[derive(Clone, Debug)]
pub struct ListLocksCall {
    /// Only names that begin so.
    pub prefix: String,
    /// Locks at most.
    pub page_size: usize,
    /// The token of the page before; empty for the first page.
    pub page_token: String,
}

impl Engine {
    /// Acquires a lock, waiting for it if the call says so.
    pub async fn acquire_lock(&self, call: AcquireCall) -> Result<AcquireAnswer> {
        let begun = clock::instant();
        let deadline = begun + call.wait.min(limits::LOCK_WAIT_MAX);
        if call.wait.is_zero() {
            return self.try_lock(&call, begun, Take::Yes).await;
        }
        let place = self.core.locks.enter(&call.name)?;
        // The holder itself need not wait for its turn.
        let mut is_due = true;
        loop {
            if is_due || place.is_first() {
                let take = if place.is_first() { Take::Yes } else { Take::No };
                if let answer @ AcquireAnswer::Acquired { .. } = self.try_lock(&call, begun, take).await? {
                    return Ok(answer);
                }
            }
            is_due = false;
            tokio::select! {
                () = place.turn() => {}
                () = tokio::time::sleep_until(deadline.into()) => {
                    let take = if place.is_first() { Take::Yes } else { Take::No };
                    return self.try_lock(&call, begun, take).await;
                }
                () = self.core.stopping.cancelled() => return Err(Error::ShuttingDown),
            }
        }
    }

    async fn try_lock(
        &self,
        call: &AcquireCall,
        begun: std::time::Instant,
        take: Take,
    ) -> Result<AcquireAnswer> {
        let core = Arc::clone(&self.core);
        let order = LockOrder {
            name: call.name.clone(),
            secret: call.secret,
            owner: call.owner.clone(),
            lease_time: call.lease_time,
            server: core.server,
            may_take: take == Take::Yes,
        };
        // The time of the call's arrival is a lower bound of when it was sent, and this one of when it was stored.
        let held_for = call.lease_time + begun.elapsed();
        let answer = unit(async move { Ok(core.store.acquire_lock(&order).await?) }).await?;
        Ok(match answer {
            LockAnswer::Acquired(lock) => AcquireAnswer::Acquired { lock, held_for },
            LockAnswer::Refused(lock) => AcquireAnswer::Refused(lock),
        })
    }

    /// Holds a lock for longer, counted from when this is called.
    pub async fn renew_lock(&self, call: HeldCall, lease_time: Duration) -> Result<()> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let is_held = core.store.renew_lock(&call.key(), lease_time, core.server).await?;
            if is_held { Ok(()) } else { Err(Error::LockLost(call.name)) }
        })
        .await
    }

    /// Gives a lock back, with token 0 whichever token the owner holds it with; says whether it was held until now.
    pub async fn release_lock(&self, call: HeldCall) -> Result<bool> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let was_held = core.store.release_lock(&call.key()).await?;
            core.locks.wake(&call.name);
            Ok(was_held)
        })
        .await
    }

    /// Takes a lock from its holder, whoever it is unless a token says; answers how it was held.
    pub async fn break_lock(&self, name: String, token: Option<Epoch>, reason: String) -> Result<NamedLock> {
        let core = Arc::clone(&self.core);
        unit(async move {
            match core.store.break_lock(&name, token).await? {
                LockBreak::Broken(lock) => {
                    tracing::warn!(
                        name,
                        owner = lock.owner,
                        token = lock.token.0,
                        reason,
                        "a lock was broken"
                    );
                    core.locks.wake(&name);
                    Ok(lock)
                }
                LockBreak::OtherHolder(lock) => {
                    Err(Error::LockHeld { name, owner: lock.owner, token: lock.token })
                }
                LockBreak::NotHeld => Err(Error::NotFound { kind: "lock", name }),
            }
        })
        .await
    }

    /// A page of the locks that are held, by name.
    pub async fn list_locks(&self, call: ListLocksCall) -> Result<Page<NamedLock>> {
        let after = read_locks_token(&call)?;
        let core = Arc::clone(&self.core);
        unit(async move { core.locks_page(&call, after).await }).await
    }

    /// Wakes callers whose lock was released through another server, or is over.
    pub async fn look_at_locks(&self) -> Result<()> {
        let names = self.core.locks.names();
        if names.is_empty() {
            return Ok(());
        }
        let core = Arc::clone(&self.core);
        unit(async move {
            for name in core.store.free_locks(&names).await? {
                core.locks.wake(&name);
            }
            Ok(())
        })
        .await
    }
}

/// Whether a free lock is taken, or only seen whether the caller holds it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Take {
    Yes,
    No,
}

impl HeldCall {
    fn key(&self) -> LockKey {
        LockKey { name: self.name.clone(), secret: self.secret, token: self.token }
    }
}

impl Core {
    /// Walks over rows, those of locks that nobody holds among them; a short page with a token goes on.
    async fn locks_page(&self, call: &ListLocksCall, mut after: String) -> Result<Page<NamedLock>> {
        let (mut items, mut walked) = (Vec::new(), 0);
        loop {
            let walk = LockWalk { prefix: call.prefix.clone(), after: after.clone(), limit: STEP };
            let (held, next) = self.store.walk_locks(&walk).await?;
            items.extend(held);
            walked += STEP;
            if items.len() > call.page_size {
                items.truncate(call.page_size);
                let last = items.last().map_or(after.as_str(), |lock: &NamedLock| &lock.name);
                let next = write_locks_token(call, last);
                return Ok(Page { items, next });
            }
            let Some(next) = next else { return Ok(Page { items, next: String::new() }) };
            after = next;
            if walked >= limits::WALK_ROWS_MAX {
                let next = write_locks_token(call, &after);
                return Ok(Page { items, next });
            }
        }
    }
}

fn write_locks_token(call: &ListLocksCall, last: &str) -> String {
    write_token(LOCKS_TOKEN, &[digest([call.prefix.as_bytes()]).as_slice(), last.as_bytes()].concat())
}

fn read_locks_token(call: &ListLocksCall) -> Result<String> {
    if call.page_token.is_empty() {
        return Ok(String::new());
    }
    let bad = |message: String| Error::BadToken { field: "page_token", message };
    let bytes = read_token(LOCKS_TOKEN, &call.page_token).map_err(|error| bad(error.to_string()))?;
    match bytes.split_at_checked(16) {
        Some((of, after)) if of == digest([call.prefix.as_bytes()]) => {
            String::from_utf8(after.to_vec()).map_err(|_| bad("is not a token of this kind".into()))
        }
        _ => Err(bad("belongs to another query: use it with the same name_prefix".into())),
    }
}
