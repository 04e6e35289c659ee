//! Held against croner, another parser with another search, on what both dialects have in common.

use chrono::{DateTime, Utc};
use croner::parser::{CronParser, Seconds};
use proptest::prelude::*;

use super::*;

/// A field of numbers, ranges that do not wrap, and steps.
fn field(first: u8, last: u8) -> impl Strategy<Value = String> {
    let value = first..=last;
    let range = (first..=last, first..=last).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let item = prop_oneof![
        3 => value.prop_map(|value| value.to_string()),
        1 => range.clone().prop_map(|(low, high)| format!("{low}-{high}")),
        1 => (range, 1..=last.min(30)).prop_map(|((low, high), step)| format!("{low}-{high}/{step}")),
    ];
    prop_oneof![
        2 => Just("*".to_owned()),
        1 => (2..=last.max(2)).prop_map(|step| format!("*/{step}")),
        3 => proptest::collection::vec(item, 1..4).prop_map(|items| items.join(",")),
    ]
}

fn day_of_month() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => field(1, 31),
        1 => Just("L".to_owned()),
        1 => (1u8..=31).prop_map(|day| format!("{day}W")),
    ]
}

fn month() -> impl Strategy<Value = String> {
    prop_oneof![4 => field(1, 12), 1 => Just("JAN,jul".to_owned()), 1 => Just("MAR-OCT".to_owned())]
}

fn day_of_week() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => field(0, 6),
        1 => Just("MON-FRI".to_owned()),
        1 => Just("sun,7".to_owned()),
        1 => (0u8..=6, 1u8..=5).prop_map(|(day, nth)| format!("{day}#{nth}")),
        1 => (0u8..=6).prop_map(|day| format!("{day}L")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn croner_finds_the_same_times(
        second in field(0, 59), minute in field(0, 59), hour in field(0, 23),
        day in day_of_month(), month in month(), weekday in day_of_week(),
        after in 1_577_836_800i64..2_208_988_800,
    ) {
        let text = format!("{second} {minute} {hour} {day} {month} {weekday}");
        // What we refuse as never due, croner searches for without end.
        let Ok(ours) = Cron::parse(&text, Seed::None) else { return Ok(()) };
        let theirs = CronParser::builder().seconds(Seconds::Required).dom_and_dow(true).build().parse(&text);
        let theirs = theirs.map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let mut time = DateTime::<Utc>::from_timestamp(after, 0).unwrap();
        for _ in 0..5 {
            let ours = Zone::UTC.next(&ours, Time(time.timestamp() * 1_000_000)).unwrap();
            match theirs.find_next_occurrence(&time, false) {
                Ok(next) => time = next,
                // It gives up after some thousands of years' worth of steps; we do not.
                Err(croner::errors::CronError::TimeSearchLimitExceeded) => return Ok(()),
                Err(error) => return Err(TestCaseError::fail(format!("{text}: {error}"))),
            }
            prop_assert_eq!(Zone::UTC.local(ours), Zone::UTC.local(Time(time.timestamp() * 1_000_000)), "{}", text);
        }
    }
}
