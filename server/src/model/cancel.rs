//! Cancelling: why a job was cancelled, and the mark that a running job carries.

use serde::{Deserialize, Serialize};

use super::{Epoch, JobId, Time};

/// Why a job was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// A client asked for it.
    Client,
    /// It was not started by its expire time.
    Expired,
    /// A job that it depends on did not end as asked.
    Parent,
    /// A client asked for it, its handler did not end within the grace.
    Forced,
    /// Its handler ended it as cancelled without having been asked.
    Handler,
    /// A later run of its recurring task took its place.
    Superseded,
}

/// The cancellation that ended a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// The kind of reason.
    pub reason: CancelReason,
    /// The reason in words, as the client gave it or as Haulier says it.
    pub text: String,
}

/// A cancel request on a running job: its worker process is told, and after the grace it is cancelled anyway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelMark {
    /// The job.
    pub job: JobId,
    /// The lease that it ran under when the request came.
    pub epoch: Epoch,
    /// The kind of reason: a client asked, or a later run of its recurring task takes its place.
    pub reason: CancelReason,
    /// The reason in words.
    pub text: String,
    /// When the grace ends and the job is cancelled without its handler.
    pub force_time: Time,
}
