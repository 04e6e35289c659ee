//! Retry profiles: `[retry.NAME]` of the settings file.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::{Bounds, ConfigError, read_duration};

/// Characters of a profile's name.
const NAME_CHARS_MAX: usize = 128;

/// A retry profile as the file writes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrySettings {
    /// Retries after the first attempt.
    pub retry_limit: Option<i32>,
    /// Lost attempts that are forgiven.
    pub crash_limit: Option<i32>,
    /// How waits grow.
    pub backoff: Option<BackoffName>,
    /// The first wait.
    pub first: Option<String>,
    /// What an exponential wait is multiplied with each time.
    pub factor: Option<f64>,
    /// The longest wait.
    pub max: Option<String>,
    /// Time after which a failing job is abandoned.
    pub give_up: Option<String>,
}

/// How waits grow, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackoffName {
    /// The first wait, every time.
    Fixed,
    /// The first wait times the number of the retry.
    Linear,
    /// The first wait times a power of the factor.
    Exponential,
    /// As exponential, times a random 50 to 100 %.
    ExponentialJitter,
}

/// A retry profile. What it leaves unset is as in the built-in profile of its name, else as in `default`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RetryProfile {
    /// Retries after the first attempt.
    pub retry_limit: Option<i32>,
    /// Lost attempts that are forgiven.
    pub crash_limit: Option<i32>,
    /// How waits grow.
    pub backoff: Option<BackoffName>,
    /// The first wait.
    pub first: Option<Duration>,
    /// What an exponential wait is multiplied with each time.
    pub factor: Option<f64>,
    /// The longest wait.
    pub max: Option<Duration>,
    /// Time after which a failing job is abandoned. Without a limit of retries it is retried until then.
    pub give_up: Option<Duration>,
}

/// Reads the durations of all profiles.
pub(super) fn read_profiles(
    written: BTreeMap<String, RetrySettings>,
) -> Result<BTreeMap<String, RetryProfile>, ConfigError> {
    written
        .into_iter()
        .map(|(name, given)| read_profile(&name, given).map(|profile| (name, profile)))
        .collect()
}

fn read_profile(name: &str, given: RetrySettings) -> Result<RetryProfile, ConfigError> {
    let read = |key: &str, text: Option<String>| {
        let wrong = |message| ConfigError::wrong(format!("retry.{name}.{key}"), message);
        text.map(|text| read_duration(&text).map_err(wrong)).transpose()
    };
    Ok(RetryProfile {
        retry_limit: given.retry_limit,
        crash_limit: given.crash_limit,
        backoff: given.backoff,
        first: read("first", given.first)?,
        factor: given.factor,
        max: read("max", given.max)?,
        give_up: read("give_up", given.give_up)?,
    })
}

/// Checks all profiles; names the key and what it may be.
pub(super) fn check_profiles(
    profiles: &BTreeMap<String, RetryProfile>,
    bounds: &Bounds,
) -> Result<(), ConfigError> {
    if profiles.len() > bounds.retry_profiles_max {
        let message =
            format!("has {} profiles, at most {} are allowed", profiles.len(), bounds.retry_profiles_max);
        return Err(ConfigError::wrong("retry", message));
    }
    profiles.iter().try_for_each(|(name, profile)| profile.check(name, bounds))
}

impl RetryProfile {
    fn check(&self, name: &str, bounds: &Bounds) -> Result<(), ConfigError> {
        let wrong =
            |key: &str, message: String| Err(ConfigError::wrong(format!("retry.{name}.{key}"), message));
        let fits = |c: char| c.is_ascii_alphanumeric() || "._:/-".contains(c);
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(fits) {
            let message = format!("the name must be 1 to {NAME_CHARS_MAX} characters of A-Za-z0-9._:/-");
            return Err(ConfigError::wrong(format!("retry.{name:?}"), message));
        }
        for (key, number, most) in [
            ("retry_limit", self.retry_limit, bounds.retry_limit_max),
            ("crash_limit", self.crash_limit, bounds.crash_limit_max),
        ] {
            if number.is_some_and(|number| !(0..=most).contains(&number)) {
                return wrong(key, format!("must be 0 to {most}"));
            }
        }
        for (key, time, most) in [
            ("first", self.first, bounds.retry_delay_max),
            ("max", self.max, bounds.retry_delay_max),
            ("give_up", self.give_up, bounds.give_up_max),
        ] {
            if time.is_some_and(|time| time.is_zero() || time > most) {
                return wrong(key, format!("must be more than 0s and at most {}d", most.as_secs() / 86_400));
            }
        }
        if let (Some(first), Some(max)) = (self.first, self.max)
            && max < first
        {
            return wrong("max", "is shorter than `first`, which it would cut: raise it".into());
        }
        let most = bounds.retry_factor_max;
        if self.factor.is_some_and(|factor| !(1.0..=most).contains(&factor)) {
            return wrong("factor", format!("must be 1 to {most}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Flags};
    use super::*;

    fn bounds() -> Bounds {
        super::super::tests::BOUNDS
    }

    fn load(text: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let config =
            Config::load(Flags { config: Some(file.path().to_owned()), ..Flags::default() }, |_| None)?;
        config.validate(&bounds())?;
        Ok(config)
    }

    #[test]
    fn a_profile_is_read_from_the_file() {
        let text = "retry_profile = \"slow\"\n[retry.slow]\nfirst = \"60s\"\nfactor = 2\ngive_up = \"2d\"\nbackoff = \"exponential\"";
        let config = load(text).unwrap();
        assert_eq!(config.retry_profile.as_deref(), Some("slow"));
        let slow = &config.retry["slow"];
        assert_eq!((slow.first, slow.factor), (Some(Duration::from_secs(60)), Some(2.0)));
        assert_eq!(slow.give_up, Some(Duration::from_secs(2 * 86_400)));
        assert_eq!((slow.backoff, slow.retry_limit), (Some(BackoffName::Exponential), None));
    }

    #[test]
    fn what_is_wrong_with_a_profile_is_named_by_its_key() {
        for (line, key) in [
            ("retry_limit = -1", "retry.a.retry_limit: must be 0 to 1000"),
            ("crash_limit = 3", "retry.a.crash_limit: must be 0 to 2"),
            ("first = \"soon\"", "retry.a.first: \"soon\" is not a duration"),
            ("first = \"0s\"", "retry.a.first: must be more than 0s and at most 30d"),
            ("max = \"31d\"", "retry.a.max: must be"),
            ("first = \"2s\"\nmax = \"1s\"", "retry.a.max: is shorter than `first`"),
            ("give_up = \"366d\"", "retry.a.give_up: must be more than 0s and at most 365d"),
            ("factor = 0.5", "retry.a.factor: must be 1 to 100"),
            ("factor = nan", "retry.a.factor: must be 1 to 100"),
        ] {
            let error = load(&format!("[retry.a]\n{line}")).unwrap_err().to_string();
            assert!(error.starts_with(key), "{line}: {error}");
        }
        let error = load("[retry.\"a b\"]").unwrap_err().to_string();
        assert!(error.contains("the name must be"), "{error}");
        let error = load("[retry.a]\nlimit = 1").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("limit"), "{error}");
    }
}
