//! Every feature of the dialect, by what is due next.

use super::*;

#[track_caller]
fn due(text: &str, after: &str, expected: &[&str]) {
    assert_eq!(next_utc(text, after, expected.len()), expected, "{text} after {after}");
}

#[test]
fn five_fields_are_minute_to_day_of_week_and_six_begin_with_the_second() {
    due("* * * * *", "2026-11-25T10:00:30Z", &["2026-11-25T10:01:00", "2026-11-25T10:02:00"]);
    due("* * * * * *", "2026-11-25T10:00:30Z", &["2026-11-25T10:00:31", "2026-11-25T10:00:32"]);
    due("15 10 * * *", "2026-11-25T10:15:00Z", &["2026-11-26T10:15:00"]);
    due("7 15 10 * * *", "2026-11-25T10:15:06.999999Z", &["2026-11-25T10:15:07", "2026-11-26T10:15:07"]);
    due("  0\t 0  1 1   * ", "2026-11-25T10:15:00Z", &["2027-01-01T00:00:00"]);
}

#[test]
fn a_time_is_due_after_itself_only_the_next_time() {
    due("0 12 * * *", "2026-11-25T11:59:59.999999Z", &["2026-11-25T12:00:00"]);
    due("0 12 * * *", "2026-11-25T12:00:00Z", &["2026-11-26T12:00:00"]);
    due("0 12 * * *", "2026-11-25T12:00:00.000001Z", &["2026-11-26T12:00:00"]);
}

#[test]
fn lists_ranges_and_steps_combine() {
    due(
        "3,5-11/3,50 8 * * *",
        "2026-11-25T00:00:00Z",
        &[
            "2026-11-25T08:03:00",
            "2026-11-25T08:05:00",
            "2026-11-25T08:08:00",
            "2026-11-25T08:11:00",
            "2026-11-25T08:50:00",
            "2026-11-26T08:03:00",
        ],
    );
    due(
        "*/24 0 * * *",
        "2026-11-25T00:00:00Z",
        &["2026-11-25T00:24:00", "2026-11-25T00:48:00", "2026-11-26T00:00:00"],
    );
    due("40/10 0 * * *", "2026-11-25T00:00:00Z", &["2026-11-25T00:40:00", "2026-11-25T00:50:00"]);
    due("?/20 ? ? ? ?", "2026-11-25T00:00:00Z", &["2026-11-25T00:20:00", "2026-11-25T00:40:00"]);
    due("0 0 5-5 * *", "2026-11-25T00:00:00Z", &["2026-12-05T00:00:00", "2027-01-05T00:00:00"]);
}

#[test]
fn ranges_wrap_over_the_end_of_their_field() {
    due(
        "0 22-1 * * *",
        "2026-11-25T20:00:00Z",
        &[
            "2026-11-25T22:00:00",
            "2026-11-25T23:00:00",
            "2026-11-26T00:00:00",
            "2026-11-26T01:00:00",
            "2026-11-26T22:00:00",
        ],
    );
    due(
        "50-20/15 0 * * *",
        "2026-11-25T01:00:00Z",
        &["2026-11-26T00:05:00", "2026-11-26T00:20:00", "2026-11-26T00:50:00"],
    );
    due(
        "0 0 1 DEC-FEB *",
        "2026-03-01T00:00:00Z",
        &["2026-12-01T00:00:00", "2027-01-01T00:00:00", "2027-02-01T00:00:00", "2027-12-01T00:00:00"],
    );
    due(
        "0 0 30-2 11 *",
        "2026-11-25T00:00:00Z",
        &["2026-11-30T00:00:00", "2027-11-01T00:00:00", "2027-11-02T00:00:00"],
    );
    assert_eq!(cron("0 0 * * FRI-MON"), cron("0 0 * * 0,1,5,6"));
    assert_eq!(cron("0 0 * * 7-2"), cron("0 0 * * 0,1,2"));
    assert_eq!(cron("0 0 * * 7-3/2"), cron("0 0 * * 0,2"));
    assert_eq!(cron("0 0 * * 6-2/2"), cron("0 0 * * 6,1"));
}

#[test]
fn names_of_months_and_days_go_by_three_letters_in_any_case() {
    assert_eq!(
        cron("0 0 1 JAN,feb,Mar,APR,MAY,JUN,JUL,AUG,SEP,OCT,NOV,DEC *"),
        cron("0 0 1 1,2,3,4,5,6,7,8,9,10,11,12 *")
    );
    assert_eq!(cron("0 0 * * SUN,mon,Tue,WED,THU,FRI,SAT"), cron("0 0 * * 0,1,2,3,4,5,6"));
    assert_eq!(cron("0 0 * * MON-FRI"), cron("0 0 * * 1-5"));
    assert_eq!(cron("0 0 * jan-3 *"), cron("0 0 * 1-MAR *"));
}

#[test]
fn zero_and_seven_are_sunday() {
    for text in ["0 0 * * 0", "0 0 * * 7", "0 0 * * SUN", "0 0 * * 7-7", "0 0 * * 7/3"] {
        due(text, "2026-11-25T00:00:00Z", &["2026-11-29T00:00:00", "2026-12-06T00:00:00"]);
    }
    assert_eq!(cron("0 0 * * 5-7"), cron("0 0 * * 5,6,0"));
    assert_eq!(cron("0 0 * * */3"), cron("0 0 * * 0,3,6"));
    assert_eq!(cron("0 0 * * 1/3"), cron("0 0 * * 1,4,7"));
}

#[test]
fn day_of_month_and_day_of_week_must_both_match() {
    due(
        "0 0 13 * FRI",
        "2026-01-01T00:00:00Z",
        &["2026-02-13T00:00:00", "2026-03-13T00:00:00", "2026-11-13T00:00:00", "2027-08-13T00:00:00"],
    );
    due("0 0 29 2 MON", "2026-01-01T00:00:00Z", &["2044-02-29T00:00:00"]);
    // Every one from 2072 on but 2100, which is no leap year.
    due("0 0 29 2 MON", "2072-03-01T00:00:00Z", &["2112-02-29T00:00:00"]);
}

#[test]
fn l_is_the_last_day_and_l_n_the_day_that_many_before_it() {
    due(
        "0 0 L * *",
        "2028-01-31T00:00:00Z",
        &["2028-02-29T00:00:00", "2028-03-31T00:00:00", "2028-04-30T00:00:00"],
    );
    due("0 0 L-1 * *", "2026-01-31T00:00:00Z", &["2026-02-27T00:00:00", "2026-03-30T00:00:00"]);
    due("0 0 L-0 2 *", "2026-01-31T00:00:00Z", &["2026-02-28T00:00:00"]);
    due("0 0 L-30 * *", "2026-01-31T00:00:00Z", &["2026-03-01T00:00:00", "2026-05-01T00:00:00"]);
    due("0 0 l * 5", "2026-01-01T00:00:00Z", &["2026-07-31T00:00:00"]);
}

#[test]
fn w_is_the_nearest_weekday_in_the_same_month() {
    // 15 August 2026 is a Saturday, 15 November a Sunday, 15 December a Tuesday.
    due("0 0 15W * *", "2026-08-01T00:00:00Z", &["2026-08-14T00:00:00", "2026-09-15T00:00:00"]);
    due("0 0 15W * *", "2026-11-01T00:00:00Z", &["2026-11-16T00:00:00", "2026-12-15T00:00:00"]);
    // The first is a Saturday: not back into July. The last is a Sunday: not on into June.
    due("0 0 1W * *", "2026-07-31T00:00:00Z", &["2026-08-03T00:00:00", "2026-09-01T00:00:00"]);
    due("0 0 31W 5 *", "2026-05-01T00:00:00Z", &["2026-05-29T00:00:00"]);
    // A month that has no such day is passed over.
    due("0 0 31W * *", "2026-01-31T00:00:00Z", &["2026-03-31T00:00:00", "2026-05-29T00:00:00"]);
    due("0 0 14w * FRI", "2026-01-01T00:00:00Z", &["2026-02-13T00:00:00", "2026-03-13T00:00:00"]);
}

#[test]
fn lw_is_the_last_weekday_and_l_n_w_the_weekday_nearest_to_that_day() {
    due(
        "0 0 LW * *",
        "2026-01-01T00:00:00Z",
        &["2026-01-30T00:00:00", "2026-02-27T00:00:00", "2026-03-31T00:00:00"],
    );
    // 26 August 2026 is a Wednesday, 25 October a Sunday.
    due(
        "0 0 L-5W * *",
        "2026-08-01T00:00:00Z",
        &["2026-08-26T00:00:00", "2026-09-25T00:00:00", "2026-10-26T00:00:00"],
    );
    due("0 0 lw 5 *", "2026-05-01T00:00:00Z", &["2026-05-29T00:00:00"]);
}

#[test]
fn a_day_with_l_is_the_last_of_the_month_and_with_a_number_the_nth() {
    due("0 0 * * 5L", "2026-01-01T00:00:00Z", &["2026-01-30T00:00:00", "2026-02-27T00:00:00"]);
    due("0 0 * * SUNL", "2026-11-01T00:00:00Z", &["2026-11-29T00:00:00", "2026-12-27T00:00:00"]);
    due("0 0 * * 7l", "2026-11-01T00:00:00Z", &["2026-11-29T00:00:00"]);
    due("0 0 * * SAT#2", "2026-08-01T00:00:00Z", &["2026-08-08T00:00:00", "2026-09-12T00:00:00"]);
    due("0 0 * * 7#1", "2026-11-01T00:00:00Z", &["2026-12-06T00:00:00"]);
    due("0 0 * * MON#5", "2026-01-01T00:00:00Z", &["2026-03-30T00:00:00", "2026-06-29T00:00:00"]);
    due("0 0 ? 1 MON#1", "2026-01-01T00:00:00Z", &["2026-01-05T00:00:00", "2027-01-04T00:00:00"]);
}

#[test]
fn macros_are_what_their_names_say() {
    for (name, fields) in [
        ("@every_second", "* * * * * *"),
        ("@every_minute", "* * * * *"),
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        (" @Daily\t", "0 0 * * *"),
    ] {
        assert_eq!(cron(name), cron(fields), "{name}");
        let owned = Cron::parse(name, Seed::Owner("nightly")).unwrap();
        assert_eq!(owned, cron(fields), "{name}: what it belongs to does not move it");
    }
}

#[test]
fn h_is_drawn_from_the_seed_within_its_field() {
    let draw = |text: &str, seed: &str| Cron::parse(text, Seed::Owner(seed)).unwrap();
    let seeds: Vec<String> = (0..500).map(|n| format!("task {n}")).collect();
    let all: Vec<Cron> = seeds.iter().map(|seed| draw("H H H H H H", seed)).collect();
    let drawn = |bits: fn(&Cron) -> u64| all.iter().fold(0, |all, cron| all | bits(cron));
    assert!(all.iter().all(|cron| cron.minutes.count_ones() == 1 && cron.hours.count_ones() == 1));
    assert_eq!(drawn(|cron| cron.seconds), (1 << 60) - 1);
    assert_eq!(drawn(|cron| cron.minutes), (1 << 60) - 1);
    assert_eq!(drawn(|cron| cron.hours.into()), (1 << 24) - 1);
    assert_eq!(drawn(|cron| cron.days.bits.into()), (1 << 29) - 2, "1 to 28, days that every month has");
    assert_eq!(drawn(|cron| cron.months.into()), (1 << 13) - 2);
    assert_eq!(drawn(|cron| cron.weekdays.bits.into()), (1 << 7) - 1);
    assert_eq!(draw("h 3 * * *", "a"), draw("H 3 * * *", "a"), "the same seed draws the same");
    // One field's draw does not move another's, and a fixed time stays fixed.
    assert_eq!(draw("H H * * *", "a").hours, draw("0 H * * *", "a").hours);
    assert!(!draw("H H * * *", "a").is_interval);
}

#[test]
fn h_with_a_step_draws_where_the_steps_begin() {
    let draw = |text: &str, seed: &str| Cron::parse(text, Seed::Owner(seed)).unwrap();
    let mut first = 0;
    for n in 0..100 {
        let cron = draw("H/15 * * * *", &n.to_string());
        assert_eq!(cron.minutes.count_ones(), 4);
        first |= 1u64 << cron.minutes.trailing_zeros();
        assert!(cron.is_interval);
        assert_eq!(draw("0 0 * * H/7", &n.to_string()).weekdays.bits.count_ones(), 1);
        assert!(draw("0 0 H/3 * *", &n.to_string()).days.bits < 1 << 29);
    }
    assert_eq!(first, (1 << 15) - 1);
}

#[test]
fn a_seed_that_is_asked_for_spreads_macros_as_cronos_does() {
    let asked = |text: &str| Cron::parse(text, Seed::Asked("a")).unwrap();
    assert_eq!(asked("@every_second"), asked("* * * * * *"));
    assert_eq!(asked("@every_minute"), asked("H * * * * *"));
    assert_eq!(asked("@hourly"), asked("H H * * * *"));
    assert_eq!(asked("@daily"), asked("H H H * * *"));
    assert_eq!(asked("@midnight"), asked("H H H * * *"));
    assert_eq!(asked("@weekly"), asked("H H H * * H"));
    assert_eq!(asked("@monthly"), asked("H H H H * *"));
    assert_eq!(asked("@yearly"), asked("H H H H H *"));
    assert_eq!(asked("@annually"), asked("H H H H H *"));
    assert_eq!(asked("0 0 * * *"), cron("0 0 * * *"));
}

#[test]
fn a_schedule_ends_with_the_year_9999() {
    due("0 0 1 1 *", "9998-06-01T00:00:00Z", &["9999-01-01T00:00:00"]);
    assert_eq!(in_zone("0 0 1 1 *", "UTC").next(Time(0), time("9999-06-01T00:00:00Z")), None);
    assert_eq!(in_zone("* * * * * *", "Europe/Vienna").next(Time(0), Time(i64::MAX)), None);
    assert_eq!(in_zone("* * * * * *", "Europe/Vienna").next(Time(0), Time(i64::MIN)), None);
}

#[test]
fn time_zones_go_by_their_iana_names() {
    assert_eq!(Zone::named("").unwrap().name(), "UTC");
    assert_eq!(Zone::named("europe/vienna").unwrap().name(), "Europe/Vienna");
    for unknown in ["Europe/Wien", "CET-1CEST", "+01:00", "Local", "../etc/passwd", "Etc/Unknown/", " UTC"] {
        let error = Zone::named(unknown).unwrap_err();
        assert!(error.to_string().contains(unknown), "{error}");
    }
    let zone = Zone::named("Europe/Vienna").unwrap();
    assert_eq!(zone.local(time("2026-03-29T01:00:00Z")), "2026-03-29T03:00:00+02:00[Europe/Vienna]");
    assert_eq!(Zone::UTC.local(time("2026-03-29T01:00:00Z")), "2026-03-29T01:00:00+00:00[UTC]");
}
