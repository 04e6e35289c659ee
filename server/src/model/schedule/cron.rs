//! A cron expression as what it matches, and the search for the next match on the calendar.

use jiff::civil::{Date, DateTime, Time as TimeOfDay};

use super::calendar::{Days, Weekdays, matching_days};
use super::{CronError, Seed, parse};

/// A cron expression in the dialect of Cronos, that is due at least once.
///
/// Five fields, or six with seconds first: `* , - / ?`, ranges that wrap, names of months and days, `L`, `L-n`, `W`, `LW`,
/// `L-nW`, `#`, `H`; or a macro from `@every_second` to `@yearly`. When both day of month and day of week are given, both
/// must match. 0 and 7 are Sunday.
///
/// When clocks go forward, what falls into the gap is due once, right after it. When they go back, an expression with `*`, a
/// range or a step in its second, minute or hour is due both times; one with fixed times is due the first time only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    pub(super) seconds: u64,
    pub(super) minutes: u64,
    pub(super) hours: u32,
    pub(super) days: Days,
    pub(super) months: u16,
    pub(super) weekdays: Weekdays,
    /// Whether it keeps an interval within the day, so that a repeated hour counts twice.
    pub(super) is_interval: bool,
}

/// The calendar repeats after this many months, days of the week included: whatever does not match within them never does.
const CALENDAR_MONTHS: usize = 400 * 12;

impl Cron {
    /// Reads an expression; one that is never due is refused.
    pub fn parse(text: &str, seed: Seed<'_>) -> Result<Cron, CronError> {
        parse::parse(text, seed)
    }

    /// The first match on the calendar at or after `from`, a time of whole seconds. Time zones are not its business.
    pub(super) fn at_or_after(&self, from: DateTime) -> Option<DateTime> {
        let (date, time) = (from.date(), from.time());
        let today = self.days_of(date.year(), date.month()) >> date.day() & 1 == 1;
        if today && let Some(time) = self.time_at_or_after(time) {
            return Some(date.to_datetime(time));
        }
        let time = self.first_time();
        let later_days = u32::MAX.checked_shl(date.day() as u32 + 1).unwrap_or(0);
        self.first_day(date, later_days).map(|date| date.to_datetime(time))
    }

    /// Is there any day that it is due on?
    pub(super) fn is_reachable(&self) -> bool {
        self.first_day(Date::constant(2000, 1, 1), u32::MAX).is_some()
    }

    /// The first matching day, of the month of `from` only among `mask`.
    fn first_day(&self, from: Date, mask: u32) -> Option<Date> {
        let (mut year, mut month, mut mask) = (from.year(), from.month(), mask);
        for _ in 0..=CALENDAR_MONTHS {
            let days = self.days_of(year, month) & mask;
            if days != 0 {
                return Date::new(year, month, days.trailing_zeros() as i8).ok();
            }
            mask = u32::MAX;
            (year, month) = if month == 12 { (year.checked_add(1)?, 1) } else { (year, month + 1) };
        }
        None
    }

    fn days_of(&self, year: i16, month: i8) -> u32 {
        if self.months >> month & 1 == 1 { matching_days(self.days, self.weekdays, year, month) } else { 0 }
    }

    fn first_time(&self) -> TimeOfDay {
        time_of_day(first_set(self.hours.into()), first_set(self.minutes), first_set(self.seconds))
    }

    fn time_at_or_after(&self, from: TimeOfDay) -> Option<TimeOfDay> {
        let hours = u64::from(self.hours);
        if hours >> from.hour() & 1 == 1 {
            if self.minutes >> from.minute() & 1 == 1
                && let Some(second) = set_from(self.seconds, from.second())
            {
                return Some(time_of_day(from.hour(), from.minute(), second));
            }
            if let Some(minute) = set_from(self.minutes, from.minute() + 1) {
                return Some(time_of_day(from.hour(), minute, first_set(self.seconds)));
            }
        }
        let hour = set_from(hours, from.hour() + 1)?;
        Some(time_of_day(hour, first_set(self.minutes), first_set(self.seconds)))
    }
}

fn time_of_day(hour: i8, minute: i8, second: i8) -> TimeOfDay {
    TimeOfDay::new(hour, minute, second, 0).expect("the fields hold bits of hours, minutes and seconds only")
}

fn first_set(bits: u64) -> i8 {
    bits.trailing_zeros() as i8
}

/// The lowest bit that is set from `from` on; `from` is at most 60.
fn set_from(bits: u64, from: i8) -> Option<i8> {
    let rest = bits >> from << from;
    (rest != 0).then(|| first_set(rest))
}
