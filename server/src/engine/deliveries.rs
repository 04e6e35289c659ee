//! Notifications: taking those that are due, telling how a try ended, looking at them.

use std::sync::Arc;
use std::time::Duration;

use super::unit::unit;
use super::{Engine, Error, Page, Result};
use crate::clock;
use crate::model::{
    Delivery, DeliveryId, DeliveryRetries, DeliveryState, JobId, TryEnd, after_try, read_token, write_token,
};
use crate::store::DeliveriesCall;

const TOKEN: &str = "d1";

/// A page of notifications that is asked for.
#[derive(Clone, Debug)]
pub struct ListDeliveriesCall {
    /// Of this job; none: of all.
    pub job: Option<JobId>,
    /// In any of these states; empty: in all.
    pub states: Vec<DeliveryState>,
    /// Notifications at most.
    pub page_size: usize,
    /// The token of the page before; empty for the first page.
    pub page_token: String,
}

impl Engine {
    /// Takes due notifications, at most `most`. Each is the caller's to try for `hold`.
    pub async fn take_deliveries(&self, hold: Duration, most: usize) -> Result<Vec<Delivery>> {
        let core = Arc::clone(&self.core);
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        unit(async move { Ok(core.store.take_deliveries(core.clock.now(), hold, limit).await?) }).await
    }

    /// Waits until a notification was stored here; a hint, no more.
    pub async fn delivery_hint(&self) {
        self.core.delivery_hint.notified().await;
    }

    /// Tells how a try ended. False when another server took the notification meanwhile.
    pub async fn end_delivery(
        &self,
        taken: Delivery,
        end: TryEnd,
        retries: &DeliveryRetries,
    ) -> Result<bool> {
        let core = Arc::clone(&self.core);
        let count = taken.attempt_count - taken.earlier_count;
        let after = after_try(&end, count, retries, self.now(), clock::random_fraction());
        unit(async move {
            let stored = core.store.end_delivery(&taken, &end, after).await?;
            core.hub.changed([taken.job]);
            Ok(stored)
        })
        .await
    }

    /// A page of notifications, newest first.
    pub async fn deliveries(&self, call: ListDeliveriesCall) -> Result<Page<Delivery>> {
        let core = Arc::clone(&self.core);
        let before = if call.page_token.is_empty() { None } else { Some(read_place(&call)?) };
        unit(async move {
            let limit = i64::try_from(call.page_size + 1).unwrap_or(i64::MAX);
            let asked = DeliveriesCall { job: call.job, states: call.states.clone(), before, limit };
            let mut items = core.store.deliveries(&asked).await?;
            let more = items.len() > call.page_size;
            items.truncate(call.page_size);
            let next =
                items.last().filter(|_| more).map(|last| write_place(&call, last.id)).unwrap_or_default();
            Ok(Page { items, next })
        })
        .await
    }

    /// Makes a notification due at once, delivered or given up too.
    pub async fn replay_delivery(&self, delivery: DeliveryId) -> Result<Delivery> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let replayed = core.store.replay_delivery(delivery).await?;
            core.delivery_hint.notify_one();
            replayed.ok_or_else(|| Error::NotFound { kind: "delivery", name: delivery.to_string() })
        })
        .await
    }
}

/// What a page token belongs to, and where it stands.
fn write_place(call: &ListDeliveriesCall, last: DeliveryId) -> String {
    write_token(TOKEN, &[query(call), last.0].map(i64::to_be_bytes).concat())
}

fn read_place(call: &ListDeliveriesCall) -> Result<DeliveryId> {
    let bad = |message: String| Error::BadToken { field: "page_token", message };
    let bytes = read_token(TOKEN, &call.page_token).map_err(|error| bad(error.to_string()))?;
    let parts: Vec<i64> =
        bytes.chunks_exact(8).map(|chunk| i64::from_be_bytes(std::array::from_fn(|at| chunk[at]))).collect();
    match parts.as_slice() {
        [asked, last] if *asked == query(call) => Ok(DeliveryId(*last)),
        _ => Err(bad("belongs to another query: use it with the same job and states".into())),
    }
}

fn query(call: &ListDeliveriesCall) -> i64 {
    let states = call.states.iter().fold(0, |bits, state| bits | (1 << state.code()));
    call.job.map_or(0, |job| job.0).wrapping_mul(32).wrapping_add(states)
}
