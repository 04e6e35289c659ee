//! Queues: what is set for each, and how its jobs fare.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{RouteId, Time, micros};

/// What somebody set for a queue; one that nobody touched has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSetting {
    /// The queue.
    pub name: String,
    /// Set: it gives out nothing. Its jobs are stored and do not start, those that run go on.
    pub pause: Option<QueuePause>,
    /// How much of it may run.
    pub limits: QueueLimits,
}

/// Since when and why a queue is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePause {
    /// Since when.
    pub time: Time,
    /// Why, in words; may be empty.
    pub reason: String,
}

/// How much of a queue may run, over all worker processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLimits {
    /// Jobs that run at once.
    pub concurrency: Option<i64>,
    /// Jobs that start in a time.
    pub rate: Option<RateLimit>,
}

impl QueueLimits {
    /// Is anything limited?
    pub fn is_any(&self) -> bool {
        *self != QueueLimits::default()
    }
}

/// So many starts in any stretch of so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many.
    pub count: i64,
    /// In how much time.
    pub period: Duration,
}

/// What is to be changed of a queue's limits; what is none stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitChange {
    /// The new limit of jobs that run at once, or that there is none.
    pub concurrency: Option<Option<i64>>,
    /// The new limit of starts, or that there is none.
    pub rate: Option<Option<RateLimit>>,
}

impl LimitChange {
    /// The limits after the change.
    pub fn of(&self, limits: QueueLimits) -> QueueLimits {
        QueueLimits {
            concurrency: self.concurrency.unwrap_or(limits.concurrency),
            rate: self.rate.unwrap_or(limits.rate),
        }
    }
}

/// How a limited queue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStanding {
    /// Its limits.
    pub limits: QueueLimits,
    /// Jobs that run.
    pub running: i64,
    /// Starts that its rate leaves now; without a rate the largest integer.
    pub starts_left: i64,
}

impl QueueStanding {
    /// Jobs that may start now.
    pub fn room(&self) -> i64 {
        let slots = self.limits.concurrency.map_or(i64::MAX, |most| most.saturating_sub(self.running));
        slots.min(self.starts_left).max(0)
    }
}

/// The starts of a queue in the last period: a sliding window. Starts that lie close together share an entry at the later
/// end of a sixty-fourth of the period, so that entries are few and no stretch ever holds more starts than it may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartLog(Vec<(i64, i64)>);

impl StartLog {
    const PARTS: i64 = 64;

    /// Starts that are left now.
    pub fn left(&self, rate: RateLimit, now: Time) -> i64 {
        let counted =
            self.0.iter().filter(|(time, _)| lasts(*time, rate, now)).map(|(_, count)| count).sum::<i64>();
        rate.count.saturating_sub(counted).max(0)
    }

    /// Notes starts of now.
    pub fn note(&mut self, rate: RateLimit, now: Time, starts: i64) {
        self.0.retain(|(time, _)| lasts(*time, rate, now));
        match self.0.last_mut() {
            Some((time, count)) if *time >= now.0 => *count += starts,
            _ => self.0.push((now.0.saturating_add(micros(rate.period) / Self::PARTS), starts)),
        }
    }
}

fn lasts(time: i64, rate: RateLimit, now: Time) -> bool {
    // Entries of a time to come are left by a clock that was set back: they do not block the queue for ever.
    let period = micros(rate.period);
    time.saturating_add(period) > now.0 && time <= now.0.saturating_add(period)
}

/// Jobs that have not ended, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveJobs {
    /// By the route that they are claimed from.
    pub routes: BTreeMap<RouteId, LiveCounts>,
    /// How many wait for their turn in each lane; they are among the blocked ones of their routes.
    pub lines: BTreeMap<RouteId, i64>,
}

/// How many jobs that have not ended stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveCounts {
    /// Their time has not come.
    pub scheduled: i64,
    /// They wait for parents or for their turn.
    pub blocked: i64,
    /// They could start.
    pub queued: i64,
    /// They run.
    pub running: i64,
    /// Since when the one that has waited longest could start.
    pub oldest_ready: Option<Time>,
}

impl LiveCounts {
    /// These and others.
    pub fn add(&mut self, other: &LiveCounts) {
        self.scheduled += other.scheduled;
        self.blocked += other.blocked;
        self.queued += other.queued;
        self.running += other.running;
        self.oldest_ready = match (self.oldest_ready, other.oldest_ready) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const RATE: RateLimit = RateLimit { count: 3, period: Duration::from_secs(1) };

    #[test]
    fn no_stretch_of_the_period_holds_more_starts_than_it_may() {
        let (mut log, mut starts) = (StartLog::default(), Vec::new());
        // A start is wanted every 7 ms; those that are granted are noted with their time.
        for time in (0..20 * SECOND).step_by(7_000) {
            if log.left(RATE, Time(time)) > 0 {
                log.note(RATE, Time(time), 1);
                starts.push(time);
            }
        }
        assert!(starts.windows(4).all(|four| four[3] - four[0] >= SECOND), "{starts:?}");
        assert!(
            starts.len() >= 57,
            "a start is held back by a sixty-fourth of the period at most: {}",
            starts.len()
        );
    }

    #[test]
    fn entries_are_few_however_many_starts_there_are() {
        let rate = RateLimit { count: 1_000_000, ..RATE };
        let mut log = StartLog::default();
        for time in (0..2 * SECOND).step_by(100) {
            log.note(rate, Time(time), 1);
        }
        assert!(log.0.len() <= 66, "{}", log.0.len());
        assert!((989_000..991_000).contains(&log.left(rate, Time(2 * SECOND))));
    }

    #[test]
    fn a_clock_that_was_set_back_blocks_no_queue() {
        let mut log = StartLog::default();
        log.note(RATE, Time(100 * SECOND), 3);
        assert_eq!(log.left(RATE, Time(100 * SECOND)), 0);
        assert_eq!(log.left(RATE, Time(10 * SECOND)), 3);
    }

    #[test]
    fn a_queue_has_the_room_of_its_tighter_limit() {
        let limits = QueueLimits { concurrency: Some(5), rate: None };
        let standing = QueueStanding { limits, running: 3, starts_left: i64::MAX };
        assert_eq!(standing.room(), 2);
        assert_eq!(QueueStanding { starts_left: 1, ..standing }.room(), 1);
        assert_eq!(QueueStanding { running: 9, ..standing }.room(), 0, "a new limit below what runs");
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let limits = QueueLimits { concurrency: Some(5), rate: Some(RATE) };
        let lifted = LimitChange { rate: Some(None), ..Default::default() }.of(limits);
        assert_eq!(lifted, QueueLimits { concurrency: Some(5), rate: None });
        assert!(
            lifted.is_any()
                && !LimitChange { concurrency: Some(None), ..Default::default() }.of(lifted).is_any()
        );
    }
}
