//! Retry profiles: those that every server has, and over them what the configuration says.

use crate::config::{BackoffName, Config, ConfigError, RetryProfile};
use crate::model::{Backoff, RetryPolicy, RetryProfiles, limits};

/// The profiles of a server of this configuration.
pub(super) fn profiles(config: &Config) -> Result<RetryProfiles, ConfigError> {
    let mut profiles = RetryProfiles::built_in();
    for (name, given) in &config.retry {
        let policy = described(profiles.start(name), given);
        profiles.put(policy);
    }
    if let Some(retry_limit) = config.retry_limit {
        profiles.put(RetryPolicy { retry_limit, ..profiles.start(RetryProfiles::DEFAULT) });
    }
    if let Some(name) = &config.retry_profile
        && !profiles.set_default(name)
    {
        let known = profiles.names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let message =
            format!("{name:?} is no profile: use one of {known}, or describe it under [retry.{name}]");
        return Err(ConfigError::wrong("retry_profile", message));
    }
    Ok(profiles)
}

/// A policy with what the configuration says in the place of what it was. A first wait beyond the longest one lifts it.
fn described(start: RetryPolicy, given: &RetryProfile) -> RetryPolicy {
    let until_given_up = given.give_up.map(|_| limits::RETRY_LIMIT_MAX);
    let first_delay =
        given.first.unwrap_or_else(|| start.first_delay.min(given.max.unwrap_or(start.first_delay)));
    RetryPolicy {
        retry_limit: given.retry_limit.or(until_given_up).unwrap_or(start.retry_limit),
        crash_limit: given.crash_limit.unwrap_or(start.crash_limit),
        backoff: given.backoff.map_or(start.backoff, backoff),
        first_delay,
        factor: given.factor.unwrap_or(start.factor),
        max_delay: given.max.unwrap_or(start.max_delay.max(first_delay)),
        give_up_after: given.give_up.or(start.give_up_after),
        ..start
    }
}

fn backoff(name: BackoffName) -> Backoff {
    match name {
        BackoffName::Fixed => Backoff::Fixed,
        BackoffName::Linear => Backoff::Linear,
        BackoffName::Exponential => Backoff::Exponential,
        BackoffName::ExponentialJitter => Backoff::ExponentialJitter,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(name: &str, given: RetryProfile) -> Config {
        Config { retry: [(name.to_owned(), given)].into(), ..Config::default() }
    }

    #[test]
    fn a_profile_starts_from_the_one_of_its_name_and_else_from_default() {
        let first = Some(Duration::from_secs(7));
        let given = RetryProfile { first, ..RetryProfile::default() };
        let abp = profiles(&of("abp", given.clone())).unwrap().get("abp").unwrap().clone();
        assert_eq!((abp.first_delay, abp.retry_limit), (Duration::from_secs(7), limits::RETRY_LIMIT_MAX));
        assert_eq!(
            (abp.give_up_after, abp.backoff),
            (Some(Duration::from_secs(172_800)), Backoff::Exponential)
        );
        let mine = profiles(&of("mine", given)).unwrap().get("mine").unwrap().clone();
        assert_eq!(
            (mine.first_delay, mine.retry_limit),
            (Duration::from_secs(7), limits::RETRY_LIMIT_DEFAULT)
        );
    }

    #[test]
    fn a_time_to_give_up_without_a_limit_retries_until_then() {
        let give_up = Some(Duration::from_secs(60));
        let given = RetryProfile { give_up, ..RetryProfile::default() };
        let limit = |given| profiles(&of("mine", given)).unwrap().get("mine").unwrap().retry_limit;
        assert_eq!(limit(given.clone()), limits::RETRY_LIMIT_MAX);
        assert_eq!(limit(RetryProfile { retry_limit: Some(3), ..given }), 3);
    }

    #[test]
    fn the_default_profile_must_be_there_and_the_retry_limit_is_that_of_default() {
        let config = Config { retry_profile: Some("abp".into()), retry_limit: Some(9), ..Config::default() };
        let known = profiles(&config).unwrap();
        assert_eq!(known.get("").unwrap().profile, "abp");
        assert_eq!(known.get("default").unwrap().retry_limit, 9);
        let config = Config { retry_profile: Some("mine".into()), ..Config::default() };
        let error = profiles(&config).unwrap_err().to_string();
        assert!(error.starts_with("retry_profile") && error.contains("`abp`, `default`, `none`"), "{error}");
    }
}
