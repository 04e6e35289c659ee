//! Reading cron expressions, character by character, so that an error can say where it is.

use std::iter;

use super::calendar::{Days, Weekdays, Which};
use super::{Cron, CronError, CronField};
use crate::model::digest;

/// What `H` is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed<'a> {
    /// Nothing: `H` is refused.
    None,
    /// What the schedule belongs to: `H` is drawn from it, macros mean what they always mean.
    Owner(&'a str),
    /// A seed asked for: `H` is drawn from it, and macros are spread as Cronos does with a seed, `@hourly` being `H H * * * *`.
    Asked(&'a str),
}

/// A macro: its name, what it means, and what it means with a seed that was asked for.
struct Macro {
    name: &'static str,
    plain: &'static str,
    spread: &'static str,
}

const MACROS: [Macro; 9] = [
    Macro { name: "@every_second", plain: "* * * * * *", spread: "* * * * * *" },
    Macro { name: "@every_minute", plain: "* * * * *", spread: "H * * * * *" },
    Macro { name: "@hourly", plain: "0 * * * *", spread: "H H * * * *" },
    Macro { name: "@daily", plain: "0 0 * * *", spread: "H H H * * *" },
    Macro { name: "@midnight", plain: "0 0 * * *", spread: "H H H * * *" },
    Macro { name: "@weekly", plain: "0 0 * * 0", spread: "H H H * * H" },
    Macro { name: "@monthly", plain: "0 0 1 * *", spread: "H H H H * *" },
    Macro { name: "@yearly", plain: "0 0 1 1 *", spread: "H H H H H *" },
    Macro { name: "@annually", plain: "0 0 1 1 *", spread: "H H H H H *" },
];

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// The last day that every month has; `H` draws no later one.
const DAY_OF_EVERY_MONTH: u8 = 28;
/// How often a day of the week can be in a month.
const WEEKS_MAX: u8 = 5;

pub(super) fn parse(text: &str, seed: Seed<'_>) -> Result<Cron, CronError> {
    let characters: Vec<char> = text.chars().collect();
    let fields = fields_of(&characters);
    let (seconds, rest) = match fields.as_slice() {
        [] => {
            let reason =
                "the expression is empty; write five fields, six with seconds, or a macro as `@daily`";
            return Err(fault(1, reason));
        }
        [name, rest @ ..] if name.text[0] == '@' => return parse_macro(name, rest, seed),
        [a, b, c, d, e] => (None, [a, b, c, d, e]),
        [second, a, b, c, d, e] => (Some(second), [a, b, c, d, e]),
        other => return Err(wrong_count(&characters, other)),
    };
    parse_fields(seconds, rest, seed)
}

fn parse_macro(name: &Slice<'_>, rest: &[Slice<'_>], seed: Seed<'_>) -> Result<Cron, CronError> {
    let written: String = name.text.iter().copied().take(24).map(shown).collect();
    let Some(known) = MACROS.iter().find(|known| known.name.eq_ignore_ascii_case(&written)) else {
        let names: Vec<&str> = MACROS.iter().map(|known| known.name).collect();
        return Err(fault(name.start, format!("`{written}` is not a macro; they are {}", names.join(", "))));
    };
    if let Some(more) = rest.first() {
        return Err(fault(more.start, format!("nothing may follow the macro `{}`", known.name)));
    }
    match seed {
        Seed::Asked(_) => parse(known.spread, seed),
        Seed::Owner(_) | Seed::None => parse(known.plain, seed),
    }
}

fn parse_fields(
    seconds: Option<&Slice<'_>>,
    [minutes, hours, days, months, weekdays]: [&Slice<'_>; 5],
    seed: Seed<'_>,
) -> Result<Cron, CronError> {
    let mut is_interval = false;
    let mut within_the_day = |slice: &Slice<'_>, kind: &Kind| -> Result<u64, CronError> {
        let mut reader = Reader::new(slice, kind, seed);
        let bits = reader.field()?;
        is_interval |= reader.keeps_interval;
        Ok(bits)
    };
    let seconds = seconds.map_or(Ok(1), |slice| within_the_day(slice, &SECOND))?;
    let minutes = within_the_day(minutes, &MINUTE)?;
    let hours = within_the_day(hours, &HOUR)? as u32;
    let position = days.start;
    let days = Reader::new(days, &DAY_OF_MONTH, seed).days()?;
    let months = Reader::new(months, &MONTH, seed).field()? as u16;
    let weekdays = Reader::new(weekdays, &DAY_OF_WEEK, seed).weekdays()?;
    let cron = Cron { seconds, minutes, hours, days, months, weekdays, is_interval };
    if cron.is_reachable() {
        Ok(cron)
    } else {
        let reason = "it is never due: no month that it names has such a day".to_owned();
        Err(CronError { position, field: Some(CronField::DayOfMonth), reason })
    }
}

/// What stands between spaces, and where.
struct Slice<'a> {
    text: &'a [char],
    /// The position of its first character, counted from 1.
    start: usize,
}

fn fields_of(characters: &[char]) -> Vec<Slice<'_>> {
    let is_space = |character: char| character == ' ' || character == '\t';
    let mut fields = Vec::new();
    let mut start = None;
    for (at, character) in characters.iter().copied().chain(iter::once(' ')).enumerate() {
        match start {
            None if !is_space(character) => start = Some(at),
            Some(from) if is_space(character) => {
                fields.push(Slice { text: &characters[from..at], start: from + 1 });
                start = None;
            }
            _ => {}
        }
    }
    fields
}

fn wrong_count(characters: &[char], fields: &[Slice<'_>]) -> CronError {
    let position = fields.get(6).map_or(characters.len() + 1, |seventh| seventh.start);
    let count = fields.len();
    let has = if count == 1 { "there is 1 field".to_owned() } else { format!("there are {count} fields") };
    fault(
        position,
        format!(
            "{has}; write 5 (minute, hour, day of month, month, day of week), or 6 with the second first"
        ),
    )
}

fn fault(position: usize, reason: impl Into<String>) -> CronError {
    CronError { position, field: None, reason: reason.into() }
}

/// What a field may hold.
struct Kind {
    field: CronField,
    first: u8,
    last: u8,
    /// Names of its values from `first` on.
    names: &'static [&'static str],
    /// The last value that `H` draws.
    last_drawn: u8,
    /// The last value before a range wraps.
    last_before_wrap: u8,
}

const fn kind(field: CronField, first: u8, last: u8) -> Kind {
    Kind { field, first, last, names: &[], last_drawn: last, last_before_wrap: last }
}

const SECOND: Kind = kind(CronField::Second, 0, 59);
const MINUTE: Kind = kind(CronField::Minute, 0, 59);
const HOUR: Kind = kind(CronField::Hour, 0, 23);
const DAY_OF_MONTH: Kind = Kind { last_drawn: DAY_OF_EVERY_MONTH, ..kind(CronField::DayOfMonth, 1, 31) };
const MONTH: Kind = Kind { names: &MONTHS, ..kind(CronField::Month, 1, 12) };
const DAY_OF_WEEK: Kind =
    Kind { names: &WEEKDAYS, last_drawn: 6, last_before_wrap: 6, ..kind(CronField::DayOfWeek, 0, 7) };

/// The reader of one field.
struct Reader<'a> {
    slice: &'a Slice<'a>,
    kind: &'a Kind,
    seed: Seed<'a>,
    /// How many of the field's characters are read.
    at: usize,
    /// Whether a `*`, a range or a step was read.
    keeps_interval: bool,
}

impl<'a> Reader<'a> {
    fn new(slice: &'a Slice<'a>, kind: &'a Kind, seed: Seed<'a>) -> Self {
        Self { slice, kind, seed, at: 0, keeps_interval: false }
    }

    /// A field of values, one bit each.
    fn field(&mut self) -> Result<u64, CronError> {
        let bits = match self.whole()? {
            Some(bits) => bits,
            None => {
                let first = self.value()?;
                self.list_from(first)?
            }
        };
        self.end()?;
        Ok(bits)
    }

    fn days(&mut self) -> Result<Days, CronError> {
        if self.accept('L') {
            let before = if self.accept('-') { self.number(0, 30, "a number of days")? } else { 0 };
            let nearest_weekday = self.accept('W');
            self.end()?;
            return Ok(Days { bits: !1, before_last: Some(before), nearest_weekday });
        }
        let mut nearest_weekday = false;
        let bits = match self.whole()? {
            Some(bits) => bits,
            None => {
                let first = self.value()?;
                nearest_weekday = self.accept('W');
                if nearest_weekday { 1 << first } else { self.list_from(first)? }
            }
        };
        self.end()?;
        Ok(Days { bits: bits as u32, before_last: None, nearest_weekday })
    }

    fn weekdays(&mut self) -> Result<Weekdays, CronError> {
        let mut which = Which::Every;
        let bits = match self.whole()? {
            Some(bits) => bits,
            None => {
                let first = self.value()?;
                if self.accept('L') {
                    which = Which::Last;
                    1 << first
                } else if self.accept('#') {
                    which = Which::Nth(self.number(1, WEEKS_MAX, "a number of the week")?);
                    1 << first
                } else {
                    self.list_from(first)?
                }
            }
        };
        self.end()?;
        // 7 is Sunday as 0 is.
        Ok(Weekdays { bits: (bits | bits >> 7) as u8 & 0x7F, which })
    }

    /// `*`, `?` or `H`, each with a step or without.
    fn whole(&mut self) -> Result<Option<u64>, CronError> {
        if self.accept('*') || self.accept('?') {
            self.keeps_interval = true;
            let step = self.step()?.unwrap_or(1);
            return Ok(Some(bits(self.kind.first, self.kind.last, step)));
        }
        if self.accept('H') {
            return self.drawn().map(Some);
        }
        Ok(None)
    }

    fn drawn(&mut self) -> Result<u64, CronError> {
        let (Seed::Owner(seed) | Seed::Asked(seed)) = self.seed else {
            return Err(self.fault(self.at - 1, "`H` needs a seed to be drawn from: set `seed`"));
        };
        let (first, last) = (self.kind.first, self.kind.last_drawn);
        if self.accept('/') {
            self.keeps_interval = true;
            let span = last - first + 1;
            let step = self.number(1, span.min(self.kind.last), "a step")?;
            return Ok(bits(first + self.draw(seed, step), last, step));
        }
        Ok(1 << (first + self.draw(seed, last - first + 1)))
    }

    /// A number below `span` that stands fast for a seed and a field.
    fn draw(&self, seed: &str, span: u8) -> u8 {
        let drawn = digest([b"cron H".as_slice(), seed.as_bytes(), &[self.kind.field as u8]]);
        let number = drawn.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        (number % u64::from(span)) as u8
    }

    /// The rest of a list whose first value is read.
    fn list_from(&mut self, first: u8) -> Result<u64, CronError> {
        let mut bits = self.range_from(first)?;
        while self.accept(',') {
            let next = self.value()?;
            bits |= self.range_from(next)?;
        }
        Ok(bits)
    }

    /// The rest of a range whose first value is read: `-` and a value, a step, both or none.
    fn range_from(&mut self, low: u8) -> Result<u64, CronError> {
        let high = if self.accept('-') { Some(self.value()?) } else { None };
        let step = self.step()?;
        if high.is_none() && step.is_none() {
            return Ok(1 << low);
        }
        self.keeps_interval = true;
        Ok(self.range(low, high.unwrap_or(self.kind.last), step.unwrap_or(1)))
    }

    /// The values from `low` to `high`, over the end of the field when that is the lower one.
    fn range(&self, low: u8, high: u8, step: u8) -> u64 {
        if low <= high {
            return bits(low, high, step);
        }
        let wrap = self.kind.last_before_wrap;
        // A range that begins with Sunday as 7 begins with Sunday as 0.
        if low > wrap {
            return bits(self.kind.first, high, step);
        }
        let over = step - (wrap - low) % step - 1;
        bits(low, wrap, step) | bits(self.kind.first + over, high, step)
    }

    fn step(&mut self) -> Result<Option<u8>, CronError> {
        if self.accept('/') { self.number(1, self.kind.last, "a step").map(Some) } else { Ok(None) }
    }

    /// A number or a name of the field.
    fn value(&mut self) -> Result<u8, CronError> {
        let from = self.at;
        if !self.peek().is_some_and(|character| character.is_ascii_alphabetic()) || self.kind.names.is_empty()
        {
            return self.number(self.kind.first, self.kind.last, self.what());
        }
        let letters = self.slice.text[from..].iter().take(3).collect::<String>();
        let known = self.kind.names.iter().position(|name| name.eq_ignore_ascii_case(&letters));
        match known {
            Some(index) => {
                self.at += 3;
                Ok(self.kind.first + index as u8)
            }
            None => Err(self.expected(from, self.kind.first, self.kind.last, self.what())),
        }
    }

    fn number(&mut self, low: u8, high: u8, what: &str) -> Result<u8, CronError> {
        let from = self.at;
        let mut number = 0usize;
        while let Some(digit) = self.peek().and_then(|character| character.to_digit(10)) {
            number = (number * 10 + digit as usize).min(1_000);
            self.at += 1;
        }
        if self.at == from || number < low.into() || number > high.into() || self.at - from > 2 {
            return Err(self.expected(from, low, high, what));
        }
        Ok(number as u8)
    }

    fn what(&self) -> &'static str {
        match self.kind.field {
            CronField::Second => "a second",
            CronField::Minute => "a minute",
            CronField::Hour => "an hour",
            CronField::DayOfMonth => "a day",
            CronField::Month => "a month (or JAN to DEC)",
            CronField::DayOfWeek => "a day of the week (or SUN to SAT)",
        }
    }

    fn end(&self) -> Result<(), CronError> {
        let Some(next) = self.peek() else { return Ok(()) };
        let reason = match next.to_ascii_uppercase() {
            ',' if matches!(self.slice.text[0], '*' | '?' | 'H' | 'h') => {
                format!("`{}` stands alone in its field, at most with a step", self.slice.text[0])
            }
            ',' | '-' | '/' if self.kind.field == CronField::DayOfMonth => {
                "`L` and `W` stand alone in their field, without lists, ranges and steps".to_owned()
            }
            ',' | '-' | '/' if self.kind.field == CronField::DayOfWeek => {
                "a day with `L` or `#` stands alone in its field, without lists, ranges and steps".to_owned()
            }
            'L' | 'W' | '#' => format!("`{next}` cannot stand here"),
            'A'..='Z' if !self.kind.names.is_empty() => "names have three letters".to_owned(),
            _ => format!("`{}` is one character too many", shown(next)),
        };
        Err(self.fault(self.at, reason))
    }

    fn expected(&self, from: usize, low: u8, high: u8, what: &str) -> CronError {
        let found: String = self.slice.text[from..]
            .iter()
            .take_while(|character| character.is_alphanumeric())
            .take(12)
            .map(|character| shown(*character))
            .collect();
        let found = match (found.is_empty(), self.slice.text.get(from)) {
            (false, _) => format!("not `{found}`"),
            (true, Some(character)) => format!("not `{}`", shown(*character)),
            (true, None) => "and nothing stands here".to_owned(),
        };
        self.fault(from, format!("{what} from {low} to {high} belongs here, {found}"))
    }

    fn fault(&self, at: usize, reason: impl Into<String>) -> CronError {
        CronError { position: self.slice.start + at, field: Some(self.kind.field), reason: reason.into() }
    }

    fn peek(&self) -> Option<char> {
        self.slice.text.get(self.at).copied()
    }

    /// Reads `wanted`, in either case of letters, if it stands here.
    fn accept(&mut self, wanted: char) -> bool {
        let found = self.peek().is_some_and(|character| character.eq_ignore_ascii_case(&wanted));
        self.at += usize::from(found);
        found
    }
}

/// A character as an error may show it.
fn shown(character: char) -> char {
    if character.is_control() { '\u{FFFD}' } else { character }
}

fn bits(low: u8, high: u8, step: u8) -> u64 {
    (low..=high).step_by(step.into()).fold(0, |bits, value| bits | 1 << value)
}
