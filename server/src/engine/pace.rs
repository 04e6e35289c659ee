//! How often something is looked at that is slow at times: beside somebody's old snapshot, say, when rows that were taken
//! long ago are in the way of every look.

use std::time::{Duration, Instant};

use crate::clock;

/// It takes one part in so many of the time at most.
const SHARE: u32 = 20;

/// When it was done last, and when it is due again.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    ended_at: Option<Instant>,
    pause: Duration,
}

impl Pace {
    /// Due at once, and then after this interval, or later where it was slow.
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, ended_at: None, pause: interval }
    }

    /// It has ended now.
    pub(crate) fn ended(&mut self, begun_at: Instant) {
        let now = clock::instant();
        self.pause = self.interval.max(now.saturating_duration_since(begun_at) * SHARE);
        self.ended_at = Some(now);
    }

    /// When it is due.
    pub(crate) fn due_at(&self) -> Instant {
        self.ended_at.map_or_else(clock::instant, |ended| ended + self.pause)
    }

    pub(crate) fn is_due(&self) -> bool {
        self.due_at() <= clock::instant()
    }

    /// Has it ended within so long?
    pub(crate) fn ended_within(&self, time: Duration) -> bool {
        self.ended_at.is_some_and(|ended| ended.elapsed() <= time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slow_is_done_less_often() {
        let long = Duration::from_secs(60);
        let mut pace = Pace::new(long);
        assert!(pace.is_due() && !pace.ended_within(long));
        pace.ended(clock::instant());
        assert!(!pace.is_due() && pace.ended_within(long));
        assert_eq!(pace.pause, long);
        let mut pace = Pace::new(Duration::ZERO);
        pace.ended(clock::instant().checked_sub(Duration::from_millis(50)).unwrap());
        assert!(pace.pause >= Duration::from_millis(50) * SHARE);
    }
}
