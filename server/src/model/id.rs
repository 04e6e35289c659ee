//! Identities and time: small newtypes, so that two numbers of different meaning never change places.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A job's id: positive, small, growing; its month is that of its id block.
    JobId(i64)
}
number! {
    /// One pass of a job from enqueue or requeue to an outcome, counted from 1.
    Run(i32)
}
number! {
    /// The public fencing token: grows with every claim, release, retry and requeue of a job.
    Epoch(i64)
}
number! {
    /// A point in time: microseconds since 1970-01-01 UTC, by the database's clock.
    Time(i64)
}
number! {
    /// A route: the small number that stands for (queue, command, kind) in the ready table.
    RouteId(i64)
}
number! {
    /// A server process, drawn at random at its start.
    ServerId(i64)
}

impl Time {
    /// Later than every time that is stored.
    pub const NEVER: Time = Time(i64::MAX);

    /// This time and `duration` more, never beyond [`Time::NEVER`].
    pub fn plus(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(micros(duration)))
    }

    /// This time less `duration`.
    pub fn minus(self, duration: Duration) -> Time {
        Time(self.0.saturating_sub(micros(duration)))
    }

    /// How long after `earlier` this is; nothing if it is not.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0) as u64)
    }
}

/// A duration in microseconds, the unit of everything stored.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Epoch {
    /// The epoch of the next lease or revival: grows without any stored state over requeue, purge and restore,
    /// because it is at least the database's time.
    pub fn next(self, now: Time) -> Epoch {
        Epoch((self.0 + 1).max(now.0))
    }
}

/// A calendar month, as `year * 100 + month`: the unit in which history is kept, archived and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Month(pub i32);

impl Month {
    /// The month of a point in time, UTC.
    pub fn of(time: Time) -> Month {
        let date =
            jiff::Timestamp::from_microsecond(time.0).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC);
        Month(i32::from(date.year()) * 100 + i32::from(date.month()))
    }

    /// The month after this one.
    pub fn next(self) -> Month {
        if self.0 % 100 == 12 { Month(self.0 + 89) } else { Month(self.0 + 1) }
    }

    /// As people write it: `2026-11`.
    pub fn dashed(self) -> String {
        format!("{:04}-{:02}", self.0 / 100, self.0 % 100)
    }

    /// Reads `2026-11`.
    pub fn parse(text: &str) -> Option<Month> {
        let (year, month) = text.split_once('-')?;
        let (year, month): (i32, i32) = (year.parse().ok()?, month.parse().ok()?);
        ((1970..=9999).contains(&year) && (1..=12).contains(&month)).then_some(Month(year * 100 + month))
    }
}

impl fmt::Display for Month {
    /// As in table names: `2026_11`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}_{:02}", self.0 / 100, self.0 % 100)
    }
}

/// A worker process's session: 128 random bits chosen by the server, 32 hexadecimal digits on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<SessionId> {
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(SessionId(bytes))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Half of it tells sessions apart in a log without giving the session away.
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Checks a name that machines use (command, queue, named worker, target, lock): 1 to 128 characters of
/// `A-Za-z0-9._:/-`.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("is empty: give it a name of 1 to 128 characters of A-Za-z0-9._:/-".into());
    }
    if name.len() > limits::NAME_BYTES_MAX {
        return Err(format!("has {} characters, at most {} are allowed", name.len(), limits::NAME_BYTES_MAX));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || "._:/-".contains(*c))) {
        Some(bad) => Err(format!("holds {bad:?}, only A-Za-z0-9._:/- are allowed")),
        None => Ok(()),
    }
}

/// Checks a text that people choose (ref id, tag, batch id, user id, creator): up to 255 characters without
/// control characters.
pub fn check_text(text: &str) -> Result<(), String> {
    let chars = text.chars().count();
    if chars > limits::TEXT_CHARS_MAX {
        return Err(format!("has {chars} characters, at most {} are allowed", limits::TEXT_CHARS_MAX));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(bad) => Err(format!("holds the control character {bad:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_follows_december() {
        assert_eq!(Month(202612).next(), Month(202701));
        assert_eq!(Month(202611).next(), Month(202612));
    }

    #[test]
    fn a_month_is_that_of_its_time_in_utc() {
        assert_eq!(Month::of(Time(1_796_083_199_999_999)), Month(202611));
        assert_eq!(Month::of(Time(1_796_083_200_000_000)), Month(202612));
        assert_eq!(Month(202611).to_string(), "2026_11");
        assert_eq!(Month::parse("2026-11"), Some(Month(202611)));
        assert_eq!(Month::parse("2026-13"), None);
        assert_eq!(Month::parse("eleven"), None);
    }

    #[test]
    fn a_session_id_survives_its_text() {
        let id = SessionId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 254, 255]);
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        assert_eq!(SessionId::parse("abc"), None);
        assert_eq!(SessionId::parse(&"g".repeat(32)), None);
    }

    #[test]
    fn an_epoch_grows_even_when_the_clock_does_not() {
        assert_eq!(Epoch(100).next(Time(5)), Epoch(101));
        assert_eq!(Epoch(100).next(Time(500)), Epoch(500));
    }

    #[test]
    fn a_name_says_what_is_wrong_with_it() {
        assert!(check_name("CheckUrls").is_ok());
        assert!(check_name("").unwrap_err().contains("is empty"));
        assert!(check_name("a b").unwrap_err().contains("' '"));
        assert!(check_name(&"x".repeat(129)).unwrap_err().contains("129 characters"));
        assert!(check_text("Grüße 🚚").is_ok());
        assert!(check_text("line\nbreak").unwrap_err().contains("control character"));
    }
}
