//! Cron in a time zone: what becomes of times that the clocks skip or show twice.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::{Cron, Time};

/// A time zone of the IANA database that is built in, the same on every machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone(TimeZone);

/// There is no time zone of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time zone of the IANA database; write it as in `Europe/Vienna` or `UTC`")]
pub struct UnknownZone(pub String);

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Zone = Zone(TimeZone::UTC);

    /// The time zone of an IANA name, in any case of letters; the empty name is UTC.
    pub fn named(name: &str) -> Result<Zone, UnknownZone> {
        if name.is_empty() {
            return Ok(Zone::UTC);
        }
        let zone = TimeZone::get(name).ok().filter(|zone| zone.iana_name().is_some());
        zone.map(Zone).ok_or_else(|| UnknownZone(name.to_owned()))
    }

    /// Its name, in the database's case of letters.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// A time as this zone's clocks show it, with its offset and name: `2026-03-29T03:00:00+02:00[Europe/Vienna]`.
    pub fn local(&self, time: Time) -> String {
        match Timestamp::from_microsecond(time.0) {
            Ok(timestamp) => timestamp.to_zoned(self.0.clone()).to_string(),
            Err(_) => String::new(),
        }
    }

    /// The first time later than `after` that the expression is due at, as Cronos has it.
    pub(super) fn next(&self, cron: &Cron, after: Time) -> Option<Time> {
        // What is due is due at whole seconds of the clock. The search goes on from what the clock shows at `after`, not from
        // what it shows a second later: between the two it may have skipped an hour.
        let from = Timestamp::from_second(after.0.div_euclid(1_000_000)).ok()?;
        let due = self.later_than(cron, from)?;
        Some(Time(due.as_microsecond()))
    }

    fn later_than(&self, cron: &Cron, from: Timestamp) -> Option<Timestamp> {
        let shown = self.0.to_datetime(from);
        let mut local = shown.checked_add(SignedDuration::from_secs(1)).ok()?;
        if let Some(fold) = self.fold(shown) {
            if self.0.to_offset(from) == fold.before {
                if let Some(found) = cron.at_or_after(local).filter(|found| *found < fold.end) {
                    return fold.before.to_timestamp(found).ok();
                }
                local = fold.start;
            }
            if cron.is_interval
                && let Some(found) = cron.at_or_after(local).filter(|found| *found < fold.end)
            {
                return fold.after.to_timestamp(found).ok();
            }
            local = fold.end;
        }
        let found = cron.at_or_after(local)?;
        match self.reading(found) {
            Reading::Once { offset } => offset.to_timestamp(found).ok(),
            Reading::Twice { before, .. } => before.to_timestamp(found).ok(),
            // By the clocks that run after the gap it lies before the gap: the next change is the gap itself.
            Reading::Never { after } => self.change(after.to_timestamp(found).ok()?, after),
        }
    }

    /// The repeated stretch of local time that `local` lies in, if it does.
    fn fold(&self, local: DateTime) -> Option<Fold> {
        let Reading::Twice { before, after } = self.reading(local) else { return None };
        let change = self.change(before.to_timestamp(local).ok()?, after)?;
        Some(Fold { before, after, start: after.to_datetime(change), end: before.to_datetime(change) })
    }

    /// How often the clocks show `local`.
    ///
    /// What jiff calls ambiguous is checked against the offsets that hold at the times themselves: it takes the rule for the
    /// years beyond a zone's table for the table's last change too, so that 22:59 is followed by 23:00 twice on a day when
    /// Nuuk made its summer time the standard and changed no clock.
    fn reading(&self, local: DateTime) -> Reading {
        let holds =
            |offset: Offset| offset.to_timestamp(local).is_ok_and(|time| self.0.to_offset(time) == offset);
        match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => Reading::Once { offset },
            AmbiguousOffset::Fold { before, after } if holds(before) && holds(after) => {
                Reading::Twice { before, after }
            }
            AmbiguousOffset::Fold { before, after } | AmbiguousOffset::Gap { before, after } => {
                match [before, after].into_iter().find(|offset| holds(*offset)) {
                    Some(offset) => Reading::Once { offset },
                    None => Reading::Never { after },
                }
            }
        }
    }

    /// When the clocks first change to `to`, later than `from`.
    fn change(&self, from: Timestamp, to: Offset) -> Option<Timestamp> {
        self.0.following(from).find(|change| change.offset() == to).map(|change| change.timestamp())
    }
}

/// How often the clocks show a local time.
enum Reading {
    Once { offset: Offset },
    Twice { before: Offset, after: Offset },
    Never { after: Offset },
}

/// A stretch of local time that the clocks show twice.
struct Fold {
    /// The offset of the first time.
    before: Offset,
    /// The offset of the second time.
    after: Offset,
    /// Where it begins, on the clock.
    start: DateTime,
    /// Where it ends, on the clock; itself not in it.
    end: DateTime,
}
