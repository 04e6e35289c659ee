//! Tallies: what happened, counted by the hour, for people.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Ending, JobId, RouteId, SessionId, Time, micros};

/// What happened to the jobs of a route, or of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Jobs stored.
    pub enqueued: i64,
    /// Runs completed.
    pub completed: i64,
    /// Runs failed for good.
    pub failed: i64,
    /// Runs cancelled.
    pub cancelled: i64,
    /// Attempts after which the job was to be tried again.
    pub retried: i64,
    /// How long completed runs took, their last attempts, all together.
    pub took: Duration,
    /// The latest run that ended after it had started, and when.
    pub last: Option<(Time, JobId)>,
}

impl Tally {
    /// This and what happened besides.
    pub fn add(&mut self, other: &Tally) {
        self.enqueued += other.enqueued;
        self.completed += other.completed;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.retried += other.retried;
        self.took += other.took;
        self.last = self.last.max(other.last);
    }

    /// How long a completed run took on average; none: none completed.
    pub fn mean(&self) -> Option<Duration> {
        let runs = u32::try_from(self.completed).ok().filter(|runs| *runs > 0)?;
        Some(self.took / runs)
    }
}

/// A stretch of time in which tallies are kept: it begins at a whole multiple of its length since 1970.
pub fn slot(time: Time, length: Duration) -> Time {
    Time(time.0 - time.0.rem_euclid(micros(length).max(1)))
}

/// How long jobs waited, in steps of a quarter of an octave from a millisecond on: a wait is known to a tenth of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits(pub BTreeMap<i64, i64>);

impl Waits {
    /// Steps in which a wait doubles.
    const STEPS: f64 = 4.0;

    /// The step of a wait.
    pub fn step(wait: Duration) -> i64 {
        let millis = wait.as_secs_f64() * 1_000.0;
        if millis <= 1.0 { 0 } else { (millis.log2() * Self::STEPS).ceil() as i64 }
    }

    /// The middle of a step.
    fn wait(step: i64) -> Duration {
        if step <= 0 {
            return Duration::from_micros(500);
        }
        Duration::from_secs_f64(((step as f64 - 0.5) / Self::STEPS).exp2() / 1_000.0)
    }

    /// The wait that so many of a hundred did not exceed; none: nothing waited.
    pub fn percentile(&self, percent: i64) -> Option<Duration> {
        let all: i64 = self.0.values().sum();
        let rank = (all * percent + 99) / 100;
        let mut seen = 0;
        self.0.iter().find_map(|(step, count)| {
            seen += count;
            (seen >= rank.max(1)).then(|| Self::wait(*step))
        })
    }
}

/// Something that a transaction did, to be counted once it is committed.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A job was stored.
    Enqueued {
        /// Its route.
        route: RouteId,
    },
    /// An attempt started.
    Started {
        /// How long the job had waited since it could start.
        waited: Duration,
    },
    /// A job is tried again after an attempt that failed.
    Retried {
        /// Its route.
        route: RouteId,
        /// The worker process of the attempt.
        session: SessionId,
    },
    /// A run ended.
    Ended {
        /// The job.
        job: JobId,
        /// Its route.
        route: RouteId,
        /// Its lane.
        lane: Option<RouteId>,
        /// The worker process of its last attempt; none: it never started.
        session: Option<SessionId>,
        /// How.
        ending: Ending,
        /// How long its last attempt took.
        took: Duration,
    },
}

impl Event {
    /// A job was cancelled while it waited.
    pub fn cancelled(job: JobId, route: RouteId, lane: Option<RouteId>) -> Event {
        Event::Ended { job, route, lane, session: None, ending: Ending::Cancelled, took: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_known_to_a_tenth_of_itself() {
        for millis in [1.5, 2.0, 7.0, 100.0, 1_234.0, 60_000.0, 1e9] {
            let wait = Duration::from_secs_f64(millis / 1_000.0);
            let known = Waits(BTreeMap::from([(Waits::step(wait), 1)])).percentile(50).unwrap();
            let ratio = known.as_secs_f64() / wait.as_secs_f64();
            assert!((0.9..1.1).contains(&ratio), "{millis} ms is known as {known:?}");
        }
        assert_eq!(Waits::step(Duration::ZERO), 0);
    }

    #[test]
    fn percentiles_are_those_of_the_ranks() {
        assert_eq!(Waits::default().percentile(50), None);
        let waits = Waits(BTreeMap::from([(0, 95), (40, 5)]));
        assert_eq!(waits.percentile(95), Some(Duration::from_micros(500)));
        assert!(waits.percentile(96).unwrap() > Duration::from_millis(900));
    }

    #[test]
    fn slots_begin_at_whole_hours() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(slot(Time(3_600_000_000 + 5), hour), Time(3_600_000_000));
        assert_eq!(slot(Time(3_600_000_000), hour), Time(3_600_000_000));
    }
}
