//! The report state, shared between handlers on their runtime and the engine on its own.

use std::sync::{Mutex, PoisonError};
use std::task::Context;

use futures::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::report::{Event, LeaseKey, Next, ReportState};
use haulier_proto::v1 as pb;
use haulier_proto::v1::outcome_report::Outcome;

/// What is to be reported, behind a lock that is never held while user code runs.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    state: Mutex<ReportState>,
    /// The stream that is open, if any.
    stream: AtomicWaker,
    /// The server said something, or a stream took something.
    changed: Notify,
}

impl Hub {
    pub(crate) fn new(state: ReportState) -> Self {
        Self { state: Mutex::new(state), ..Default::default() }
    }

    /// Changes the state, and has the stream look whether there is something to send.
    pub(crate) fn tell<T>(&self, change: impl FnOnce(&mut ReportState) -> T) -> T {
        let result = self.with(change);
        self.stream.wake();
        result
    }

    /// As [`Hub::tell`], for the end of an attempt. While outcomes are on their way the stream need not look for others.
    pub(crate) fn tell_outcome(&self, key: LeaseKey, outcome: Outcome) {
        let is_held = self.with(|state| {
            state.finish(key, outcome);
            state.holds_outcomes(Instant::now())
        });
        if !is_held {
            self.stream.wake();
        }
    }

    /// Looks at the state.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&ReportState) -> T) -> T {
        self.with(|state| look(state))
    }

    /// Waits until the check has an answer; it is asked again whenever the server said something or a stream took something.
    pub(crate) async fn until<T>(&self, mut check: impl FnMut(&mut ReportState) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(answer) = self.tell(&mut check) {
                return answer;
            }
            changed.await;
        }
    }

    /// Resolves at the next change that the server or a stream makes.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// The next message for a stream.
    pub(super) fn poll_message(&self, stream: u64, cx: &Context<'_>) -> Next {
        self.stream.register(cx.waker());
        let (next, told) = self.with(|state| {
            let before = state.told_sequences();
            let next = state.next_message(stream, Instant::now());
            (next, state.told_sequences() != before)
        });
        if told {
            self.changed.notify_waiters();
        }
        next
    }

    /// Takes an answer of the server.
    pub(super) fn on_response(&self, response: pb::ReportJobsResponse) -> Vec<Event> {
        let events = self.tell(|state| state.on_response(response, Instant::now()));
        self.changed.notify_waiters();
        events
    }

    /// Has whoever waits look again, after a change that neither the server nor a stream made.
    pub(crate) fn stir(&self) {
        self.changed.notify_waiters();
    }

    fn with<T>(&self, change: impl FnOnce(&mut ReportState) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
