//! What is wrong with a cron expression, and where.

use std::fmt;

/// A field of a cron expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CronField {
    /// 0 to 59
    Second,
    /// 0 to 59
    Minute,
    /// 0 to 23
    Hour,
    /// 1 to 31
    DayOfMonth,
    /// 1 to 12, or JAN to DEC
    Month,
    /// 0 to 7, or SUN to SAT; 0 and 7 are Sunday
    DayOfWeek,
}

impl fmt::Display for CronField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CronField::Second => "second",
            CronField::Minute => "minute",
            CronField::Hour => "hour",
            CronField::DayOfMonth => "day of month",
            CronField::Month => "month",
            CronField::DayOfWeek => "day of week",
        })
    }
}

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CronError {
    /// Which character of the expression, counted from 1; one more than it has when something is missing at its end.
    pub position: usize,
    /// The field that the character stands in, if it stands in one.
    pub field: Option<CronField>,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            Some(field) => write!(f, "at position {}, {field}: {}", self.position, self.reason),
            None => write!(f, "at position {}: {}", self.position, self.reason),
        }
    }
}
