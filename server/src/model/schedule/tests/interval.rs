//! Intervals are counted from their anchor.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[test]
fn the_first_time_is_one_interval_after_the_anchor() {
    let schedule = Schedule::Every(Duration::from_secs(90));
    let anchor = time("2026-11-25T10:00:00.25Z");
    let times: Vec<Time> = schedule.times(anchor, anchor).take(3).collect();
    assert_eq!(
        times,
        ["2026-11-25T10:01:30.25Z", "2026-11-25T10:03:00.25Z", "2026-11-25T10:04:30.25Z"].map(time)
    );
    assert_eq!(schedule.next(anchor, anchor.minus(Duration::from_secs(3_600))), Some(times[0]));
    assert_eq!(schedule.next(anchor, times[0].minus(Duration::from_micros(1))), Some(times[0]));
}

#[test]
fn an_interval_ends_with_the_year_9999() {
    let schedule = Schedule::Every(Duration::from_secs(1));
    assert_eq!(schedule.next(Time(0), Time(i64::MAX)), None);
    assert_eq!(schedule.next(Time(0), LAST), None);
    assert_eq!(schedule.next(Time(0), time("9999-12-30T21:00:00Z")), Some(time("9999-12-30T21:00:01Z")));
}

proptest! {
    #[test]
    fn an_interval_never_drifts(
        anchor in 0i64..4_000_000_000_000_000, after in 0i64..4_000_000_000_000_000, interval in 1u64..100_000_000,
    ) {
        let interval = Duration::from_millis(interval);
        let next = Schedule::Every(interval).next(Time(anchor), Time(after)).unwrap();
        prop_assert!(next > Time(after) && next > Time(anchor));
        prop_assert_eq!((next.0 - anchor) % micros(interval), 0);
        prop_assert!(next.minus(interval) <= Time(after) || next.minus(interval) == Time(anchor));
    }
}
