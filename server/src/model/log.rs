//! What remains of attempts: their record and their log lines.

use serde::{Deserialize, Serialize};

use super::{Epoch, JobError, Run, SessionId, Time};

/// How bad a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Finest detail.
    Trace,
    /// Detail for the developer.
    Debug,
    /// What happened.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// The number that is stored.
    pub fn code(self) -> i64 {
        self as i64 + 1
    }

    /// The level of a stored number.
    pub fn from_code(code: i64) -> Option<Level> {
        [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error]
            .get(usize::try_from(code - 1).ok()?)
            .copied()
    }
}

/// A line that a handler logged.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// Position among the lines of this epoch, counted from 1.
    pub sequence: i64,
    /// The run it belongs to.
    pub run: Run,
    /// The attempt's epoch.
    pub epoch: Epoch,
    /// When it was logged.
    pub time: Time,
    /// How bad it is.
    pub level: Level,
    /// The text.
    pub message: String,
    /// Structured fields as a JSON object of strings; empty for none.
    pub fields: String,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    /// Still running.
    Running,
    /// The handler returned a result.
    Completed,
    /// The handler failed.
    Failed,
    /// It took too long.
    TimedOut,
    /// Its worker process died.
    Crashed,
    /// It was given back unfinished.
    Released,
    /// It was cancelled.
    Cancelled,
    /// Its claim's answer never arrived.
    NotReceived,
}

/// Added to the stored number of an end that was the server's decision, not its holder's word.
pub const TAKEN: i64 = 64;

impl AttemptEnd {
    const ALL: [AttemptEnd; 8] = [
        AttemptEnd::Running,
        AttemptEnd::Completed,
        AttemptEnd::Failed,
        AttemptEnd::TimedOut,
        AttemptEnd::Crashed,
        AttemptEnd::Released,
        AttemptEnd::Cancelled,
        AttemptEnd::NotReceived,
    ];

    /// The number that is stored.
    pub fn code(self) -> i64 {
        self as i64
    }

    /// The end of a stored number.
    pub fn from_code(code: i64) -> Option<AttemptEnd> {
        Self::ALL.get(usize::try_from(code % TAKEN).ok()?).copied()
    }
}

/// One attempt at a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The run it belongs to.
    pub run: Run,
    /// Its number within the run, counted from 1; a released attempt's number is used again.
    pub attempt: i32,
    /// Its epoch.
    pub epoch: Epoch,
    /// The session that held it.
    pub session: SessionId,
    /// The worker process's name.
    pub worker_process: String,
    /// When it was leased.
    pub start_time: Time,
    /// When it ended.
    pub finish_time: Option<Time>,
    /// How it ended.
    pub end: AttemptEnd,
    /// What went wrong, if it did.
    pub error: Option<JobError>,
    /// When the next attempt may start, if this is the last one and there is to be another.
    pub retry_time: Option<Time>,
}
