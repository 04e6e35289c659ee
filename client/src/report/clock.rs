//! How long the leases of a session hold, counted on the monotonic clock from when the acknowledged heartbeat was sent.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Heartbeats whose acknowledgement is remembered to be due; older ones are forgotten.
const IN_FLIGHT_MAX: usize = 64;

/// Whether the leases hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// They do.
    Held,
    /// At 80 % of the lease time without an acknowledgement: somebody else may soon have them.
    InDoubt,
    /// The lease time is over: somebody else may have them now.
    Over,
}

/// The lease clock of a session.
#[derive(Debug)]
pub(crate) struct LeaseClock {
    lease_time: Duration,
    held_from: Instant,
    in_flight: VecDeque<(i64, Instant)>,
}

impl LeaseClock {
    /// Begins with the registration, counted from when it was sent.
    pub(crate) fn new(lease_time: Duration, registered_at: Instant) -> Self {
        Self { lease_time, held_from: registered_at, in_flight: VecDeque::new() }
    }

    /// A heartbeat is handed over to be sent.
    pub(crate) fn on_sent(&mut self, beat: i64, now: Instant) {
        if self.in_flight.len() == IN_FLIGHT_MAX {
            self.in_flight.pop_front();
        }
        self.in_flight.push_back((beat, now));
    }

    /// A heartbeat was acknowledged; its answer says how long the leases hold from when it was sent.
    pub(crate) fn on_acknowledged(&mut self, beat: i64, lease_time: Option<Duration>) {
        while let Some((sent, at)) = self.in_flight.front().copied() {
            if sent > beat {
                return;
            }
            self.in_flight.pop_front();
            if sent == beat {
                self.held_from = at;
                self.lease_time = lease_time.unwrap_or(self.lease_time);
            }
        }
    }

    /// Whether the leases hold at this time.
    pub(crate) fn health(&self, now: Instant) -> Health {
        match now.saturating_duration_since(self.held_from) {
            age if age >= self.lease_time => Health::Over,
            age if age >= self.doubt_after() => Health::InDoubt,
            _ => Health::Held,
        }
    }

    /// When health may next change for the worse.
    pub(crate) fn next_change(&self, now: Instant) -> Option<Instant> {
        match self.health(now) {
            Health::Held => Some(self.held_from + self.doubt_after()),
            Health::InDoubt => Some(self.held_from + self.lease_time),
            Health::Over => None,
        }
    }

    fn doubt_after(&self) -> Duration {
        self.lease_time * 4 / 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const LEASE: Duration = Duration::from_secs(30);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn the_lease_counts_from_when_the_acknowledged_heartbeat_was_sent() {
        let mut clock = LeaseClock::new(LEASE, Instant::now());
        advance(secs(10)).await;
        clock.on_sent(1, Instant::now());
        advance(secs(9)).await;
        clock.on_acknowledged(1, Some(LEASE));
        advance(secs(14)).await;
        assert_eq!(
            clock.health(Instant::now()),
            Health::Held,
            "23 s after it was sent, 14 s after the answer"
        );
        advance(secs(1)).await;
        assert_eq!(clock.health(Instant::now()), Health::InDoubt, "24 s after it was sent");
        advance(secs(6)).await;
        assert_eq!(clock.health(Instant::now()), Health::Over);
    }

    #[tokio::test(start_paused = true)]
    async fn without_any_acknowledgement_it_counts_from_the_registration() {
        let clock = LeaseClock::new(LEASE, Instant::now());
        let next = clock.next_change(Instant::now()).unwrap();
        assert_eq!(next - Instant::now(), secs(24));
        advance(secs(24)).await;
        assert_eq!(clock.health(Instant::now()), Health::InDoubt);
        assert_eq!(clock.next_change(Instant::now()).unwrap() - Instant::now(), secs(6));
        advance(secs(6)).await;
        assert_eq!((clock.health(Instant::now()), clock.next_change(Instant::now())), (Health::Over, None));
    }

    #[tokio::test(start_paused = true)]
    async fn an_acknowledgement_of_a_later_heartbeat_stands_for_the_earlier_ones() {
        let mut clock = LeaseClock::new(LEASE, Instant::now());
        clock.on_sent(1, Instant::now());
        advance(secs(20)).await;
        clock.on_sent(2, Instant::now());
        clock.on_acknowledged(2, None);
        clock.on_acknowledged(1, None);
        advance(secs(20)).await;
        assert_eq!(clock.health(Instant::now()), Health::Held);
    }

    #[tokio::test(start_paused = true)]
    async fn an_acknowledgement_brings_leases_back_from_doubt_with_the_lease_time_it_names() {
        let mut clock = LeaseClock::new(LEASE, Instant::now());
        advance(secs(25)).await;
        clock.on_sent(3, Instant::now());
        assert_eq!(clock.health(Instant::now()), Health::InDoubt);
        clock.on_acknowledged(3, Some(secs(10)));
        assert_eq!(clock.health(Instant::now()), Health::Held);
        advance(secs(8)).await;
        assert_eq!(clock.health(Instant::now()), Health::InDoubt);
    }
}
