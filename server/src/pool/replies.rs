//! Sending replies: take what is due, try each once, tell how it went.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Pool, message};
use crate::engine::{Error, JobKey, Result};
use crate::model::{Delivery, Reply, TryEnd, View};
use crate::outbound::{self, ReplyTo, Sent};

/// How often a server looks for what has become due, without a hint.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Longest wait between looks after errors.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Above the deadline of a try: what telling how it ended may take before another server tries again.
const HOLD_SLACK: Duration = Duration::from_secs(30);
/// How long, and how often, telling how a try ended is repeated.
const TELL_PAUSE: Duration = Duration::from_secs(1);
const ERROR_BYTES_MAX: usize = 1_024;

/// Sends replies until `stop`; those under way are finished or, when that takes too long, left to be sent again.
pub(super) async fn work(pool: &Pool, stop: &CancellationToken) {
    let mut sending = JoinSet::new();
    let mut failures = 0;
    while !stop.is_cancelled() {
        let mut wait = LOOK_INTERVAL;
        let free = pool.settings.delivery_slots.saturating_sub(sending.len());
        match take(pool, free).await {
            Ok(taken) => {
                failures = 0;
                if taken.len() == free && free > 0 {
                    wait = Duration::ZERO;
                }
                for one in taken {
                    sending.spawn(deliver(pool.clone(), one));
                }
            }
            Err(Error::ShuttingDown) => break,
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(%error, "due notifications could not be read, trying again");
                }
                wait = LOOK_INTERVAL.saturating_mul(2_u32.saturating_pow(failures)).min(BACKOFF_MAX);
                failures += 1;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = pool.engine.delivery_hint() => {}
            Some(_) = sending.join_next(), if !sending.is_empty() => {}
            () = stop.cancelled() => {}
        }
    }
    let finish = async { while sending.join_next().await.is_some() {} };
    if tokio::time::timeout(pool.settings.drain, finish).await.is_err() {
        tracing::warn!("replies were still under way when the server stopped, they are sent again");
    }
}

async fn take(pool: &Pool, free: usize) -> Result<Vec<Delivery>> {
    if free == 0 {
        return Ok(Vec::new());
    }
    pool.engine.take_deliveries(pool.settings.deadline + HOLD_SLACK, free).await
}

/// One try, from the outcome's record to the end of the try's own.
async fn deliver(pool: Pool, delivery: Delivery) {
    let begun = tokio::time::Instant::now();
    let end = match read(&pool, &delivery).await {
        Ok(Some((view, reply))) => send(&pool, &delivery, &view, &reply, begun).await,
        Ok(None) => given_up("the job is no longer known, or asks for no notification", begun),
        Err(Error::JobNotFound(_) | Error::Invalid(_)) => given_up("the job's history was dropped", begun),
        Err(error) => {
            // The database is away: this try ends by its time, and nothing was sent.
            tracing::debug!(delivery = %delivery.id, %error, "a notification's outcome could not be read");
            return;
        }
    };
    tell(&pool, delivery, end).await;
}

async fn read(pool: &Pool, delivery: &Delivery) -> Result<Option<(View, Reply)>> {
    let view = pool.engine.job(&JobKey::Id(delivery.job), Some(delivery.run)).await?;
    let reply = view.job.spec.reply.clone().filter(|_| view.outcome().is_some());
    Ok(reply.map(|reply| (view, reply)))
}

async fn send(pool: &Pool, delivery: &Delivery, view: &View, reply: &Reply, begun: Instant) -> TryEnd {
    let Some(outcome) = view.outcome() else { return given_up("the run has no outcome", begun) };
    let to = match ReplyTo::read(&reply.whole()) {
        Ok(to) => to,
        Err(why) => return given_up(&format!("reply_to {why}"), begun),
    };
    let id = delivery.id.to_string();
    let sent = pool.outbound.reply(outbound::Reply {
        to: &to,
        id: &id,
        timestamp: pool.engine.now().0.div_euclid(1_000_000),
        body: Some(message::reply_body(reply.body, &view.job, outcome)),
        headers: message::reply_headers(&view.job, outcome),
    });
    let sent = sent.await;
    let duration = begun.elapsed();
    match sent {
        Sent::Taken { status } => {
            TryEnd { http_status: status, error: None, retry_after: None, is_final: false, duration }
        }
        Sent::Refused { status, error, retry_after, is_final } => {
            TryEnd { http_status: status, error: Some(cut(error)), retry_after, is_final, duration }
        }
    }
}

fn given_up(why: &str, begun: Instant) -> TryEnd {
    let error = Some(cut(why.to_owned()));
    TryEnd { http_status: 0, error, retry_after: None, is_final: true, duration: begun.elapsed() }
}

/// Tells how a try ended, again while the database is away, for as long as the notification is held.
async fn tell(pool: &Pool, delivery: Delivery, end: TryEnd) {
    let until = tokio::time::Instant::now() + HOLD_SLACK;
    if let Some(error) = &end.error {
        tracing::info!(delivery = %delivery.id, job = %delivery.job, attempt = delivery.attempt_count, error, "a reply was not taken");
    }
    loop {
        match pool.engine.end_delivery(delivery.clone(), end.clone(), &pool.settings.retries).await {
            Ok(true) => return,
            Ok(false) => {
                tracing::debug!(delivery = %delivery.id, "this try was stored before, or another server took over");
                return;
            }
            Err(error) if tokio::time::Instant::now() < until => {
                tracing::debug!(delivery = %delivery.id, %error, "a notification's try was not stored, trying again");
                tokio::time::sleep(TELL_PAUSE).await;
            }
            Err(error) => {
                tracing::warn!(delivery = %delivery.id, %error, "a notification's try was not stored, it is sent again");
                return;
            }
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > ERROR_BYTES_MAX {
        let at = (0..=ERROR_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(at);
    }
    text
}
