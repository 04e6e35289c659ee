//! Schedules: when a recurring task is due, by cron or by an interval.
//!
//! The cron dialect is that of Cronos, and so is what happens when clocks change: see [`Cron`]. An interval is
//! counted from its anchor, never from when a run happened to start, so it does not drift.

mod calendar;
mod cron;
mod error;
mod parse;
#[cfg(test)]
mod tests;
mod zone;

use std::time::Duration;

pub use cron::Cron;
pub use error::{CronError, CronField};
pub use parse::Seed;
pub use zone::{UnknownZone, Zone};

use super::{Time, micros};

/// When something is due.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// At the times of a cron expression in a time zone.
    Cron {
        /// The expression.
        cron: Box<Cron>,
        /// The time zone.
        zone: Zone,
    },
    /// Again and again after this long, the first time this long after the anchor.
    Every(Duration),
}

impl Schedule {
    /// The first due time later than `after`. `anchor` is what an interval counts from; cron has no use for it.
    ///
    /// `None` when there is none before the year 10000.
    pub fn next(&self, anchor: Time, after: Time) -> Option<Time> {
        match self {
            Schedule::Cron { cron, zone } => zone.next(cron, after),
            Schedule::Every(interval) => {
                let interval = micros(*interval).max(1);
                let passed = after.0.checked_sub(anchor.0)?.div_euclid(interval).max(0);
                let next = passed.checked_add(1)?.checked_mul(interval)?.checked_add(anchor.0)?;
                (next <= LAST.0).then_some(Time(next))
            }
        }
    }

    /// The due times later than `after`, in order.
    pub fn times(&self, anchor: Time, after: Time) -> impl Iterator<Item = Time> {
        std::iter::successors(self.next(anchor, after), move |time| self.next(anchor, *time))
    }
}

/// The last second that has a date before the year 10000 in every time zone: the end of every schedule.
const LAST: Time = Time(253_402_207_200_000_000);
