//! The one source of time and of randomness for ids.
//!
//! One clock decides in Haulier: the database's. A server asks for it now and then and carries it on a
//! monotonic clock in between, so that what [`Clock::now`] answers is a lower bound of the database's time:
//! the answer was already old when it arrived. A wall clock is read only by SQLite, whose database clock is
//! this process's own.

#![expect(clippy::disallowed_methods, reason = "the one room that asks")]

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rand::RngExt as _;

use crate::model::Time;

/// What a database's clock may fall behind this machine's between two answers, microseconds: 100 us/s over two seconds.
const DRIFT_MAX: i64 = 200;
/// An answer that tells a time earlier by more was not late: the database's clock was set back. Microseconds.
const LATE_MAX: i64 = 50_000;

/// The database's time, carried on a monotonic clock.
#[derive(Debug)]
pub struct Clock {
    origin: Instant,
    /// Database time at `origin`, in microseconds.
    offset: AtomicI64,
}

impl Clock {
    /// A clock that starts from `database_time`, read from the database at `read_at` or later.
    pub fn new(database_time: Time, read_at: Instant) -> Self {
        Self { origin: read_at, offset: AtomicI64::new(database_time.0) }
    }

    /// Follow the database: `database_time` is what it answered, and `answered_at` when that arrived.
    ///
    /// An answer that was long on its way tells less than an earlier one, which stands then, less what two clocks may
    /// drift apart meanwhile. The clock may step back here if the database's did; nothing in Haulier relies on its
    /// never doing so.
    pub fn follow(&self, database_time: Time, answered_at: Instant) {
        let told = database_time.0 - self.since_origin(answered_at);
        let known = self.offset.load(Ordering::Relaxed);
        let was_late = (0..=LATE_MAX).contains(&(known - told));
        let offset = if was_late { told.max(known - DRIFT_MAX) } else { told };
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// The database's time now, never ahead of it; after its clock was set back by less than `LATE_MAX`, ahead by what is
    /// left of that.
    pub fn now(&self) -> Time {
        Time(self.offset.load(Ordering::Relaxed) + self.since_origin(Instant::now()))
    }

    fn since_origin(&self, at: Instant) -> i64 {
        at.saturating_duration_since(self.origin).as_micros() as i64
    }
}

/// A clock that never goes back while the process lives: the database clock of an embedded database.
#[derive(Debug)]
pub struct SteadyClock {
    origin: Instant,
    start: Time,
}

impl SteadyClock {
    /// Start from the wall clock, or from `floor` (the last tick that is stored) if that is later.
    pub fn starting_no_earlier_than(floor: Time) -> Self {
        Self { origin: Instant::now(), start: wall_clock().max(floor) }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        Time(self.start.0 + self.origin.elapsed().as_micros() as i64)
    }
}

/// The wall clock of this machine, UTC.
fn wall_clock() -> Time {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(since_epoch.as_micros() as i64)
}

/// A monotonic instant, for measuring how long something took or may still take.
pub fn instant() -> Instant {
    Instant::now()
}

/// 128 random bits, for session ids.
pub fn random_128() -> [u8; 16] {
    rand::rng().random()
}

/// A random positive 63-bit number, for nonces and server ids.
pub fn random_63() -> i64 {
    rand::rng().random::<i64>() & i64::MAX
}

/// A random fraction in `0.0..1.0`, for jitter.
pub fn random_fraction() -> f64 {
    rand::rng().random()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_answer_that_was_late_takes_little_from_what_is_known_and_a_clock_that_was_set_is_followed() {
        let start = Instant::now();
        let clock = Clock::new(Time(1_000_000), start);
        let offset = || clock.offset.load(Ordering::Relaxed);
        let answer = |time: i64, seconds: u64| clock.follow(Time(time), start + Duration::from_secs(seconds));
        answer(2_000_050, 1);
        assert_eq!(offset(), 1_000_050, "a quicker answer tells more");
        answer(2_992_050, 2);
        assert_eq!(offset(), 999_850, "8 ms late");
        answer(3_999_800, 3);
        assert_eq!(offset(), 999_800, "slower than this machine's clock");
        answer(4_000_000, 4);
        assert_eq!(offset(), 0, "set back by a second");
        answer(9_000_000, 5);
        assert_eq!(offset(), 4_000_000, "set forward");
    }
}
