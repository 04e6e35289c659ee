//! What happens when clocks change, by table and against a walk through every minute.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::*;

#[track_caller]
fn due(text: &str, zone: &str, after: &str, expected: &[&str]) {
    assert_eq!(next_local(text, zone, after, expected.len()), expected, "{text} in {zone} after {after}");
}

#[test]
fn a_fixed_time_in_the_gap_is_due_once_right_after_it() {
    // On 29 March 2026 clocks in Vienna go from 02:00 to 03:00.
    due(
        "30 2 * * *",
        "Europe/Vienna",
        "2026-03-28T00:00:00Z",
        &["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
    );
    due(
        "0,15,30 2,3 * * *",
        "Europe/Vienna",
        "2026-03-29T00:59:59Z",
        &[
            "2026-03-29T03:00:00+02:00",
            "2026-03-29T03:15:00+02:00",
            "2026-03-29T03:30:00+02:00",
            "2026-03-30T02:00:00+02:00",
        ],
    );
    due(
        "30 2 29 3 *",
        "Europe/Vienna",
        "2026-01-01T00:00:00Z",
        &["2026-03-29T03:00:00+02:00", "2027-03-29T02:30:00+02:00"],
    );
}

#[test]
fn an_interval_over_the_gap_is_due_right_after_it_and_goes_on() {
    due(
        "*/30 * * * *",
        "Europe/Vienna",
        "2026-03-29T00:20:00Z",
        &["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"],
    );
    due(
        "45 * * * *",
        "Europe/Vienna",
        "2026-03-29T00:50:00Z",
        &["2026-03-29T03:00:00+02:00", "2026-03-29T03:45:00+02:00"],
    );
}

#[test]
fn a_fixed_time_in_the_repeated_hour_is_due_once_the_first_time() {
    // On 25 October 2026 clocks in Vienna go from 03:00 back to 02:00.
    due(
        "30 2 * * *",
        "Europe/Vienna",
        "2026-10-24T12:00:00Z",
        &["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
    );
    due(
        "0 2,3 * * *",
        "Europe/Vienna",
        "2026-10-24T12:00:00Z",
        &["2026-10-25T02:00:00+02:00", "2026-10-25T03:00:00+01:00", "2026-10-26T02:00:00+01:00"],
    );
    // Asked from within the second pass, it was due already.
    due("30 2 * * *", "Europe/Vienna", "2026-10-25T01:10:00Z", &["2026-10-26T02:30:00+01:00"]);
    due("30 59 2 * * *", "Europe/Vienna", "2026-10-25T00:59:30Z", &["2026-10-26T02:59:30+01:00"]);
}

#[test]
fn an_interval_is_due_through_both_passes_of_the_repeated_hour() {
    due(
        "*/30 * * * *",
        "Europe/Vienna",
        "2026-10-24T23:40:00Z",
        &[
            "2026-10-25T02:00:00+02:00",
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T02:00:00+01:00",
            "2026-10-25T02:30:00+01:00",
            "2026-10-25T03:00:00+01:00",
        ],
    );
    due(
        "30 * * * *",
        "Europe/Vienna",
        "2026-10-25T00:00:00Z",
        &["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"],
    );
    due(
        "0 2-3 * * *",
        "Europe/Vienna",
        "2026-10-24T12:00:00Z",
        &["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"],
    );
    due(
        "* * * * * *",
        "Europe/Vienna",
        "2026-10-25T00:59:58Z",
        &["2026-10-25T02:59:59+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:00:01+01:00"],
    );
}

#[test]
fn clocks_that_change_at_midnight_by_half_an_hour_or_by_two_are_no_different() {
    // Amman 2017: midnight does not exist, also seen from the very second before it.
    due("30 0 L * *", "Asia/Amman", "2017-03-30T21:59:59Z", &["2017-03-31T01:00:00+03:00"]);
    due("30 0 L * *", "Asia/Amman", "2017-03-30T21:59:59.999999Z", &["2017-03-31T01:00:00+03:00"]);
    due(
        "0 0 * * *",
        "Africa/Cairo",
        "2026-04-23T12:00:00Z",
        &["2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"],
    );
    due(
        "*/15 1-2 * * *",
        "Australia/Lord_Howe",
        "2026-04-04T14:20:00Z",
        &[
            "2026-04-05T01:30:00+11:00",
            "2026-04-05T01:45:00+11:00",
            "2026-04-05T01:30:00+10:30",
            "2026-04-05T01:45:00+10:30",
            "2026-04-05T02:00:00+10:30",
        ],
    );
    due(
        "30 1 * * *",
        "Antarctica/Troll",
        "2026-03-28T12:00:00Z",
        &["2026-03-29T03:00:00+02:00", "2026-03-30T01:30:00+02:00"],
    );
    // Nuuk made its summer time the standard: a change of rules that no clock shows.
    due(
        "*/30 * * * *",
        "America/Nuuk",
        "2023-10-29T00:10:00Z",
        &[
            "2023-10-28T22:30:00-02:00",
            "2023-10-28T23:00:00-02:00",
            "2023-10-28T23:30:00-02:00",
            "2023-10-29T00:00:00-02:00",
        ],
    );
    // Apia had no 30 December 2011: what was due on it was due as the next day began.
    due(
        "0 12 * * *",
        "Pacific/Apia",
        "2011-12-29T23:00:00Z",
        &["2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"],
    );
}

const ZONES: [&str; 12] = [
    "Europe/Vienna",
    "Europe/Dublin",
    "America/New_York",
    "America/St_Johns",
    "America/Santiago",
    "America/Nuuk",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Jerusalem",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Antarctica/Troll",
];

/// An expression, whether it keeps an interval, and what it matches, said anew without the parser.
type Case = (&'static str, bool, fn(DateTime) -> bool);

const CASES: [Case; 12] = [
    ("* * * * *", true, |_| true),
    ("*/15 * * * *", true, |t| t.minute() % 15 == 0),
    ("7 * * * *", true, |t| t.minute() == 7),
    ("*/40 1-3 * * *", true, |t| t.minute() % 40 == 0 && (1..=3).contains(&t.hour())),
    ("0 */2 * * *", true, |t| t.minute() == 0 && t.hour() % 2 == 0),
    ("10-20/5 23-1 * * *", true, |t| [10, 15, 20].contains(&t.minute()) && [23, 0, 1].contains(&t.hour())),
    ("0 0 * * *", false, |t| t.minute() == 0 && t.hour() == 0),
    ("30 2 * * *", false, |t| t.minute() == 30 && t.hour() == 2),
    ("0,30 1,2,3 * * *", false, |t| t.minute() % 30 == 0 && (1..=3).contains(&t.hour())),
    ("5,59 0,23 * * *", false, |t| [5, 59].contains(&t.minute()) && [0, 23].contains(&t.hour())),
    ("45 2 * * SUN", false, |t| {
        t.minute() == 45 && t.hour() == 2 && t.weekday() == jiff::civil::Weekday::Sunday
    }),
    ("15 0 L * *", false, |t| t.minute() == 15 && t.hour() == 0 && t.date() == t.date().last_of_month()),
];

/// A minute of a walk: when it is, what the clock shows, whether it shows it for the second time, and what it skipped
/// just before.
struct Minute {
    at: i64,
    shown: DateTime,
    again: bool,
    skipped: Vec<DateTime>,
}

/// Every minute from `from` to `to`, in seconds, by nothing but the offset that holds at each.
fn walk(zone: &TimeZone, from: i64, to: i64) -> Vec<Minute> {
    let offset_at = |at: i64| i64::from(zone.to_offset(Timestamp::from_second(at).unwrap()).seconds());
    let shown_at = |local: i64| Timestamp::from_second(local).unwrap().to_zoned(TimeZone::UTC).datetime();
    let mut latest = i64::MIN;
    let mut minutes = Vec::new();
    for at in (from..to).step_by(60) {
        let local = at + offset_at(at);
        let jump = offset_at(at) - offset_at(at - 60);
        minutes.push(Minute {
            at,
            shown: shown_at(local),
            again: local <= latest,
            skipped: (local - jump.max(0)..local).step_by(60).map(shown_at).collect(),
        });
        latest = latest.max(local);
    }
    minutes
}

#[test]
fn every_change_of_twelve_zones_from_2020_to_2040_agrees_with_a_walk_through_the_minutes() {
    let day = 86_400;
    let (first, last) = (time("2020-01-01T00:00:00Z").0, time("2041-01-01T00:00:00Z").0);
    let mut changes = 0;
    for name in ZONES {
        let zone = TimeZone::get(name).unwrap();
        let begin = Timestamp::from_microsecond(first).unwrap();
        let moments: Vec<i64> = zone
            .following(begin)
            .map(|change| change.timestamp().as_second())
            .take_while(|moment| *moment < last / 1_000_000)
            .collect();
        assert!(moments.len() > 5, "{name} has {} changes", moments.len());
        for moment in moments {
            changes += 1;
            let (from, to) = (moment - day, moment + day);
            let minutes = walk(&zone, from, to);
            for (text, keeps_interval, matches) in CASES {
                let expected: Vec<i64> = minutes
                    .iter()
                    .filter(|minute| {
                        let now = matches(minute.shown) && (keeps_interval || !minute.again);
                        now || minute.skipped.iter().copied().any(matches)
                    })
                    .map(|minute| minute.at)
                    .collect();
                let schedule = in_zone(text, name);
                let found: Vec<i64> = schedule
                    .times(Time(0), Time(from * 1_000_000 - 1))
                    .map(|time| time.0 / 1_000_000)
                    .take_while(|time| *time < to)
                    .take(expected.len() + 1)
                    .collect();
                assert_eq!(found, expected, "{text} in {name} around {moment}");
            }
        }
    }
    assert!(changes > 400, "only {changes} changes were walked through");
}

#[test]
fn wherever_the_search_begins_around_a_change_it_finds_the_next_time_of_the_walk() {
    for (name, moment) in
        [("Europe/Vienna", "2026-03-29T01:00:00Z"), ("Europe/Vienna", "2026-10-25T01:00:00Z")]
    {
        let zone = TimeZone::get(name).unwrap();
        let moment = time(moment).0 / 1_000_000;
        let (from, to) = (moment - 7_200, moment + 7_200);
        let minutes = walk(&zone, from - 86_400, to + 3 * 86_400);
        for (text, keeps_interval, matches) in CASES.iter().filter(|(text, ..)| !text.contains(['S', 'L'])) {
            let due: Vec<i64> = minutes
                .iter()
                .filter(|minute| {
                    matches(minute.shown) && (*keeps_interval || !minute.again)
                        || minute.skipped.iter().copied().any(matches)
                })
                .map(|minute| minute.at)
                .collect();
            let schedule = in_zone(text, name);
            for start in from..to {
                let expected = due.iter().find(|at| **at > start).unwrap() * 1_000_000;
                let found = schedule.next(Time(0), Time(start * 1_000_000)).unwrap();
                assert_eq!(found, Time(expected), "{text} in {name} after {start}");
            }
        }
    }
}
