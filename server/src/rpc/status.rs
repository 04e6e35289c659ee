//! Errors of the engine as gRPC statuses: one table, the same for every method.

use std::any::Any;
use std::collections::HashMap;
use std::time::Duration;

use haulier_proto::v1::ErrorReason;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::convert;
use crate::engine::{Error, Violation};
use crate::model::limits;

const DOMAIN: &str = "haulier";
/// When to try again after the database could not be used, or this server stopped.
const RETRY_SOON: Duration = Duration::from_secs(1);
/// When to try again after the database had no room.
const RETRY_LATER: Duration = Duration::from_secs(30);

/// The status of an error.
pub(crate) fn of(error: Error) -> Status {
    let message = error.to_string();
    match error {
        Error::Invalid(violations) => bad_request(ErrorReason::InvalidField, message, violations),
        Error::ParentNotFound(violation) => {
            bad_request(ErrorReason::ParentNotFound, message, vec![violation])
        }
        Error::BadToken { field, message: why } => {
            let violation = Violation { field: field.into(), message: why };
            bad_request(ErrorReason::BadToken, message, vec![violation])
        }
        Error::JobNotFound(_) => plain(Code::NotFound, ErrorReason::JobNotFound, message),
        Error::NotFound { kind, name } => {
            let metadata = [("kind", kind.into()), ("name", name)];
            told(Code::NotFound, ErrorReason::ResourceNotFound, message, metadata)
        }
        Error::RefTaken { job, .. } => {
            let metadata = [("job_id", job.to_string()), ("field", "ref_id".into())];
            told(Code::AlreadyExists, ErrorReason::RefIdTaken, message, metadata)
        }
        Error::RequestReused(_) => plain(Code::AlreadyExists, ErrorReason::RequestIdReused, message),
        Error::WrongState { state, .. } => {
            let metadata = [("state", convert::state_name(state).into())];
            told(Code::FailedPrecondition, ErrorReason::WrongState, message, metadata)
        }
        Error::LockHeld { owner, token, .. } => {
            let metadata = [("owner", owner), ("fencing_token", token.to_string())];
            told(Code::FailedPrecondition, ErrorReason::LockHeld, message, metadata)
        }
        Error::LockLost(_) => plain(Code::Aborted, ErrorReason::LockLost, message),
        Error::MonthInUse { month, .. } => {
            told(Code::FailedPrecondition, ErrorReason::MonthInUse, message, [("month", month.dashed())])
        }
        Error::NoWorkerHere { command, queue } => {
            let metadata = [("command", command), ("queue", queue)];
            told(Code::Unavailable, ErrorReason::NoWorkerHere, message, metadata)
        }
        Error::LeaseLost => plain(Code::Aborted, ErrorReason::LeaseLost, message),
        Error::SessionLost => plain(Code::Aborted, ErrorReason::SessionLost, message),
        Error::StaleSequence { stored, .. } => {
            told(Code::Aborted, ErrorReason::StaleSequence, message, [("stored", stored.to_string())])
        }
        Error::Overloaded { retry, .. } => {
            try_again(Code::ResourceExhausted, ErrorReason::Overloaded, message, retry)
        }
        Error::TooManyChildren(_) => {
            let limit = [("limit", limits::CHILDREN_MAX.to_string())];
            told(Code::ResourceExhausted, ErrorReason::LimitReached, message, limit)
        }
        Error::DiskFull => try_again(Code::ResourceExhausted, ErrorReason::DiskFull, message, RETRY_LATER),
        Error::Unavailable => {
            try_again(Code::Unavailable, ErrorReason::StoreUnavailable, message, RETRY_SOON)
        }
        Error::ShuttingDown => try_again(Code::Unavailable, ErrorReason::ShuttingDown, message, RETRY_SOON),
        Error::NotSupported(_) => plain(Code::Unimplemented, ErrorReason::NotSupported, message),
        Error::Internal(details) => internal(&details),
    }
}

/// Answers for a path that is no method of ours.
pub(crate) fn unknown_method(path: &str) -> tonic::codegen::http::Response<Body> {
    let path: String = path.chars().take(200).collect();
    of(Error::NotSupported(format!("the method {path:?}"))).into_http()
}

/// Answers for a call whose deadline passed before there was an answer.
pub(crate) fn deadline_exceeded() -> tonic::codegen::http::Response<Body> {
    let message =
        "the caller's deadline passed; whether it was done is not known, repeat it with the same request id";
    plain(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, message.into()).into_http()
}

/// Answers for a handler that panicked: our own fault, told to the log and not to the caller.
pub(crate) fn of_panic(panic: Box<dyn Any + Send + 'static>) -> tonic::codegen::http::Response<Body> {
    let said =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    internal(&format!("a handler panicked: {}", said.unwrap_or("it did not say why"))).into_http()
}

fn internal(details: &str) -> Status {
    let error_id = uuid::Uuid::new_v4().simple().to_string();
    tracing::error!(error_id, details, "internal error");
    let message = format!("an internal error of the server, its log has it under {error_id}");
    told(Code::Internal, ErrorReason::Internal, message, [("error_id", error_id)])
}

fn bad_request(reason: ErrorReason, message: String, violations: Vec<Violation>) -> Status {
    let mut details = info(reason, []);
    for Violation { field, message } in violations {
        details.add_bad_request_violation(field, message);
    }
    Status::with_error_details(Code::InvalidArgument, message, details)
}

fn try_again(code: Code, reason: ErrorReason, message: String, after: Duration) -> Status {
    let mut details = info(reason, []);
    details.set_retry_info(Some(after));
    Status::with_error_details(code, message, details)
}

fn told<const N: usize>(
    code: Code,
    reason: ErrorReason,
    message: String,
    metadata: [(&str, String); N],
) -> Status {
    Status::with_error_details(code, message, info(reason, metadata))
}

fn plain(code: Code, reason: ErrorReason, message: String) -> Status {
    told(code, reason, message, [])
}

fn info<const N: usize>(reason: ErrorReason, metadata: [(&str, String); N]) -> ErrorDetails {
    let name = reason.as_str_name().trim_start_matches("ERROR_REASON_");
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    ErrorDetails::with_error_info(name, DOMAIN, metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, JobId, State};

    /// Code, reason, one entry of the metadata, and whether it says when to try again.
    fn shown(error: Error) -> (Code, String, HashMap<String, String>, bool) {
        let status = of(error);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.domain, "haulier");
        let retry = status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some());
        (status.code(), info.reason, info.metadata, retry)
    }

    #[test]
    fn every_error_has_its_code_and_reason() {
        let job = JobId(7);
        let table = [
            (Error::invalid("f", "is wrong"), Code::InvalidArgument, "INVALID_FIELD", false),
            (Error::BadToken { field: "t", message: "m".into() }, Code::InvalidArgument, "BAD_TOKEN", false),
            (Error::JobNotFound("id 7".into()), Code::NotFound, "JOB_NOT_FOUND", false),
            (Error::NotFound { kind: "k", name: "n".into() }, Code::NotFound, "RESOURCE_NOT_FOUND", false),
            (Error::RefTaken { ref_id: "r".into(), job }, Code::AlreadyExists, "REF_ID_TAKEN", false),
            (Error::RequestReused("r".into()), Code::AlreadyExists, "REQUEST_ID_REUSED", false),
            (
                Error::WrongState { state: State::Running, message: "m".into() },
                Code::FailedPrecondition,
                "WRONG_STATE",
                false,
            ),
            (
                Error::LockHeld { name: "n".into(), owner: "o".into(), token: Epoch(7) },
                Code::FailedPrecondition,
                "LOCK_HELD",
                false,
            ),
            (Error::LockLost("n".into()), Code::Aborted, "LOCK_LOST", false),
            (
                Error::NoWorkerHere { command: "c".into(), queue: "q".into() },
                Code::Unavailable,
                "NO_WORKER_HERE",
                false,
            ),
            (Error::LeaseLost, Code::Aborted, "LEASE_LOST", false),
            (Error::SessionLost, Code::Aborted, "SESSION_LOST", false),
            (Error::StaleSequence { given: 1, stored: 2 }, Code::Aborted, "STALE_SEQUENCE", false),
            (
                Error::Overloaded { message: "m".into(), retry: RETRY_SOON },
                Code::ResourceExhausted,
                "OVERLOADED",
                true,
            ),
            (Error::DiskFull, Code::ResourceExhausted, "DISK_FULL", true),
            (Error::Unavailable, Code::Unavailable, "STORE_UNAVAILABLE", true),
            (Error::ShuttingDown, Code::Unavailable, "SHUTTING_DOWN", true),
            (Error::NotSupported("x".into()), Code::Unimplemented, "NOT_SUPPORTED", false),
            (Error::Internal("secret".into()), Code::Internal, "INTERNAL", false),
        ];
        for (error, code, reason, retry) in table {
            let (shown_code, shown_reason, _, shown_retry) = shown(error);
            assert_eq!((shown_code, shown_reason.as_str(), shown_retry), (code, reason, retry));
        }
    }

    #[test]
    fn metadata_says_what_programs_need() {
        let (.., metadata, _) = shown(Error::RefTaken { ref_id: "r".into(), job: JobId(7) });
        assert_eq!((metadata["job_id"].as_str(), metadata["field"].as_str()), ("7", "ref_id"));
        let (.., metadata, _) = shown(Error::WrongState { state: State::Running, message: "m".into() });
        assert_eq!(metadata["state"], "RUNNING");
        let (.., metadata, _) = shown(Error::NotFound { kind: "worker process", name: "n".into() });
        assert_eq!(metadata["kind"], "worker process");
    }

    #[test]
    fn bad_input_names_each_field() {
        let violation = |field: &str| Violation { field: field.into(), message: "is wrong".into() };
        let status = of(Error::Invalid(vec![violation("a.b"), violation("c")]));
        let fields: Vec<String> = status
            .get_details_bad_request()
            .unwrap()
            .field_violations
            .into_iter()
            .map(|one| one.field)
            .collect();
        assert_eq!(fields, ["a.b", "c"]);
        assert_eq!(status.message(), "invalid argument: a.b is wrong; c is wrong");
    }

    #[test]
    fn an_internal_error_tells_its_id_and_nothing_else() {
        let status = of(Error::Internal("SELECT secret FROM there".into()));
        let id = status.get_details_error_info().unwrap().metadata["error_id"].clone();
        assert!(
            status.message().contains(&id) && !status.message().contains("SELECT"),
            "{}",
            status.message()
        );
    }

    #[test]
    fn a_panic_is_an_internal_error() {
        let response = of_panic(Box::new("secret"));
        assert_eq!(response.headers()["grpc-status"], "13");
        assert!(!format!("{response:?}").contains("secret"));
    }
}
