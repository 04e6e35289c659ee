//! Retry policies: how often and after which wait a failed attempt is repeated.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits;

/// How the wait grows from retry to retry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// The first delay, every time.
    Fixed,
    /// The first delay times the number of the retry.
    Linear,
    /// The first delay times `factor` to the power of (number of the retry - 1).
    Exponential,
    /// As exponential, times a uniform random 50 to 100 %.
    #[default]
    ExponentialJitter,
}

/// When and how often a failed attempt is repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// The profile that it started from: for people, everything that counts stands beside it.
    pub profile: String,
    /// Retries after the first attempt.
    pub retry_limit: i32,
    /// Crashes that a run survives.
    pub crash_limit: i32,
    /// How the wait grows.
    pub backoff: Backoff,
    /// The first wait.
    pub first_delay: Duration,
    /// Growth of exponential waits, at least 1.
    pub factor: f64,
    /// The longest wait.
    pub max_delay: Duration,
    /// A retry that would start later than this after the run began is not made: the job is abandoned.
    pub give_up_after: Option<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            profile: RetryProfiles::DEFAULT.into(),
            retry_limit: limits::RETRY_LIMIT_DEFAULT,
            crash_limit: limits::CRASH_LIMIT_DEFAULT,
            backoff: Backoff::default(),
            first_delay: limits::RETRY_FIRST_DELAY_DEFAULT,
            factor: 2.0,
            max_delay: limits::RETRY_MAX_DELAY_DEFAULT,
            give_up_after: None,
        }
    }
}

impl RetryPolicy {
    /// The wait before retry number `retry`, counted from 1; `chance` in `0.0..1.0` decides the jitter.
    pub fn delay(&self, retry: i32, chance: f64) -> Duration {
        let number = retry.max(1);
        let first = self.first_delay.as_secs_f64();
        let seconds = match self.backoff {
            Backoff::Fixed => first,
            Backoff::Linear => first * f64::from(number),
            Backoff::Exponential | Backoff::ExponentialJitter => first * self.factor.powi(number - 1),
        };
        let capped = seconds.min(self.max_delay.as_secs_f64());
        let jittered = match self.backoff {
            Backoff::ExponentialJitter => capped * (0.5 + chance / 2.0),
            _ => capped,
        };
        Duration::try_from_secs_f64(jittered).unwrap_or(self.max_delay)
    }
}

/// Policies by name, and which of them a job gets that names none.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryProfiles {
    by_name: BTreeMap<String, RetryPolicy>,
    /// The profile of a job that names none; always one of them.
    default: String,
}

impl RetryProfiles {
    /// The profile that is always there, and that a job gets unless the configuration says otherwise.
    pub const DEFAULT: &str = "default";

    /// The profiles that every server has: `default`, `abp` (ABP's waits: 60 s doubling until two days are over) and `none`.
    pub fn built_in() -> Self {
        let default = RetryPolicy::default();
        let abp = RetryPolicy {
            profile: "abp".into(),
            retry_limit: limits::RETRY_LIMIT_MAX,
            backoff: Backoff::Exponential,
            first_delay: Duration::from_secs(60),
            max_delay: limits::RETRY_DELAY_MAX,
            give_up_after: Some(Duration::from_secs(2 * 86_400)),
            ..default.clone()
        };
        let none = RetryPolicy { profile: "none".into(), retry_limit: 0, ..default.clone() };
        let by_name =
            [default, abp, none].into_iter().map(|policy| (policy.profile.clone(), policy)).collect();
        Self { by_name, default: Self::DEFAULT.into() }
    }

    /// The policy of a name; of the default profile when it is empty.
    pub fn get(&self, name: &str) -> Option<&RetryPolicy> {
        self.by_name.get(if name.is_empty() { self.default.as_str() } else { name })
    }

    /// What a profile starts from that the configuration describes: the one of its name, else `default`.
    pub fn start(&self, name: &str) -> RetryPolicy {
        let start = self.by_name.get(name).or_else(|| self.by_name.get(Self::DEFAULT));
        RetryPolicy { profile: name.into(), ..start.cloned().unwrap_or_default() }
    }

    /// Adds a profile, or puts it in the place of the one of its name.
    pub fn put(&mut self, policy: RetryPolicy) {
        self.by_name.insert(policy.profile.clone(), policy);
    }

    /// Makes a profile the one of jobs that name none; false, and nothing changes, when there is none of this name.
    pub fn set_default(&mut self, name: &str) -> bool {
        let known = self.by_name.contains_key(name);
        if known {
            name.clone_into(&mut self.default);
        }
        known
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(backoff: Backoff) -> RetryPolicy {
        RetryPolicy { backoff, ..RetryPolicy::default() }
    }

    #[test]
    fn each_backoff_grows_as_its_name_says() {
        let waits =
            |backoff| (1..=4).map(|n| policy(backoff).delay(n, 0.0).as_secs_f64()).collect::<Vec<_>>();
        assert_eq!(waits(Backoff::Fixed), [5.0, 5.0, 5.0, 5.0]);
        assert_eq!(waits(Backoff::Linear), [5.0, 10.0, 15.0, 20.0]);
        assert_eq!(waits(Backoff::Exponential), [5.0, 10.0, 20.0, 40.0]);
        assert_eq!(waits(Backoff::ExponentialJitter), [2.5, 5.0, 10.0, 20.0]);
    }

    #[test]
    fn abp_waits_double_from_a_minute_until_two_days_are_over() {
        let abp = RetryProfiles::built_in().get("abp").unwrap().clone();
        let waits: Vec<u64> = (1..=12).map(|retry| abp.delay(retry, 0.5).as_secs()).collect();
        assert_eq!(waits[..4], [60, 120, 240, 480]);
        let starts: Vec<u64> = waits
            .iter()
            .scan(0, |sum, wait| {
                Some({
                    *sum += wait;
                    *sum
                })
            })
            .collect();
        let most = abp.give_up_after.unwrap().as_secs();
        assert_eq!(starts.iter().filter(|start| **start <= most).count(), 11, "{starts:?}");
        assert!(abp.retry_limit > 11);
    }

    #[test]
    fn a_profile_is_found_by_name_and_an_empty_name_is_the_default() {
        let mut profiles = RetryProfiles::built_in();
        assert_eq!(profiles.get("").unwrap().profile, "default");
        assert_eq!(profiles.get("none").unwrap().retry_limit, 0);
        assert!(profiles.get("mine").is_none() && !profiles.set_default("mine"));
        profiles.put(RetryPolicy { retry_limit: 7, ..profiles.start("mine") });
        assert!(profiles.set_default("mine"));
        assert_eq!(
            (profiles.get("").unwrap().retry_limit, profiles.get("").unwrap().profile.as_str()),
            (7, "mine")
        );
        assert_eq!(profiles.names().collect::<Vec<_>>(), ["abp", "default", "mine", "none"]);
        assert_eq!(profiles.start("abp"), *profiles.get("abp").unwrap());
    }

    proptest! {
        #[test]
        fn a_wait_is_never_longer_than_the_most_and_never_panics(
            retry in 0..=limits::RETRY_LIMIT_MAX, factor in 1.0..1000.0f64, chance in 0.0..1.0f64,
        ) {
            for backoff in [Backoff::Fixed, Backoff::Linear, Backoff::Exponential, Backoff::ExponentialJitter] {
                let policy = RetryPolicy { factor, backoff, ..RetryPolicy::default() };
                prop_assert!(policy.delay(retry, chance) <= policy.max_delay);
            }
        }

        #[test]
        fn jitter_stays_between_half_and_whole(retry in 1..20, chance in 0.0..1.0f64) {
            let whole = policy(Backoff::Exponential).delay(retry, 0.0);
            let jittered = policy(Backoff::ExponentialJitter).delay(retry, chance);
            prop_assert!(jittered * 2 >= whole && jittered <= whole);
        }
    }
}
