//! Retry policies: how often and after which wait a failed attempt is repeated.

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
