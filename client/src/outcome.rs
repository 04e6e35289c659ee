//! How an attempt ended, as pure decisions: from what the handler did and what it was told.

use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_proto::v1::outcome_report::Outcome;

use crate::errors::{HandlerError, Verdict};
use crate::job::{Stop, StopReason};
use crate::options::duration;
use crate::payload::Payload;
use crate::report::cut;

const CODE_CHARS_MAX: usize = 255;
const MESSAGE_BYTES_MAX: usize = 4 << 10;
const STACK_BYTES_MAX: usize = 32 << 10;
const REASON_BYTES_MAX: usize = 4 << 10;
const RETRY_DELAY_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// How a handler ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With a result, and jobs to store with it.
    Value(Payload, Vec<pb::EnqueueItem>),
    /// With an error, which may be that it was cancelled.
    Error(HandlerError),
    /// It panicked.
    Panicked(String),
    /// It did not stop in time, or the runtime that ran it went away.
    Dropped,
    /// It never ran here, for this reason.
    NotRun(&'static str),
}

/// The outcome to report. None: there is nothing to say any more, since the lease is lost.
///
/// The rule stands in lifecycle.md, "Stop signals and what a handler then does".
pub(crate) fn decide(ended: Ended, stop: Option<&Stop>) -> Option<Outcome> {
    if stop.is_some_and(|stop| stop.reason == StopReason::LeaseLost) {
        return None;
    }
    Some(match ended {
        Ended::Value(result, enqueue) => {
            Outcome::Complete(pb::CompleteOutcome { result: result.into(), enqueue })
        }
        Ended::Error(error) if error.is_cancelled() => obeyed(stop, "the handler stopped"),
        Ended::Error(error) => failed(&error),
        Ended::Panicked(message) => fail("Panic", format!("the handler panicked: {message}")),
        Ended::NotRun(why) => release(why),
        Ended::Dropped => match stop {
            Some(_) => obeyed(stop, "the handler did not stop in time and was dropped"),
            None => release("the runtime of the handler went away"),
        },
    })
}

/// What it comes to when the handler stops as it was told, or is made to.
fn obeyed(stop: Option<&Stop>, how: &str) -> Outcome {
    let Some(stop) = stop else { return cancelled("the handler ended itself as cancelled") };
    match stop.reason {
        StopReason::Client => cancelled(&stop.message),
        StopReason::Drain => release(&format!("the worker process drains: {how}")),
        StopReason::LeaseInDoubt => release(&format!("the lease was in doubt: {how}")),
        StopReason::Timeout => timed_out(how),
        StopReason::LeaseLost => release("the lease is lost"),
    }
}

fn failed(error: &HandlerError) -> Outcome {
    let mut fail = pb::FailOutcome {
        code: error.code().chars().take(CODE_CHARS_MAX).collect(),
        message: cut(error.message().to_owned(), MESSAGE_BYTES_MAX),
        stack: cut(error.stack().to_owned(), STACK_BYTES_MAX),
        ..Default::default()
    };
    match error.verdict() {
        Verdict::ByPolicy | Verdict::Cancelled => {}
        Verdict::Never => fail.retryable = Some(false),
        Verdict::After(delay) => fail.retry_delay = Some(duration(delay.min(RETRY_DELAY_MAX))),
        Verdict::UnreadableRequest => {
            fail.retryable = Some(false);
            fail.reason = pb::FailureReason::UnreadableRequest.into();
        }
        Verdict::UnstorableResult => {
            fail.retryable = Some(false);
            fail.reason = pb::FailureReason::UnstorableResult.into();
        }
    }
    Outcome::Fail(fail)
}

fn fail(code: &str, message: String) -> Outcome {
    let message = cut(message, MESSAGE_BYTES_MAX);
    Outcome::Fail(pb::FailOutcome { code: code.to_owned(), message, ..Default::default() })
}

fn timed_out(how: &str) -> Outcome {
    Outcome::Fail(pb::FailOutcome {
        code: "Timeout".into(),
        message: format!("the timeout of the attempt was over: {how}"),
        reason: pb::FailureReason::Timeout.into(),
        ..Default::default()
    })
}

/// The job goes back without having spent the attempt.
fn release(reason: &str) -> Outcome {
    Outcome::Release(pb::ReleaseOutcome { reason: cut(reason.to_owned(), REASON_BYTES_MAX) })
}

fn cancelled(reason: &str) -> Outcome {
    Outcome::Cancelled(pb::CancelledOutcome { reason: cut(reason.to_owned(), REASON_BYTES_MAX) })
}

/// In place of an outcome that no message can carry.
pub(crate) fn too_large(bytes: usize) -> Outcome {
    unstorable(format!(
        "the result has {bytes} bytes, more than a message can carry: store it elsewhere and give back where"
    ))
}

fn unstorable(why: String) -> Outcome {
    failed(&HandlerError::unstorable_result(why))
}

/// What to report in place of an outcome that the server refused, after so many refusals before. None: nothing is left.
pub(crate) fn after_refusal(refused: Outcome, refusals: u8, field: &str, why: &str) -> Option<Outcome> {
    if refusals > 1 {
        return None;
    }
    Some(match refused {
        Outcome::Complete(_) if field.contains(".enqueue") => {
            let mut fail = pb::FailOutcome {
                retryable: Some(false),
                code: "EnqueueRefused".into(),
                ..Default::default()
            };
            fail.message = cut(
                format!("the jobs to store with the result were refused: {field}: {why}"),
                MESSAGE_BYTES_MAX,
            );
            Outcome::Fail(fail)
        }
        Outcome::Complete(_) => unstorable(format!("the result was refused: {field}: {why}")),
        Outcome::Fail(_) => fail("Refused", cut(format!("the failure was refused: {field}: {why}"), 1 << 10)),
        Outcome::Release(_) => release(""),
        Outcome::Cancelled(_) => cancelled(""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::{Cancelled, NonRetryable, RetryAfter};

    fn stop(reason: StopReason) -> Stop {
        Stop { reason, message: "because".into() }
    }

    fn after(reason: StopReason, ended: Ended) -> Option<Outcome> {
        decide(ended, Some(&stop(reason)))
    }

    fn value() -> Ended {
        Ended::Value(Payload::json(&1).unwrap(), Vec::new())
    }

    fn obeys() -> Ended {
        Ended::Error(Cancelled.into())
    }

    fn breaks() -> Ended {
        Ended::Error(HandlerError::new("broken"))
    }

    const ALL: [StopReason; 4] =
        [StopReason::Client, StopReason::Timeout, StopReason::Drain, StopReason::LeaseInDoubt];

    #[test]
    fn a_value_completes_the_job_whatever_the_handler_was_told() {
        for reason in ALL {
            assert!(matches!(after(reason, value()), Some(Outcome::Complete(_))), "{reason:?}");
        }
        assert!(matches!(decide(value(), None), Some(Outcome::Complete(_))));
    }

    #[test]
    fn a_handler_that_obeys_ends_as_the_reason_says() {
        assert!(
            matches!(after(StopReason::Client, obeys()), Some(Outcome::Cancelled(it)) if it.reason == "because")
        );
        assert!(matches!(after(StopReason::Drain, obeys()), Some(Outcome::Release(_))));
        assert!(matches!(after(StopReason::LeaseInDoubt, obeys()), Some(Outcome::Release(_))));
        let Some(Outcome::Fail(fail)) = after(StopReason::Timeout, obeys()) else { panic!("not a failure") };
        assert_eq!((fail.reason(), fail.retryable), (pb::FailureReason::Timeout, None));
        assert!(matches!(decide(obeys(), None), Some(Outcome::Cancelled(_))), "it ended itself");
    }

    #[test]
    fn a_handler_that_does_not_stop_ends_as_one_that_obeys() {
        assert!(matches!(after(StopReason::Client, Ended::Dropped), Some(Outcome::Cancelled(_))));
        assert!(matches!(after(StopReason::Drain, Ended::Dropped), Some(Outcome::Release(_))));
        assert!(matches!(after(StopReason::Timeout, Ended::Dropped), Some(Outcome::Fail(_))));
        assert!(matches!(decide(Ended::Dropped, None), Some(Outcome::Release(_))));
    }

    #[test]
    fn any_other_error_is_a_failed_attempt() {
        for reason in ALL {
            assert!(matches!(after(reason, breaks()), Some(Outcome::Fail(_))), "{reason:?}");
        }
        let panicked = decide(Ended::Panicked("index out of bounds".into()), None);
        assert!(
            matches!(panicked, Some(Outcome::Fail(fail)) if fail.message.contains("index out of bounds"))
        );
    }

    #[test]
    fn nothing_is_said_of_a_lost_lease() {
        for ended in [value(), obeys(), breaks(), Ended::Dropped] {
            assert_eq!(after(StopReason::LeaseLost, ended), None);
        }
    }

    #[test]
    fn the_handlers_wish_about_retries_travels() {
        let error = |error: HandlerError| match decide(Ended::Error(error), None) {
            Some(Outcome::Fail(fail)) => fail,
            other => panic!("{other:?}"),
        };
        assert_eq!(error(NonRetryable("x").into()).retryable, Some(false));
        let fail = error(RetryAfter(Duration::from_secs(90), "x").into());
        assert_eq!((fail.retryable, fail.retry_delay.unwrap().seconds), (None, 90));
        let fail = error(HandlerError::unreadable_request("x".into()));
        assert_eq!((fail.retryable, fail.reason()), (Some(false), pb::FailureReason::UnreadableRequest));
    }

    #[test]
    fn texts_keep_within_their_limits() {
        let error = HandlerError::new("ö".repeat(10_000)).with_code("c".repeat(1_000));
        let Some(Outcome::Fail(fail)) = decide(Ended::Error(error), None) else { panic!("not a failure") };
        assert!(fail.message.len() <= MESSAGE_BYTES_MAX && fail.code.len() == CODE_CHARS_MAX);
    }

    #[test]
    fn a_refused_outcome_becomes_a_failure_then_a_bare_one_then_nothing() {
        let result = decide(value(), None).unwrap();
        let Some(Outcome::Fail(first)) = after_refusal(result, 0, "outcomes[0].complete.result", "too large")
        else {
            panic!("not a failure")
        };
        assert_eq!((first.reason(), first.retryable), (pb::FailureReason::UnstorableResult, Some(false)));
        let second = after_refusal(Outcome::Fail(first), 1, "outcomes[0].fail", "no").unwrap();
        assert!(matches!(&second, Outcome::Fail(fail) if fail.code == "Refused"));
        assert_eq!(after_refusal(second, 2, "", ""), None);
    }
}
