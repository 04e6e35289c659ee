//! What the histories of a crash test and the final state of the database prove, promise by promise.
//!
//! The checker knows nothing of how the server works: it compares what actors saw with what is left. Each rule is one
//! function; each names the promise of guarantees.md that is broken. It is itself tested with histories that are bad in
//! one way each.

mod facts;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use crate::history::Record;
use facts::Facts;

/// All there is to judge by.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What the actors saw, in the order of time.
    pub records: Vec<Record>,
    /// Every job that the database knows in the end, after everything had time to settle.
    pub jobs: Vec<FinalJob>,
    /// Rows of tables that must be empty when nothing waits and nothing runs, as `table: count`.
    pub left_over: Vec<String>,
    /// Lease time of the worker processes.
    pub lease: Duration,
    /// Time between two ticks of the reaper.
    pub tick: Duration,
}

/// A job as it is in the end.
#[derive(Clone, Debug, PartialEq)]
pub struct FinalJob {
    /// Its id.
    pub id: i64,
    /// The intent that it was made for, as its request says.
    pub key: String,
    /// Each of its runs, oldest first.
    pub runs: Vec<FinalRun>,
    /// Each of its attempts, in the order in which they began.
    pub attempts: Vec<FinalAttempt>,
    /// Its log lines, of all runs.
    pub lines: Vec<FinalLine>,
}

/// A run as it is in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalRun {
    /// Its number.
    pub run: i32,
    /// How it ended.
    pub ending: Ending,
    /// The fencing token of its last attempt; 0: none began.
    pub epoch: i64,
    /// The fencing token that is in its result.
    pub result_epoch: Option<i64>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It has not.
    Live,
    /// With a result.
    Completed,
    /// Its handler failed for good.
    Failed,
    /// It lost its worker process too often.
    Poison,
    /// It was cancelled.
    Cancelled,
}

/// An attempt as it is in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalAttempt {
    /// Its run.
    pub run: i32,
    /// Its number in the run.
    pub attempt: i32,
    /// Its fencing token.
    pub epoch: i64,
    /// The worker process that held it.
    pub worker: String,
    /// How it ended.
    pub end: AttemptEnd,
    /// When it began, by the database's clock, microseconds.
    pub start: i64,
    /// When it ended, by the database's clock, microseconds.
    pub finish: Option<i64>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// It has not.
    Running,
    /// Its handler returned a result.
    Completed,
    /// Its handler failed.
    Failed,
    /// It took too long.
    TimedOut,
    /// The session of its worker process was lost.
    Crashed,
    /// It was given back.
    Released,
    /// It was cancelled.
    Cancelled,
}

/// A log line as it is in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalLine {
    /// Its run.
    pub run: i32,
    /// The fencing token under which it is stored.
    pub epoch: i64,
    /// Its place among the lines of its attempt.
    pub sequence: i64,
    /// Its text, which begins with the fencing token of who wrote it.
    pub text: String,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which, by its number in guarantees.md.
    pub guarantee: u8,
    /// How.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "G{}: {}", self.guarantee, self.text)
    }
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Broken promises; none if all is well.
    pub findings: Vec<Finding>,
    /// What was counted and measured, for people.
    pub figures: Vec<String>,
}

/// Judges.
pub fn check(evidence: &Evidence) -> Verdict {
    let facts = Facts::of(evidence);
    let mut verdict = Verdict::default();
    for rule in rules::ALL {
        rule(&facts, &mut verdict);
    }
    verdict
}
