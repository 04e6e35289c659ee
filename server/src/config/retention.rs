//! Retention: `[retention]` of the settings file.

use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, read_duration};

/// How long what has ended is kept, as the file writes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Jobs that completed; `0s` keeps nothing of them.
    pub completed: Option<String>,
    /// Jobs that failed.
    pub failed: Option<String>,
    /// Jobs that were cancelled.
    pub cancelled: Option<String>,
}

/// How long what has ended is kept; unset: as long as its month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepFor {
    /// Jobs that completed.
    pub completed: Option<Duration>,
    /// Jobs that failed.
    pub failed: Option<Duration>,
    /// Jobs that were cancelled.
    pub cancelled: Option<Duration>,
}

/// Reads the durations.
pub(super) fn read_retention(given: RetentionSettings) -> Result<KeepFor, ConfigError> {
    let read = |key: &str, written: Option<String>| {
        let wrong = |message| ConfigError::wrong(format!("retention.{key}"), message);
        written.map(|text| read_duration(&text).map_err(wrong)).transpose()
    };
    Ok(KeepFor {
        completed: read("completed", given.completed)?,
        failed: read("failed", given.failed)?,
        cancelled: read("cancelled", given.cancelled)?,
    })
}
