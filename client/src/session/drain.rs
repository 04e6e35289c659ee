//! The end of a worker process in order: nothing more is claimed, handlers end or are told to, outcomes are acknowledged.

use std::time::Duration;

use haulier_proto::v1 as pb;
use tokio::time::{Instant, sleep, timeout};

use super::{Drain, Session};
use crate::job::{Stop, StopReason};

/// How long handlers may take to stop once they are told to.
const STOP_TIME: Duration = Duration::from_secs(5);
/// How long the acknowledgements of the last outcomes are waited for.
const FLUSH_TIME: Duration = Duration::from_secs(10);
/// The same, when the program wants to end at once.
const ABORT_FLUSH_TIME: Duration = Duration::from_secs(2);
/// How long the end of the stream and of the session may take.
const END_TIME: Duration = Duration::from_secs(2);

impl Session {
    pub(super) async fn drain(&self, order: Drain) {
        tracing::info!(reason = order.reason, "draining");
        self.draining.cancel();
        // What the server leased to a claim whose answer is not waited for goes back with this heartbeat.
        self.engine.hub.tell(|state| state.claims_closed(Instant::now()));
        tokio::select! {
            () = self.end_attempts(&order) => {}
            // The stream goes on telling the outcomes there are; everything else is dropped.
            () = self.drop_leases_when_lost() => {}
        }
        self.flush().await;
        self.engine.hub.tell(crate::report::ReportState::close);
        let _ = timeout(END_TIME, self.closed.cancelled()).await;
        self.unregister(order.reason).await;
    }

    /// Lets handlers run for the time they have, then tells them to stop, then drops them.
    async fn end_attempts(&self, order: &Drain) {
        let time = order.time.unwrap_or(self.engine.settings.drain_time);
        tokio::select! {
            () = self.idle() => return,
            () = sleep(time) => {}
            () = self.engine.orders.abort.cancelled() => {}
        }
        let force_at = Instant::now() + STOP_TIME;
        self.stop_all(&order.reason, force_at);
        tokio::select! {
            () = self.idle() => return,
            () = sleep(STOP_TIME + END_TIME) => {}
            () = self.engine.orders.abort.cancelled() => self.stop_all(&order.reason, Instant::now()),
        }
        if timeout(END_TIME, self.idle()).await.is_err() {
            tracing::warn!("handlers do not end: their jobs are taken back when the session ends");
        }
    }

    async fn drop_leases_when_lost(&self) {
        self.lost.cancelled().await;
        self.drop_leases();
        tokio::select! {
            () = self.idle() => {}
            () = self.engine.orders.abort.cancelled() => {}
        }
    }

    fn stop_all(&self, message: &str, force_at: Instant) {
        for signals in self.engine.all_signals() {
            let stop = Stop { reason: StopReason::Drain, message: message.to_owned() };
            signals.stop(stop, Some(force_at));
        }
    }

    /// Waits until every attempt has an outcome.
    async fn idle(&self) {
        let mut load = self.engine.load.subscribe();
        let _ = load.wait_for(|load| load.live == 0).await;
    }

    async fn flush(&self) {
        let time = if self.engine.orders.abort.is_cancelled() { ABORT_FLUSH_TIME } else { FLUSH_TIME };
        let flushed = self.engine.hub.until(|state| state.is_flushed().then_some(()));
        let flushed = async {
            tokio::select! {
                () = flushed => true,
                () = async { self.engine.orders.abort.cancelled().await; sleep(ABORT_FLUSH_TIME).await } => false,
            }
        };
        if !timeout(time, flushed).await.unwrap_or(false) {
            tracing::warn!("the server has not acknowledged every outcome: those jobs may run again");
        }
    }

    async fn unregister(&self, reason: String) {
        let request = pb::UnregisterWorkerRequest { session_id: self.registered.session_id.clone(), reason };
        let calling = async { self.engine.service().unregister_worker(request).await };
        match timeout(END_TIME, calling).await {
            Ok(Ok(answer)) => tracing::info!(released = answer.into_inner().released_count, "drained"),
            Ok(Err(status)) => {
                tracing::warn!(code = ?status.code(), "drained, but the session ends only by its lease time")
            }
            Err(_) => {
                tracing::warn!("drained, but the server does not answer: the session ends by its lease time")
            }
        }
    }
}
