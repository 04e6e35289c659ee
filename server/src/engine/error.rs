//! What the engine answers when it cannot do what it was asked.

use std::time::Duration;

use crate::model::{Epoch, JobId, Month, State};
use crate::store::StoreError;

/// A field that breaks a rule or a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field's path in the request, such as `options.priority`.
    pub field: String,
    /// What is wrong with it and what is allowed.
    pub message: String,
}

/// Why a verb of the engine did not do its work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Fields break a rule or a limit.
    #[error("invalid argument: {}", .0.iter().map(|v| format!("{} {}", v.field, v.message)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
    /// `depends_on` names a job that is nowhere, or a local key that no item has.
    #[error("{} {}", .0.field, .0.message)]
    ParentNotFound(Violation),
    /// A page token or resume token is not one of ours or belongs to another query.
    #[error("{field} {message}")]
    BadToken {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// There is no such job.
    #[error("there is no job with {0}")]
    JobNotFound(String),
    /// There is no such thing of another kind.
    #[error("there is no {kind} {name}")]
    NotFound {
        /// The kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The ref id is taken by another job.
    #[error("ref_id {ref_id:?} is taken by {}", holder_of_ref(*job))]
    RefTaken {
        /// The ref id.
        ref_id: String,
        /// The job that has it.
        job: JobId,
    },
    /// The request id was used with other content.
    #[error("request_id {0:?} was used before with other content: make a fresh one for each intent")]
    RequestReused(String),
    /// The job's state does not allow it.
    #[error("{message}")]
    WrongState {
        /// The job's state.
        state: State,
        /// What was asked and why the state does not allow it.
        message: String,
    },
    /// The lock has another holder than the one that was named.
    #[error("the lock {name} is held by another, {owner:?} with token {token}: name that token, or none")]
    LockHeld {
        /// The lock.
        name: String,
        /// Its holder, for people.
        owner: String,
        /// Its holder's token.
        token: Epoch,
    },
    /// The lock is no longer held.
    #[error("the lock {0} is no longer held: stop what it was held for")]
    LockLost(String),
    /// No worker process that is attached to this server serves the command.
    #[error("no worker process on this server serves the command {command} from the queue {queue}")]
    NoWorkerHere {
        /// The command.
        command: String,
        /// The queue.
        queue: String,
    },
    /// The lease is no longer held.
    #[error("the lease is no longer held: drop the work on this job")]
    LeaseLost,
    /// The session is over.
    #[error("the session is over or never was: register anew")]
    SessionLost,
    /// A later claim of the loop exists.
    #[error("sequence {given} is behind the loop's {stored}: a later claim of this loop exists")]
    StaleSequence {
        /// The call's sequence.
        given: i64,
        /// The loop's.
        stored: i64,
    },
    /// The server has as much in hand as it may.
    #[error("{message}")]
    Overloaded {
        /// What is too much.
        message: String,
        /// When to try again.
        retry: Duration,
    },
    /// The month is current, or has jobs that have not ended.
    #[error("month {} is current, or has jobs that have not ended ({live}): it cannot be dropped", month.dashed())]
    MonthInUse {
        /// The month.
        month: Month,
        /// Its jobs that have not ended.
        live: i64,
    },
    /// A parent has as many children as a job may have.
    #[error("job {0} has as many dependants as a job may have, {max}: let them depend on a job in between", max = crate::model::limits::CHILDREN_MAX)]
    TooManyChildren(JobId),
    /// The database has no room.
    #[error("the database has no room: free some, it works again by itself")]
    DiskFull,
    /// The database cannot be used now.
    #[error("the database cannot be used now, try again")]
    Unavailable,
    /// This server is stopping.
    #[error("this server is stopping, try again: another, or the next, will answer")]
    ShuttingDown,
    /// Not built yet, or switched off.
    #[error("{0} is not supported by this server yet")]
    NotSupported(String),
    /// Our own fault; the text is for the log, never for the caller.
    #[error("internal error: {0}")]
    Internal(String),
}

fn holder_of_ref(job: JobId) -> String {
    if job.0 > 0 { format!("job {job}") } else { "a transient run".into() }
}

/// What the engine answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A parent that is not there.
    pub(crate) fn no_parent(field: String, message: String) -> Self {
        Error::ParentNotFound(Violation { field, message })
    }

    /// One field breaks a rule.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Invalid(vec![Violation { field: field.into(), message: message.into() }])
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Unknown(_) => {
                tracing::warn!(%error, "the database did not answer");
                Error::Unavailable
            }
            StoreError::Full(_) => {
                tracing::error!(%error, "the database has no room");
                Error::DiskFull
            }
            StoreError::TooManyChildren(parent) => Error::TooManyChildren(parent),
            StoreError::Taken(_)
            | StoreError::IdTaken
            | StoreError::Decided
            | StoreError::Corrupt(_)
            | StoreError::Other(_) => Error::Internal(error.to_string()),
        }
    }
}
