//! Transient runs: commands that run on a worker process now and are never stored.
//!
//! They are jobs all the same: with an id, an epoch and a nonce for their lease, so that a worker process and its reports
//! need to know nothing of them. Their ids are negative and drawn at random: those of stored jobs are positive, and two
//! servers never draw the same one. People know a transient run by its ref id alone.

use super::{Circumstances, Ended, FailureReason, JobError, JobId, Next, RetryPolicy, after_attempt};

impl JobId {
    /// The id of a transient run, from 63 random bits.
    pub fn transient(random: i64) -> JobId {
        JobId(-random.max(1))
    }

    /// Is it the id of a transient run?
    pub fn is_transient(self) -> bool {
        self.0 < 0
    }

    /// The number that people and worker processes see: none for a transient run.
    pub fn shown(self) -> i64 {
        if self.is_transient() { 0 } else { self.0 }
    }
}

impl RetryPolicy {
    /// The policy of transient runs: what failed, or lost its worker process, is not repeated.
    pub fn transient() -> RetryPolicy {
        RetryPolicy { profile: "none".into(), retry_limit: 0, crash_limit: 0, ..RetryPolicy::default() }
    }
}

/// Decides what follows the end of a transient run's attempt, as [`after_attempt`] does: what went back unharmed waits for
/// another worker process, anything else ends the run.
pub fn after_transient(ended: &Ended, at: &Circumstances<'_>) -> Next {
    let lost = match ended {
        Ended::Crashed { .. } => Some(Ended::Failed {
            error: JobError {
                code: String::new(),
                message: "the worker process was lost while it ran the command".into(),
                stack: String::new(),
                reason: FailureReason::Crash,
            },
            retryable: Some(false),
            retry_delay: None,
        }),
        _ => None,
    };
    after_attempt(lost.as_ref().unwrap_or(ended), at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CancelReason, Ending, Time, Turn};

    fn after(ended: &Ended, cancel: Option<&str>) -> Next {
        let policy = RetryPolicy::transient();
        let turn = Turn { attempt: 1, ..Turn::default() };
        let timeout = std::time::Duration::from_secs(1);
        let (run_time, now) = (Time(0), Time(1));
        let cancel = cancel.map(|text| (CancelReason::Client, text));
        let at = Circumstances { policy: &policy, turn, run_time, now, cancel, timeout, chance: 0.0 };
        after_transient(ended, &at)
    }

    fn reason(next: &Next) -> Option<FailureReason> {
        match next {
            Next::Done { ending: Ending::Failed, error, .. } => error.as_ref().map(|error| error.reason),
            _ => None,
        }
    }

    #[test]
    fn nothing_is_repeated_but_what_went_back_unharmed() {
        assert_eq!(reason(&after(&Ended::Crashed { acknowledged: true }, None)), Some(FailureReason::Crash));
        assert_eq!(reason(&after(&Ended::TimedOut, None)), Some(FailureReason::Timeout));
        for ended in [Ended::Released, Ended::Undelivered] {
            assert!(matches!(after(&ended, None), Next::Ready { turn, .. } if turn.attempt == 0));
        }
        assert!(matches!(
            after(&Ended::Released, Some("stop")),
            Next::Done { ending: Ending::Cancelled, .. }
        ));
    }

    #[test]
    fn an_id_is_negative_whatever_is_drawn() {
        for random in [0, 1, i64::MAX] {
            assert!(JobId::transient(random).is_transient() && JobId::transient(random).shown() == 0);
        }
        assert!(!JobId(1).is_transient() && JobId(7).shown() == 7);
    }
}
