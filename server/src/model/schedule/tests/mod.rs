//! Schedules held against tables, against a walk through every minute, against another parser, and against anything.

mod against_croner;
mod any_text;
mod clocks;
mod dialect;
mod errors;
mod interval;

use super::*;

/// A UTC time, or one with its offset: `2026-03-29T02:00:00Z`.
fn time(text: &str) -> Time {
    Time(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn cron(text: &str) -> Cron {
    Cron::parse(text, Seed::None).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn in_zone(text: &str, zone: &str) -> Schedule {
    Schedule::Cron { cron: Box::new(cron(text)), zone: Zone::named(zone).unwrap() }
}

/// The next due times as the zone's clocks show them, without the zone's name.
fn next_local(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let name = format!("[{}]", Zone::named(zone).unwrap().name());
    let schedule = in_zone(text, zone);
    schedule
        .times(Time(0), time(after))
        .take(count)
        .map(|time| Zone::named(zone).unwrap().local(time).trim_end_matches(&name).to_owned())
        .collect()
}

/// The same in UTC, without the offset.
fn next_utc(text: &str, after: &str, count: usize) -> Vec<String> {
    next_local(text, "UTC", after, count)
        .iter()
        .map(|time| time.trim_end_matches("+00:00").to_owned())
        .collect()
}
