//! Every rule of a request, checked field by field: the answer names all that is wrong at once, each with its full path,
//! the limit, and what to do instead.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{Display, Write as _};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::engine::{Error, Result, Violation};
use crate::model::{JobId, Month, Run, SessionId, Time, check_name, check_text, limits};

/// Limits that only the contract knows: what they bound is passed on, or never reaches the engine.
pub(crate) mod wire {
    /// Violations told in one answer: an error travels in headers, which clients bound at 8 KiB or so.
    pub(crate) const VIOLATIONS_MAX: usize = 16;
    /// One page token or resume token, bytes.
    pub(crate) const TOKEN_BYTES_MAX: usize = 512;
    /// A handler's error code, characters.
    pub(crate) const ERROR_CODE_CHARS_MAX: usize = 255;
    /// Media type of a payload, characters.
    pub(crate) const CONTENT_TYPE_CHARS_MAX: usize = 255;
    /// W3C `traceparent`, characters.
    pub(crate) const TRACEPARENT_CHARS_MAX: usize = 55;
    /// W3C `tracestate`, characters.
    pub(crate) const TRACESTATE_CHARS_MAX: usize = 512;
    /// Version of a handler, or name and version of an SDK, characters.
    pub(crate) const VERSION_CHARS_MAX: usize = 128;
    /// JSON Schema of a command, bytes.
    pub(crate) const JSON_SCHEMA_BYTES_MAX: usize = 64 << 10;
    /// The API of a filter: a target, a space, an HTTP method, a space and a path, bytes.
    pub(crate) const API_BYTES_MAX: usize = 128 + 1 + 6 + 1 + 2_048;
    /// Parts of one kind in one report message: leases with log lines, checkpoints, progress, outcomes.
    pub(crate) const REPORT_PARTS_MAX: usize = 1_000;
    /// Log lines of one lease in one report message, bytes.
    pub(crate) const LOG_REPORT_BYTES_MAX: usize = 1 << 20;
}

/// Shortest and longest that a duration may be.
pub(crate) type Bounds = RangeInclusive<Duration>;

/// More than nothing, and at most this long.
pub(crate) fn up_to(most: Duration) -> Bounds {
    Duration::from_nanos(1)..=most
}

/// What is wrong with a request, collected while it is read.
#[derive(Debug, Default)]
pub(crate) struct Check {
    path: String,
    wrong: Vec<Violation>,
}

impl Check {
    /// Nothing is wrong yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Reads a part of the request: the fields named within are those of `part`.
    pub(crate) fn within<T>(&mut self, part: impl Display, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        let _ = write!(self.path, "{part}");
        let value = read(self);
        self.path.truncate(length);
        value
    }

    /// This field breaks a rule.
    pub(crate) fn refuse(&mut self, field: impl Display, message: impl Into<String>) {
        let field = self.full_path(field);
        self.wrong.push(Violation { field, message: message.into() });
    }

    /// The value, if nothing is wrong with the request.
    pub(crate) fn pass<T>(mut self, value: T) -> Result<T> {
        if !self.wrong.is_empty() {
            let surplus = self.wrong.len().saturating_sub(wire::VIOLATIONS_MAX);
            if surplus > 0 {
                self.wrong.truncate(wire::VIOLATIONS_MAX);
                self.wrong.push(Violation { field: "and".into(), message: format!("{surplus} fields more") });
            }
            return Err(Error::Invalid(self.wrong));
        }
        Ok(value)
    }

    /// What is wrong so far, and nothing after it: for streams, where one part does not spoil the rest.
    pub(crate) fn take(&mut self) -> Option<Violation> {
        std::mem::take(&mut self.wrong).into_iter().next()
    }

    fn full_path(&self, field: impl Display) -> String {
        match (self.path.as_str(), field.to_string()) {
            ("", field) => field,
            (path, field) if field.is_empty() => path.to_owned(),
            (path, field) => format!("{path}.{field}"),
        }
    }

    fn note(&mut self, field: impl Display, checked: Result<(), String>) {
        if let Err(message) = checked {
            self.refuse(field, message);
        }
    }
}

/// Rules of one field each.
impl Check {
    /// A name for machines that must be there.
    pub(crate) fn name(&mut self, field: impl Display, name: &str) {
        self.note(field, check_name(name));
    }

    /// A name for machines that may be left out.
    pub(crate) fn optional_name(&mut self, field: impl Display, name: &str) {
        if !name.is_empty() {
            self.name(field, name);
        }
    }

    /// A text that people choose; may be empty.
    pub(crate) fn text(&mut self, field: impl Display, text: &str) {
        self.note(field, check_text(text));
    }

    /// A text that people choose and that must be there.
    pub(crate) fn required_text(&mut self, field: impl Display, text: &str) {
        if text.is_empty() {
            self.refuse(field, format!("is empty: give it 1 to {} characters", limits::TEXT_CHARS_MAX));
        } else {
            self.text(field, text);
        }
    }

    /// At most so many characters.
    pub(crate) fn chars(&mut self, field: impl Display, text: &str, most: usize) {
        let count = text.chars().count();
        if count > most {
            self.refuse(field, format!("has {count} characters, at most {most} are allowed: shorten it"));
        }
    }

    /// At most so many bytes.
    pub(crate) fn bytes(&mut self, field: impl Display, text: &str, most: usize) {
        if text.len() > most {
            self.refuse(field, format!("has {} bytes, at most {most} are allowed: shorten it", text.len()));
        }
    }

    /// At most so many items.
    pub(crate) fn count(&mut self, field: impl Display, count: usize, most: usize) {
        if count > most {
            self.refuse(field, format!("has {count} entries, at most {most} are allowed"));
        }
    }

    /// A map of texts: a bounded number, and bounded in all.
    pub(crate) fn map(
        &mut self,
        field: impl Display,
        map: HashMap<String, String>,
    ) -> BTreeMap<String, String> {
        let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > limits::MAP_BYTES_MAX {
            let most = limits::MAP_BYTES_MAX;
            self.refuse(field, format!("has {bytes} bytes of keys and values, at most {most} are allowed"));
        } else {
            self.count(field, map.len(), limits::MAP_ENTRIES_MAX);
        }
        map.into_iter().collect()
    }

    /// A number within bounds.
    pub(crate) fn number<T: PartialOrd + Display>(
        &mut self,
        field: impl Display,
        is: T,
        allowed: RangeInclusive<T>,
    ) -> T {
        if !allowed.contains(&is) {
            self.refuse(field, format!("is {is}: it must be {} to {}", allowed.start(), allowed.end()));
        }
        is
    }

    /// A number whose zero stands for a default.
    pub(crate) fn number_or<T>(
        &mut self,
        field: impl Display,
        is: T,
        default: T,
        allowed: RangeInclusive<T>,
    ) -> T
    where
        T: PartialOrd + Display + Default,
    {
        if is == T::default() { default } else { self.number(field, is, allowed) }
    }

    /// One of the values of an enum; one that is not known reads as the default.
    pub(crate) fn one_of<E: TryFrom<i32> + Default>(&mut self, field: impl Display, number: i32) -> E {
        E::try_from(number).unwrap_or_else(|_| {
            self.refuse(
                field,
                format!("is {number}, which is none of its enum's values: this server does not know it"),
            );
            E::default()
        })
    }

    /// A duration within bounds; unset stays unset.
    pub(crate) fn duration(
        &mut self,
        field: impl Display,
        given: Option<prost_types::Duration>,
        allowed: Bounds,
    ) -> Option<Duration> {
        let given = given?;
        let (seconds, nanos) = (u64::try_from(given.seconds), u32::try_from(given.nanos));
        let (Ok(seconds), Ok(nanos @ 0..1_000_000_000)) = (seconds, nanos) else {
            self.refuse(
                field,
                "is negative or malformed: give seconds from 0 on, and nanos from 0 to 999999999",
            );
            return None;
        };
        let is = Duration::new(seconds, nanos);
        if is.is_zero() && !allowed.contains(&is) {
            self.refuse(field, "is zero: leave it out to get the default");
        } else if is > *allowed.end() {
            self.refuse(field, format!("is {}, at most {} are allowed", spoken(is), spoken(*allowed.end())));
        } else if is < *allowed.start() {
            self.refuse(
                field,
                format!("is {}, at least {} are needed", spoken(is), spoken(*allowed.start())),
            );
        } else {
            return Some(is);
        }
        None
    }

    /// A point in time, rounded up to the microsecond so that nothing starts before it; unset stays unset.
    pub(crate) fn time(
        &mut self,
        field: impl Display,
        given: Option<prost_types::Timestamp>,
    ) -> Option<Time> {
        let given = given?;
        let nanos = u32::try_from(given.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
        // From the year 1 to the year 9999, as protobuf has it.
        let is_in_range = (-62_135_596_800..=253_402_300_799).contains(&given.seconds);
        match nanos {
            Some(nanos) if is_in_range => {
                Some(Time(given.seconds * 1_000_000 + i64::from(nanos.div_ceil(1_000))))
            }
            _ => {
                self.refuse(field, "is not a time: the years 1 to 9999 are, with nanos from 0 to 999999999");
                None
            }
        }
    }

    /// A point in time that is not further ahead than anything is planned.
    pub(crate) fn near_time(
        &mut self,
        field: impl Display + Copy,
        given: Option<prost_types::Timestamp>,
        now: Time,
    ) -> Option<Time> {
        let time = self.time(field, given)?;
        if time > now.plus(limits::FUTURE_MAX) {
            self.refuse(field, format!("is more than {} ahead", spoken(limits::FUTURE_MAX)));
            return None;
        }
        Some(time)
    }

    /// The id of a job that must be there.
    pub(crate) fn job_id(&mut self, field: impl Display, id: i64) -> JobId {
        if id <= 0 {
            self.refuse(field, format!("is {id}: give the id of a job, a positive number"));
        }
        JobId(id)
    }

    /// The id of a job that may be left out.
    pub(crate) fn optional_job_id(&mut self, field: impl Display, id: i64) -> Option<JobId> {
        (id != 0).then(|| self.job_id(field, id))
    }

    /// A run; 0 stands for the latest, or for all.
    pub(crate) fn run(&mut self, field: impl Display, run: i32) -> Option<Run> {
        if run < 0 {
            self.refuse(field, format!("is {run}: runs are counted from 1, and 0 is the default"));
        }
        (run != 0).then_some(Run(run))
    }

    /// A session's id as RegisterWorker gave it.
    pub(crate) fn session(&mut self, field: impl Display, session: &str) -> SessionId {
        SessionId::parse(session).unwrap_or_else(|| {
            self.refuse(field, "is not a session id: use the one that RegisterWorker answered with");
            SessionId([0; 16])
        })
    }

    /// A month as `YYYY-MM`; empty is none.
    pub(crate) fn month(&mut self, field: impl Display, month: &str) -> Option<Month> {
        if month.is_empty() {
            return None;
        }
        let read = Month::parse(month).filter(|_| month.len() == 7);
        if read.is_none() {
            self.refuse(field, "is not a month: write it as YYYY-MM, such as 2026-11");
        }
        read
    }

    /// How many items a page has at most; 0 is the default.
    pub(crate) fn page_size(&mut self, field: impl Display, size: i32) -> usize {
        let size = self.number_or(field, size, limits::PAGE_SIZE_DEFAULT, 1..=limits::PAGE_SIZE_MAX);
        usize::try_from(size).unwrap_or_default()
    }

    /// A token that the server made; empty is none.
    pub(crate) fn token(&mut self, field: impl Display, token: &str) {
        self.bytes(field, token, wire::TOKEN_BYTES_MAX);
    }
}

/// A duration as people say it: in its largest whole unit.
pub(crate) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        _ if duration.subsec_nanos() != 0 => format!("{duration:?}"),
        _ if seconds >= 86_400 && seconds.is_multiple_of(86_400) => format!("{} days", seconds / 86_400),
        _ if seconds >= 3_600 && seconds.is_multiple_of(3_600) => format!("{} hours", seconds / 3_600),
        _ if seconds >= 60 && seconds.is_multiple_of(60) => format!("{} minutes", seconds / 60),
        _ => format!("{seconds} seconds"),
    }
}

/// A size as people say it.
pub(crate) fn spoken_bytes(bytes: usize) -> String {
    match bytes {
        _ if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}
