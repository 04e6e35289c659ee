//! The server's own worker pool: it makes API calls and sends replies.
//!
//! For API calls it is a worker process like any other, only nearer: a session, claims with sequences, one report stream
//! with heartbeats and an inventory ([`shift`]). The engine fences it like any worker, so that a server that froze or
//! lost its database can end nothing twice. Replies have rows of their own with an epoch of their own ([`replies`]).
//!
//! What it sends is put together in [`message`], without IO.

mod message;
mod replies;
mod shift;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::model::DeliveryRetries;
use crate::outbound::Outbound;

/// How much a pool does at a time.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What people call it.
    pub name: String,
    /// API calls.
    pub slots: usize,
    /// Replies.
    pub delivery_slots: usize,
    /// Bytes of an API's answer.
    pub answer_bytes_max: usize,
    /// What calls under way have to end when the server stops; then they are given back.
    pub drain: Duration,
    /// Longest time of one try of a reply.
    pub deadline: Duration,
    /// Waits between tries of a reply.
    pub retries: DeliveryRetries,
}

/// The pool of one server. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    engine: Engine,
    outbound: Arc<Outbound>,
    settings: Arc<Settings>,
}

impl Pool {
    /// A pool that does nothing yet.
    pub fn new(engine: Engine, outbound: Arc<Outbound>, settings: Settings) -> Self {
        Self { engine, outbound, settings: Arc::new(settings) }
    }

    /// Makes API calls until `stop`, then ends those under way.
    pub async fn make_calls(&self, stop: CancellationToken) {
        shift::work(self, &stop).await;
    }

    /// Sends replies until `stop`, then ends those under way.
    pub async fn send_replies(&self, stop: CancellationToken) {
        replies::work(self, &stop).await;
    }
}
