//! What went wrong with an attempt, as stored and shown.

use serde::{Deserialize, Serialize};

/// Why an attempt or a run failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The handler returned or threw an error.
    Handler,
    /// The handler said that trying again is of no use.
    NonRetryable,
    /// The attempt took longer than its timeout.
    Timeout,
    /// The worker process died.
    Crash,
    /// The job killed its worker process more often than its crash limit allows.
    Poison,
    /// The next retry would have come after the give-up time.
    Abandoned,
    /// The handler could not read the request.
    UnreadableRequest,
    /// The called API answered an error, or could not be reached.
    Api,
    /// The result was refused, for its size or because it is not JSON.
    UnstorableResult,
}

/// The error of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// A short code chosen by the handler, such as `mailbox_full`; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// What happened, for people.
    pub message: String,
    /// Where it happened; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stack: String,
    /// The kind of failure.
    pub reason: FailureReason,
}
