//! Shorthand for messages of the contract.

use haulier_proto::v1 as pb;

use pb::payload::Kind;

/// An enqueue of a command without anything else.
pub fn command(command: &str) -> pb::EnqueueCommandRequest {
    pb::EnqueueCommandRequest { command: command.into(), ..Default::default() }
}

/// An enqueue of a command with options.
pub fn command_with(name: &str, options: pb::JobOptions) -> pb::EnqueueCommandRequest {
    pb::EnqueueCommandRequest { options: Some(options), ..command(name) }
}

/// A payload of JSON text.
pub fn json(text: &str) -> Option<pb::Payload> {
    Some(pb::Payload { kind: Some(Kind::Json(text.into())), content_type: String::new() })
}

/// The JSON text of a payload; it must be there.
#[track_caller]
pub fn text_of(payload: &Option<pb::Payload>) -> &str {
    match payload.as_ref().and_then(|payload| payload.kind.as_ref()) {
        Some(Kind::Json(text)) => text,
        other => panic!("wanted JSON, got {other:?}"),
    }
}

/// A retry policy that waits the same time before each retry.
pub fn fixed_retry(retry_limit: i32, wait_seconds: f64) -> Option<pb::RetryPolicy> {
    Some(pb::RetryPolicy {
        retry_limit: Some(retry_limit),
        backoff: pb::Backoff::Fixed.into(),
        first_delay: crate::seconds(wait_seconds),
        ..Default::default()
    })
}

/// The end of an attempt that is done, with a JSON result.
pub fn completed(result: &str) -> pb::outcome_report::Outcome {
    pb::outcome_report::Outcome::Complete(pb::CompleteOutcome { result: json(result), ..Default::default() })
}

/// The end of an attempt that failed.
pub fn failed(message: &str) -> pb::outcome_report::Outcome {
    pb::outcome_report::Outcome::Fail(pb::FailOutcome {
        code: "test".into(),
        message: message.into(),
        ..Default::default()
    })
}

/// The job goes back.
pub fn released(reason: &str) -> pb::outcome_report::Outcome {
    pb::outcome_report::Outcome::Release(pb::ReleaseOutcome { reason: reason.into() })
}

/// The handler ended as cancelled.
pub fn cancelled(reason: &str) -> pb::outcome_report::Outcome {
    pb::outcome_report::Outcome::Cancelled(pb::CancelledOutcome { reason: reason.into() })
}
