//! What a job does next: the one pure function that decides how an attempt's end moves it on.

use std::time::Duration;

use super::{
    AttemptEnd, CancelReason, Cancelled, Ending, FailureReason, JobError, RetryPolicy, RouteKind, Time, Turn,
    limits,
};

/// How an attempt ended, as its worker process or the reaper tells it.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// The handler returned a result.
    Completed,
    /// The handler failed.
    Failed {
        /// What went wrong.
        error: JobError,
        /// The handler's own word on whether to try again.
        retryable: Option<bool>,
        /// The handler's own word on when to try again.
        retry_delay: Option<Duration>,
    },
    /// Its timeout and the grace after it are over.
    TimedOut,
    /// Its session was lost; had the claim's answer been acknowledged?
    Crashed {
        /// It had: the attempt may have killed its worker process.
        acknowledged: bool,
    },
    /// The holder gave it back unfinished.
    Released,
    /// The server took it back unfinished: the session ended while it held the job.
    TakenBack,
    /// The claim's answer never arrived, so it never started: its worker process said so.
    Undelivered,
    /// The handler ended as cancelled.
    Cancelled(String),
    /// A cancel request's grace is over.
    Forced,
}

impl Ended {
    /// Is this the holder's own word? Only then may a repeat of it be answered as stored: whoever lost a lease to the
    /// server's decision must hear that it is lost.
    pub fn is_holders(&self) -> bool {
        matches!(self, Ended::Completed | Ended::Failed { .. } | Ended::Released | Ended::Cancelled(_))
    }
}

/// Where the job goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Back to the ready table.
    Ready {
        /// Not claimed before this time.
        ready_time: Time,
        /// The turn with its new counts; the epoch is raised by the store.
        turn: Turn,
        /// How it is given out from now on.
        kind: RouteKind,
        /// What is kept of the attempt.
        attempt: Option<(AttemptEnd, Option<JobError>)>,
    },
    /// To the history.
    Done {
        /// How the run ended.
        ending: Ending,
        /// The turn with its final counts.
        turn: Turn,
        /// How the last attempt ended.
        attempt: AttemptEnd,
        /// The error, if it failed.
        error: Option<JobError>,
        /// The cancellation, if it was cancelled.
        cancelled: Option<Cancelled>,
    },
}

/// Everything else the decision depends on.
#[derive(Clone, Debug)]
pub struct Circumstances<'a> {
    /// The job's retry policy.
    pub policy: &'a RetryPolicy,
    /// Counts, this attempt included.
    pub turn: Turn,
    /// When the run began.
    pub run_time: Time,
    /// The time now.
    pub now: Time,
    /// Kind and words of a cancel request, if one is pending.
    pub cancel: Option<(CancelReason, &'a str)>,
    /// The attempt's timeout, for the message.
    pub timeout: Duration,
    /// In `0.0..1.0`, decides the jitter.
    pub chance: f64,
}

/// Decides what follows an attempt's end.
///
/// A cancel request wins over everything but a result: a handler that returns a value completes the job.
pub fn after_attempt(ended: &Ended, at: &Circumstances<'_>) -> Next {
    if let (Some((asked, text)), false) = (at.cancel, matches!(ended, Ended::Completed)) {
        let kind = if *ended == Ended::Forced { CancelReason::Forced } else { asked };
        return cancelled(at.turn, kind, text);
    }
    match ended {
        Ended::Completed => {
            let turn = Turn { unacknowledged: 0, ..at.turn };
            Next::Done {
                ending: Ending::Completed,
                turn,
                attempt: AttemptEnd::Completed,
                error: None,
                cancelled: None,
            }
        }
        Ended::Failed { error, retryable, retry_delay } => {
            // A worker process that keeps the time itself says so in the reason.
            let timed_out = error.reason == FailureReason::Timeout;
            let end = if timed_out { AttemptEnd::TimedOut } else { AttemptEnd::Failed };
            after_failure(end, error.clone(), *retryable, *retry_delay, at)
        }
        Ended::TimedOut => {
            let message = format!("the attempt took longer than its timeout of {:?}", at.timeout);
            after_failure(AttemptEnd::TimedOut, plain_error(FailureReason::Timeout, message), None, None, at)
        }
        Ended::Crashed { acknowledged } => after_crash(*acknowledged, at),
        Ended::Released | Ended::TakenBack => {
            let turn = Turn { attempt: at.turn.attempt - 1, unacknowledged: 0, ..at.turn };
            ready_again(at, turn, Some((AttemptEnd::Released, None)))
        }
        Ended::Undelivered => {
            let turn = Turn { attempt: at.turn.attempt - 1, ..at.turn };
            ready_again(at, turn, Some((AttemptEnd::NotReceived, None)))
        }
        Ended::Cancelled(reason) => cancelled(at.turn, CancelReason::Handler, reason),
        Ended::Forced => cancelled(at.turn, CancelReason::Forced, ""),
    }
}

fn after_failure(
    end: AttemptEnd,
    error: JobError,
    retryable: Option<bool>,
    retry_delay: Option<Duration>,
    at: &Circumstances<'_>,
) -> Next {
    let turn = Turn { unacknowledged: 0, ..at.turn };
    let refused = retryable == Some(false);
    if refused || turn.attempt > at.policy.retry_limit {
        let reason = if refused && error.reason == FailureReason::Handler {
            FailureReason::NonRetryable
        } else {
            error.reason
        };
        return failed(turn, end, JobError { reason, ..error });
    }
    let delay = retry_delay.unwrap_or_else(|| at.policy.delay(turn.attempt, at.chance));
    let ready_time = at.now.plus(delay);
    if at.policy.give_up_after.is_some_and(|most| ready_time > at.run_time.plus(most)) {
        return failed(turn, end, JobError { reason: FailureReason::Abandoned, ..error });
    }
    Next::Ready { ready_time, turn, kind: kind_of(turn), attempt: Some((end, Some(error))) }
}

/// Crashes are counted apart from attempts. A claim whose answer never arrived counts as one only when it
/// happened several times in a row: then the job, not the network, is suspected.
fn after_crash(acknowledged: bool, at: &Circumstances<'_>) -> Next {
    let unacknowledged = if acknowledged { 0 } else { at.turn.unacknowledged + 1 };
    let counts = acknowledged || unacknowledged >= limits::UNACKNOWLEDGED_PER_CRASH;
    let turn = Turn {
        attempt: at.turn.attempt - 1,
        crashes: at.turn.crashes + i32::from(counts),
        unacknowledged: if counts { 0 } else { unacknowledged },
        ..at.turn
    };
    let message = "the worker process was lost while it ran the job";
    if counts && turn.crashes > at.policy.crash_limit {
        let message = format!(
            "{message}, for the {}. time: the job is suspected to kill its worker process",
            turn.crashes
        );
        return failed(turn, AttemptEnd::Crashed, plain_error(FailureReason::Poison, message));
    }
    let attempt = if acknowledged {
        (AttemptEnd::Crashed, Some(plain_error(FailureReason::Crash, message.into())))
    } else {
        (AttemptEnd::NotReceived, None)
    };
    ready_again(at, turn, Some(attempt))
}

fn ready_again(at: &Circumstances<'_>, turn: Turn, attempt: Option<(AttemptEnd, Option<JobError>)>) -> Next {
    Next::Ready { ready_time: at.now, turn, kind: kind_of(turn), attempt }
}

/// After two crashes a job is given only to a worker process that runs nothing else.
fn kind_of(turn: Turn) -> RouteKind {
    if turn.crashes >= limits::CRASH_LIMIT_DEFAULT { RouteKind::Quarantined } else { RouteKind::Plain }
}

fn failed(turn: Turn, attempt: AttemptEnd, error: JobError) -> Next {
    Next::Done { ending: Ending::Failed, turn, attempt, error: Some(error), cancelled: None }
}

fn cancelled(turn: Turn, reason: CancelReason, text: &str) -> Next {
    Next::Done {
        ending: Ending::Cancelled,
        turn,
        attempt: AttemptEnd::Cancelled,
        error: None,
        cancelled: Some(Cancelled { reason, text: text.into() }),
    }
}

fn plain_error(reason: FailureReason, message: String) -> JobError {
    JobError { code: String::new(), message, stack: String::new(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Time = Time(1_000_000_000);

    fn at(policy: &RetryPolicy, turn: Turn) -> Circumstances<'_> {
        let timeout = limits::TIMEOUT_DEFAULT;
        Circumstances { policy, turn, run_time: NOW, now: NOW, cancel: None, timeout, chance: 0.0 }
    }

    fn turn(attempt: i32) -> Turn {
        Turn { attempt, ..Turn::default() }
    }

    fn failure() -> Ended {
        let error = plain_error(FailureReason::Handler, "no".into());
        Ended::Failed { error, retryable: None, retry_delay: None }
    }

    fn reason(next: &Next) -> Option<FailureReason> {
        match next {
            Next::Done { error, .. } => error.as_ref().map(|error| error.reason),
            Next::Ready { .. } => None,
        }
    }

    #[test]
    fn a_failed_attempt_is_repeated_until_the_limit() {
        let policy = RetryPolicy::default();
        assert!(matches!(after_attempt(&failure(), &at(&policy, turn(1))), Next::Ready { .. }));
        assert!(matches!(after_attempt(&failure(), &at(&policy, turn(2))), Next::Ready { .. }));
        let last = after_attempt(&failure(), &at(&policy, turn(3)));
        assert_eq!(reason(&last), Some(FailureReason::Handler));
    }

    #[test]
    fn a_handler_decides_whether_and_when_to_try_again() {
        let policy = RetryPolicy::default();
        let error = plain_error(FailureReason::Handler, "no".into());
        let never = Ended::Failed { error: error.clone(), retryable: Some(false), retry_delay: None };
        assert_eq!(reason(&after_attempt(&never, &at(&policy, turn(1)))), Some(FailureReason::NonRetryable));
        let later = Ended::Failed { error, retryable: None, retry_delay: Some(Duration::from_secs(77)) };
        let next = after_attempt(&later, &at(&policy, turn(1)));
        assert!(
            matches!(next, Next::Ready { ready_time, .. } if ready_time == NOW.plus(Duration::from_secs(77)))
        );
    }

    #[test]
    fn a_timeout_is_a_failure_like_any_other() {
        let policy = RetryPolicy { retry_limit: 0, ..RetryPolicy::default() };
        assert_eq!(
            reason(&after_attempt(&Ended::TimedOut, &at(&policy, turn(1)))),
            Some(FailureReason::Timeout)
        );
    }

    #[test]
    fn a_retry_after_the_give_up_time_is_not_made() {
        let give_up_after = Some(Duration::from_secs(4));
        let policy =
            RetryPolicy { give_up_after, backoff: super::super::Backoff::Fixed, ..RetryPolicy::default() };
        assert_eq!(reason(&after_attempt(&failure(), &at(&policy, turn(1)))), Some(FailureReason::Abandoned));
    }

    #[test]
    fn a_release_and_a_lost_answer_spend_no_attempt() {
        let policy = RetryPolicy::default();
        for ended in [Ended::Released, Ended::Undelivered] {
            let next = after_attempt(&ended, &at(&policy, turn(2)));
            assert!(
                matches!(next, Next::Ready { turn, ready_time: NOW, .. } if turn.attempt == 1),
                "{ended:?}"
            );
        }
    }

    #[test]
    fn a_job_that_crashes_its_worker_process_is_quarantined_and_then_poison() {
        let policy = RetryPolicy::default();
        let crashed = Ended::Crashed { acknowledged: true };
        let after = |crashes| after_attempt(&crashed, &at(&policy, Turn { crashes, ..turn(1) }));
        assert!(matches!(
            after(0),
            Next::Ready { kind: RouteKind::Plain, turn: Turn { attempt: 0, crashes: 1, .. }, .. }
        ));
        assert!(matches!(after(1), Next::Ready { kind: RouteKind::Quarantined, .. }));
        assert_eq!(reason(&after(2)), Some(FailureReason::Poison));
    }

    #[test]
    fn a_crash_limit_of_zero_makes_a_crash_final() {
        let policy = RetryPolicy { crash_limit: 0, ..RetryPolicy::default() };
        let next = after_attempt(&Ended::Crashed { acknowledged: true }, &at(&policy, turn(1)));
        assert_eq!(reason(&next), Some(FailureReason::Poison));
    }

    #[test]
    fn the_third_answer_in_a_row_that_never_arrived_counts_as_a_crash() {
        let policy = RetryPolicy::default();
        let silent = Ended::Crashed { acknowledged: false };
        let after =
            |unacknowledged| match after_attempt(&silent, &at(&policy, Turn { unacknowledged, ..turn(1) })) {
                Next::Ready { turn, .. } => (turn.crashes, turn.unacknowledged),
                Next::Done { .. } => panic!("it goes back"),
            };
        assert_eq!(after(0), (0, 1));
        assert_eq!(after(1), (0, 2));
        assert_eq!(after(2), (1, 0));
    }

    #[test]
    fn a_cancel_request_wins_over_everything_but_a_result() {
        let policy = RetryPolicy::default();
        let cancelled = |ended: &Ended| {
            let at = Circumstances { cancel: Some((CancelReason::Client, "enough")), ..at(&policy, turn(1)) };
            match after_attempt(ended, &at) {
                Next::Done { cancelled, .. } => cancelled.map(|cancelled| cancelled.reason),
                Next::Ready { .. } => None,
            }
        };
        for ended in [failure(), Ended::TimedOut, Ended::Released, Ended::Crashed { acknowledged: true }] {
            assert_eq!(cancelled(&ended), Some(CancelReason::Client), "{ended:?}");
        }
        assert_eq!(cancelled(&Ended::Forced), Some(CancelReason::Forced));
        assert_eq!(cancelled(&Ended::Completed), None);
    }

    fn any_ended() -> impl Strategy<Value = Ended> {
        prop_oneof![
            Just(Ended::Completed),
            Just(failure()),
            Just(Ended::TimedOut),
            any::<bool>().prop_map(|acknowledged| Ended::Crashed { acknowledged }),
            Just(Ended::Released),
            Just(Ended::Undelivered),
            Just(Ended::Cancelled("done with it".into())),
        ]
    }

    proptest! {
        /// G15: starts never exceed 1 + retry_limit + crashes + releases, whatever happens to the attempts; a claim whose
        /// answer never arrived is no start.
        #[test]
        fn starts_are_bounded(
            ends in proptest::collection::vec(any_ended(), 0..200), retry_limit in 0..5, crash_limit in 0..3,
        ) {
            let policy = RetryPolicy { retry_limit, crash_limit, ..RetryPolicy::default() };
            let (mut turn, mut starts, mut free) = (Turn::default(), 0, 0);
            for ended in ends {
                turn.attempt += 1;
                let silent = matches!(ended, Ended::Undelivered | Ended::Crashed { acknowledged: false });
                starts += i32::from(!silent);
                free += i32::from(ended == Ended::Released);
                match after_attempt(&ended, &at(&policy, turn)) {
                    Next::Ready { turn: next, .. } => turn = next,
                    Next::Done { turn: last, .. } => {
                        turn = last;
                        break;
                    }
                }
                prop_assert!(turn.attempt >= 0);
            }
            prop_assert!(turn.crashes <= crash_limit + 1);
            prop_assert!(starts <= 1 + retry_limit + turn.crashes + free);
        }
    }
}
