//! Anything at all is read or refused; what is read is due, again and again, and always later.

use proptest::prelude::*;

use super::*;

/// Text of the characters that cron is made of, so that much of it is nearly right.
fn nearly_cron() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        Just("*".to_owned()),
        "[0-9]{1,2}",
        "[0-9]{1,2}-[0-9]{1,2}",
        "[*?HL0-9/,#W-]{1,6}",
        "(MON|TUE|SUN|JAN|DEC)(L|#[0-6]|-FRI|,3)?",
        "\\*/[0-9]{1,2}",
        "H(/[0-9]{1,2})?",
        "L(-[0-9]{1,2})?W?",
        "[0-9]{1,2}W",
    ];
    proptest::collection::vec(field, 1..8).prop_map(|fields| fields.join(" "))
}

fn check(text: &str, after: i64) -> Result<(), TestCaseError> {
    for seed in [Seed::None, Seed::Owner("a"), Seed::Asked("b")] {
        match Cron::parse(text, seed) {
            Err(error) => {
                prop_assert!((1..=text.chars().count() + 1).contains(&error.position), "{text:?}: {error}");
                prop_assert!(!error.reason.is_empty());
            }
            Ok(cron) => {
                for zone in ["UTC", "Europe/Vienna", "Australia/Lord_Howe"] {
                    let zone = Zone::named(zone).unwrap();
                    let schedule = Schedule::Cron { cron: Box::new(cron.clone()), zone };
                    let mut last = Time(after);
                    for _ in 0..3 {
                        let next = schedule.next(Time(0), last).expect("what is taken is due");
                        prop_assert!(next > last, "{text:?} after {last}");
                        last = next;
                    }
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_read_or_refused_but_never_panics(text in any::<String>(), after in 0i64..4_000_000_000_000_000) {
        check(&text, after)?;
    }

    #[test]
    fn text_that_is_nearly_cron_is_read_or_refused_but_never_panics(
        text in nearly_cron(), after in 0i64..4_000_000_000_000_000,
    ) {
        check(&text, after)?;
    }

    #[test]
    fn any_name_of_a_time_zone_is_known_or_refused_but_never_panics(name in any::<String>()) {
        if let Err(UnknownZone(unknown)) = Zone::named(&name) {
            prop_assert_eq!(unknown, name);
        }
    }
}
