//! Every mistake is told where it is, and what would be right.

use super::*;

#[track_caller]
fn refused(text: &str, position: usize, field: Option<CronField>, reason: &str) {
    match Cron::parse(text, Seed::None) {
        Ok(_) => panic!("{text} was taken"),
        Err(error) => {
            assert_eq!((error.position, error.field), (position, field), "{text}: {error}");
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
    }
}

#[test]
fn the_number_of_fields_must_be_five_or_six() {
    refused("", 1, None, "is empty");
    refused(" \t ", 1, None, "is empty");
    refused("*", 2, None, "there is 1 field");
    refused("* * * *", 8, None, "there are 4 fields; write 5");
    refused("* * * * * * *", 13, None, "there are 7 fields");
    refused("0 0 * * *\n0 0 * * *", 15, None, "there are 9 fields");
    refused("0 0 * * *\n", 10, Some(CronField::DayOfWeek), "is one character too many");
}

#[test]
fn values_must_lie_in_their_field() {
    use CronField::*;
    refused("60 * * * * *", 1, Some(Second), "a second from 0 to 59 belongs here, not `60`");
    refused("60 * * * *", 1, Some(Minute), "a minute from 0 to 59 belongs here, not `60`");
    refused("* 24 * * *", 3, Some(Hour), "an hour from 0 to 23 belongs here, not `24`");
    refused("* * 0 * *", 5, Some(DayOfMonth), "a day from 1 to 31 belongs here, not `0`");
    refused("* * 32 * *", 5, Some(DayOfMonth), "not `32`");
    refused("* * * 0 *", 7, Some(Month), "a month (or JAN to DEC) from 1 to 12 belongs here, not `0`");
    refused("* * * 13 *", 7, Some(Month), "not `13`");
    refused("* * * * 8", 9, Some(DayOfWeek), "a day of the week (or SUN to SAT) from 0 to 7 belongs here");
    refused("* * * * -1", 9, Some(DayOfWeek), "not `-`");
    refused("007 * * * *", 1, Some(Minute), "not `007`");
    refused("99999999999999999999 * * * *", 1, Some(Minute), "not `999999999999`");
    refused("\u{662} * * * *", 1, Some(Minute), "not `\u{662}`");
    refused("\u{1} * * * *", 1, Some(Minute), "not `\u{FFFD}`");
}

#[test]
fn lists_and_ranges_need_both_their_ends() {
    use CronField::*;
    refused("1, * * * *", 3, Some(Minute), "and nothing stands here");
    refused("1,,2 * * * *", 3, Some(Minute), "not `,`");
    refused(",1 * * * *", 1, Some(Minute), "not `,`");
    refused("1- * * * *", 3, Some(Minute), "and nothing stands here");
    refused("1-2-3 * * * *", 4, Some(Minute), "`-` is one character too many");
    refused("1-60 * * * *", 3, Some(Minute), "not `60`");
    refused("5;6 * * * *", 2, Some(Minute), "`;` is one character too many");
}

#[test]
fn steps_must_be_numbers_from_one_to_the_end_of_the_field() {
    use CronField::*;
    refused("*/0 * * * *", 3, Some(Minute), "a step from 1 to 59 belongs here, not `0`");
    refused("*/60 * * * *", 3, Some(Minute), "not `60`");
    refused("*/ * * * *", 3, Some(Minute), "and nothing stands here");
    refused("1/2/3 * * * *", 4, Some(Minute), "`/` is one character too many");
    refused("* * 1/32 * *", 7, Some(DayOfMonth), "a step from 1 to 31");
    refused("* * * 1/JAN *", 9, Some(Month), "a step from 1 to 12 belongs here, not `JAN`");
    refused("* * * * 1/8", 11, Some(DayOfWeek), "a step from 1 to 7");
}

#[test]
fn a_star_stands_alone() {
    use CronField::*;
    refused("*,5 * * * *", 2, Some(Minute), "`*` stands alone in its field");
    refused("*-5 * * * *", 2, Some(Minute), "`-` is one character too many");
    refused("5,* * * * *", 3, Some(Minute), "not `*`");
    refused("** * * * *", 2, Some(Minute), "one character too many");
    refused("* * ?,5 * *", 6, Some(DayOfMonth), "`?` stands alone in its field");
}

#[test]
fn names_must_be_known_and_belong_to_their_field() {
    use CronField::*;
    refused("* * * JANUARY *", 10, Some(Month), "names have three letters");
    refused("* * * MON *", 7, Some(Month), "not `MON`");
    refused("* * * * SUNDAY", 12, Some(DayOfWeek), "names have three letters");
    refused("* * * * SU", 9, Some(DayOfWeek), "not `SU`");
    refused("* * * * JAN", 9, Some(DayOfWeek), "not `JAN`");
    refused("MON * * * *", 1, Some(Minute), "not `MON`");
    refused("* * MON * *", 5, Some(DayOfMonth), "not `MON`");
}

#[test]
fn l_w_and_number_signs_stand_where_they_mean_something_and_alone() {
    use CronField::*;
    refused("L * * * *", 1, Some(Minute), "not `L`");
    refused("5L * * * *", 2, Some(Minute), "`L` cannot stand here");
    refused("* * * L *", 7, Some(Month), "not `L`");
    refused("* * * * L", 9, Some(DayOfWeek), "not `L`");
    refused("* * W * *", 5, Some(DayOfMonth), "not `W`");
    refused("* * 1-2W * *", 8, Some(DayOfMonth), "`W` cannot stand here");
    refused("* * 1W,2 * *", 7, Some(DayOfMonth), "stand alone in their field");
    refused("* * L,2 * *", 6, Some(DayOfMonth), "stand alone in their field");
    refused("* * 5L * *", 6, Some(DayOfMonth), "`L` cannot stand here");
    refused("* * L-31 * *", 7, Some(DayOfMonth), "a number of days from 0 to 30 belongs here, not `31`");
    refused("* * L- * *", 7, Some(DayOfMonth), "and nothing stands here");
    refused("* * 4#1 * *", 6, Some(DayOfMonth), "`#` cannot stand here");
    refused("* * * * 5#6", 11, Some(DayOfWeek), "a number of the week from 1 to 5 belongs here, not `6`");
    refused("* * * * 5#0", 11, Some(DayOfWeek), "not `0`");
    refused("* * * * 5#", 11, Some(DayOfWeek), "and nothing stands here");
    refused("* * * * 5#1,2", 12, Some(DayOfWeek), "stands alone in its field");
    refused("* * * * 5L-6", 11, Some(DayOfWeek), "stands alone in its field");
    refused("* * * * 5W", 10, Some(DayOfWeek), "`W` cannot stand here");
}

#[test]
fn h_needs_a_seed_and_stands_alone() {
    use CronField::*;
    refused("0 H * * *", 3, Some(Hour), "`H` needs a seed");
    refused("0 H/2 * * *", 3, Some(Hour), "`H` needs a seed");
    let seeded = |text: &str| Cron::parse(text, Seed::Owner("a")).unwrap_err().to_string();
    assert_eq!(
        seeded("H,5 * * * *"),
        "at position 2, minute: `H` stands alone in its field, at most with a step"
    );
    assert_eq!(
        seeded("* * H/29 * *"),
        "at position 7, day of month: a step from 1 to 28 belongs here, not `29`"
    );
    assert_eq!(seeded("* H/24 * * *"), "at position 5, hour: a step from 1 to 23 belongs here, not `24`");
    assert_eq!(seeded("H(0-5) * * * *"), "at position 2, minute: `(` is one character too many");
}

#[test]
fn macros_must_be_known_and_stand_alone() {
    refused("@", 1, None, "`@` is not a macro; they are @every_second, @every_minute, @hourly");
    refused("  @every_hour", 3, None, "`@every_hour` is not a macro");
    refused("@dail", 1, None, "`@dail` is not a macro");
    refused("@dailyx", 1, None, "`@dailyx` is not a macro");
    refused("@daily *", 8, None, "nothing may follow the macro `@daily`");
    refused("@reboot", 1, None, "`@reboot` is not a macro");
}

#[test]
fn what_is_never_due_is_refused() {
    let never = "it is never due";
    for text in [
        "0 0 30 2 *",
        "0 0 31 2,4,6,9,11 *",
        "0 0 31W 2 *",
        "0 0 L-29 2 *",
        "0 0 L-30 2,4,6,9,11 *",
        "0 0 29 2 SAT#1",
        "0 0 1 * FRI#2",
        "0 0 1 * FRIL",
        "0 0 LW * SUN",
        "0 0 15W * SAT,SUN",
    ] {
        refused(text, 5, Some(CronField::DayOfMonth), never);
    }
    refused("0 0 0 30 2 *", 7, Some(CronField::DayOfMonth), never);
    // Rare is not never: a Monday that is the 29th of February comes once in 28 or 40 years.
    assert!(Cron::parse("0 0 29 2 MON", Seed::None).is_ok());
    assert!(Cron::parse("0 0 29 2 MON#5", Seed::None).is_ok());
    assert!(Cron::parse("0 0 L-28 2 *", Seed::None).is_ok());
}
