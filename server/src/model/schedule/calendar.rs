//! Which days of a month an expression names.

use jiff::civil::Date;

/// The day-of-month field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Days {
    /// The days 1 to 31, one bit each; all of them when the field counts from the end of the month.
    pub(super) bits: u32,
    /// `L` or `L-n`: the day this many before the last one.
    pub(super) before_last: Option<u8>,
    /// `W`: the weekday nearest to that one day, in the same month.
    pub(super) nearest_weekday: bool,
}

/// The day-of-week field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weekdays {
    /// Sunday 0 to Saturday 6, one bit each.
    pub(super) bits: u8,
    /// Which of those in the month.
    pub(super) which: Which,
}

/// Which of the days of the week in a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Every one.
    Every,
    /// `#n`: the nth.
    Nth(u8),
    /// `L`: the last.
    Last,
}

const SATURDAY: u8 = 6;
const SUNDAY: u8 = 0;

/// A month as much as it takes to match days: how long it is, and what day of the week its first is.
#[derive(Clone, Copy)]
struct Shape {
    days: u8,
    first: u8,
}

impl Shape {
    fn weekday(self, day: u8) -> u8 {
        (self.first + day - 1) % 7
    }

    /// The nearest day from Monday to Friday that is in the same month.
    fn nearest_weekday(self, day: u8) -> u8 {
        match self.weekday(day) {
            SATURDAY if day == 1 => 3,
            SATURDAY => day - 1,
            SUNDAY if day == self.days => day - 2,
            SUNDAY => day + 1,
            _ => day,
        }
    }
}

/// The days of a month that both fields name, one bit each from bit 1 on. Nothing for a month that there is not.
pub(super) fn matching_days(days: Days, weekdays: Weekdays, year: i16, month: i8) -> u32 {
    let Ok(first) = Date::new(year, month, 1) else { return 0 };
    let shape =
        Shape { days: first.days_in_month() as u8, first: first.weekday().to_sunday_zero_offset() as u8 };
    of_month(days, shape) & of_week(weekdays, shape)
}

fn of_month(days: Days, shape: Shape) -> u32 {
    let whole = u32::MAX >> (31 - shape.days) & !1;
    let named = match days.before_last {
        Some(before) if before < shape.days => 1 << (shape.days - before),
        Some(_) => 0,
        None => days.bits & whole,
    };
    if days.nearest_weekday && named != 0 {
        1 << shape.nearest_weekday(named.trailing_zeros() as u8)
    } else {
        named
    }
}

fn of_week(weekdays: Weekdays, shape: Shape) -> u32 {
    (1..=shape.days)
        .filter(|day| weekdays.bits >> shape.weekday(*day) & 1 == 1)
        .filter(|day| match weekdays.which {
            Which::Every => true,
            Which::Nth(n) => (day - 1) / 7 + 1 == n,
            Which::Last => day + 7 > shape.days,
        })
        .fold(0, |bits, day| bits | 1 << day)
}
