//! How a handler is told to stop.

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::job::{Stop, StopReason};

/// The signals of one attempt.
#[derive(Debug)]
pub(crate) struct Signals {
    /// Whether the handler must stop by itself when the lease is in doubt.
    pub(crate) is_strict: bool,
    state: watch::Sender<SignalState>,
    token: CancellationToken,
}

/// What a handler was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct SignalState {
    pub(crate) stop: Option<Stop>,
    /// When it is dropped if it has not stopped.
    pub(crate) force_at: Option<Instant>,
    pub(crate) is_in_doubt: bool,
}

impl Signals {
    pub(crate) fn new(is_strict: bool) -> Self {
        Self { is_strict, state: watch::Sender::default(), token: CancellationToken::new() }
    }

    /// Tells the handler to stop. Of several reasons the weightiest counts, of several times the earliest; a repeat is one.
    pub(crate) fn stop(&self, stop: Stop, force_at: Option<Instant>) {
        self.state.send_modify(|state| {
            if state.stop.as_ref().is_none_or(|old| weight(old.reason) < weight(stop.reason)) {
                state.stop = Some(stop);
            }
            state.force_at = [state.force_at, force_at].into_iter().flatten().min();
            // Inside, so that whoever sees one of the two sees the other.
            self.token.cancel();
        });
    }

    pub(crate) fn set_in_doubt(&self, is_in_doubt: bool) {
        self.state
            .send_if_modified(|state| std::mem::replace(&mut state.is_in_doubt, is_in_doubt) != is_in_doubt);
    }

    pub(crate) fn state(&self) -> SignalState {
        self.state.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<SignalState> {
        self.state.subscribe()
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Resolves when the handler is told to stop.
    pub(crate) async fn stopped(&self) -> Stop {
        let mut state = self.subscribe();
        let told = state.wait_for(|state| state.stop.is_some()).await;
        match told.ok().and_then(|state| state.stop.clone()) {
            Some(stop) => stop,
            None => std::future::pending().await,
        }
    }
}

/// A lost lease leaves nothing to say; what a client asked counts more than what time or a drain did.
fn weight(reason: StopReason) -> u8 {
    match reason {
        StopReason::Drain | StopReason::LeaseInDoubt => 0,
        StopReason::Timeout => 1,
        StopReason::Client => 2,
        StopReason::LeaseLost => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn stop(reason: StopReason) -> Stop {
        Stop { reason, message: String::new() }
    }

    #[tokio::test]
    async fn of_several_stops_the_weightiest_reason_and_the_earliest_time_count() {
        let signals = Signals::new(false);
        let (soon, late) = (Instant::now() + Duration::from_secs(1), Instant::now() + Duration::from_secs(9));
        signals.stop(stop(StopReason::Client), Some(soon));
        signals.stop(stop(StopReason::Drain), Some(late));
        assert_eq!(signals.stopped().await.reason, StopReason::Client);
        assert_eq!(signals.state().force_at, Some(soon));
        signals.stop(stop(StopReason::LeaseLost), None);
        assert_eq!(signals.stopped().await.reason, StopReason::LeaseLost);
    }
}
