//! What can go wrong: [`Error`] for callers of the client, [`HandlerError`] for what a handler gives back.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use haulier_proto::v1 as pb;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::command::short_type_name;

/// A result of the client or the worker.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call of the client, or a worker process, did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address, or another setting, cannot be used.
    #[error("{what} cannot be used: {why}")]
    Config {
        /// The setting and its value.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// No connection came about within the deadline.
    #[error("connecting to {address} failed: {source}; is the server running there?")]
    Connect {
        /// Where to.
        address: String,
        /// What the transport said last.
        source: tonic::transport::Error,
    },
    /// The server refused or could not answer.
    #[error(transparent)]
    Server(Box<ServerError>),
    /// The job failed for good.
    #[error(transparent)]
    JobFailed(Box<JobFailed>),
    /// The job was cancelled.
    #[error(transparent)]
    JobCancelled(Box<JobCancelled>),
    /// A value could not be written as JSON.
    #[error("writing {what} as JSON failed: {source}")]
    Encode {
        /// Which value.
        what: &'static str,
        /// What serde says.
        source: serde_json::Error,
    },
    /// A value could not be read from a payload.
    #[error("reading {what} as {expected} failed: {why}")]
    Decode {
        /// Which value.
        what: &'static str,
        /// The type that was expected.
        expected: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The result is there, but the caller may not read payloads.
    #[error("the result of job {job} is hidden: the API key lacks the scope `read payloads`")]
    PayloadsHidden {
        /// The job.
        job: String,
    },
    /// The wait was over first; the job goes on.
    #[error("{what} was not settled within {waited:?}; it goes on")]
    WaitOver {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
    },
    /// The lease of the running job is lost, so nothing about it can be stored any more.
    #[error("the lease is lost: {0} was not stored")]
    LeaseLost(&'static str),
    /// The named lock is no longer surely held: what it was held for has to stop.
    #[error("the lock {name} is lost: {why}")]
    LockLost {
        /// The lock.
        name: String,
        /// How that came about.
        why: String,
    },
    /// The server refused what the handler reported.
    #[error("the server refused {what}: {why}")]
    Refused {
        /// What was reported.
        what: &'static str,
        /// What the server says.
        why: String,
    },
    /// The worker process was told to stop at once, by a second signal; what it held was released.
    #[error("the worker process was told to stop at once")]
    Aborted,
    /// The worker process cannot run.
    #[error("the worker process cannot run: {0}")]
    Worker(String),
}

impl Error {
    /// The gRPC code, if a server or the transport answered with one.
    pub fn code(&self) -> Option<Code> {
        self.server().map(|error| error.code)
    }

    /// The server's reason, such as `REF_ID_TAKEN` or `JOB_NOT_FOUND`.
    pub fn reason(&self) -> Option<&str> {
        self.server().and_then(|error| error.reason.as_deref())
    }

    /// The fields that the server refused; empty when the error is of another kind.
    pub fn violations(&self) -> &[FieldViolation] {
        self.server().map_or(&[], |error| &error.violations)
    }

    /// The job that has the ref id already, when the reason is `REF_ID_TAKEN`.
    pub fn existing_job_id(&self) -> Option<i64> {
        let error = self.server()?;
        (error.reason.as_deref() == Some("REF_ID_TAKEN"))
            .then(|| error.metadata.get("job_id")?.parse().ok())
            .flatten()
    }

    /// The failure of the job, if that is what this error says.
    pub fn job_failed(&self) -> Option<&JobFailed> {
        match self {
            Self::JobFailed(failed) => Some(failed),
            _ => None,
        }
    }

    /// What the server answered, if it was the server.
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Self::Server(error) => Some(error),
            _ => None,
        }
    }

    pub(crate) fn from_status(operation: &'static str, status: &Status) -> Self {
        Self::Server(Box::new(ServerError::read(operation, status)))
    }

    pub(crate) fn config(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Config { what: what.into(), why: why.into() }
    }
}

/// An error that the server answered, or the transport in its place.
#[derive(Debug, Clone)]
pub struct ServerError {
    /// The call, such as `EnqueueCommand`.
    pub operation: &'static str,
    /// The gRPC code.
    pub code: Code,
    /// The reason, one of the names of `haulier.v1.ErrorReason`. None when it did not come from Haulier.
    pub reason: Option<String>,
    /// What it says in words.
    pub message: String,
    /// The fields that break a rule or a limit.
    pub violations: Vec<FieldViolation>,
    /// More about the reason, such as `job_id`, `state`, `limit`, `scope`.
    pub metadata: HashMap<String, String>,
    /// When the server would like to be asked again.
    pub retry_delay: Option<Duration>,
}

impl ServerError {
    fn read(operation: &'static str, status: &Status) -> Self {
        let details = status.get_error_details();
        let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
        let violations = violations
            .into_iter()
            .map(|given| FieldViolation { field: given.field, message: given.description });
        let violations = violations.collect();
        let retry_delay = details.retry_info().and_then(|info| info.retry_delay);
        let reason = details.error_info().map(|info| info.reason.clone());
        let metadata = details.error_info().map(|info| info.metadata.clone()).unwrap_or_default();
        let message = status.message().to_owned();
        Self { operation, code: status.code(), reason, message, violations, metadata, retry_delay }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed with {:?}", self.operation, self.code)?;
        if let Some(reason) = &self.reason {
            write!(f, " ({reason})")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        // Servers name the fields in the message too.
        for violation in self.violations.iter().filter(|violation| !self.message.contains(&violation.message))
        {
            write!(f, "; {}: {}", violation.field, violation.message)?;
        }
        Ok(())
    }
}

impl StdError for ServerError {}

/// A field of a request that breaks a rule or a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field, as in `options.timeout`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// A job that failed for good.
#[derive(Debug, Clone, thiserror::Error)]
#[error("job {job} failed after {attempts} attempts ({reason:?}): {code}: {message}")]
pub struct JobFailed {
    /// Id of the job, or the ref id of a transient run.
    pub job: String,
    /// The handler's own code, or the type of its error.
    pub code: String,
    /// What the handler said.
    pub message: String,
    /// The stack or the chain of causes that the handler gave; may be empty.
    pub stack: String,
    /// How many attempts there were.
    pub attempts: u32,
    /// Which rule made it fail.
    pub reason: pb::FailureReason,
}

/// A job that was cancelled.
#[derive(Debug, Clone, thiserror::Error)]
#[error("job {job} was cancelled ({reason:?}): {message}")]
pub struct JobCancelled {
    /// Id of the job, or the ref id of a transient run.
    pub job: String,
    /// Which rule cancelled it.
    pub reason: pb::CancelReason,
    /// Why, in words.
    pub message: String,
}

/// What becomes of an attempt that its handler ended with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Retried by the job's policy.
    ByPolicy,
    /// Never retried.
    Never,
    /// Retried after this long, if retries are left.
    After(Duration),
    /// Not a failure: the handler stopped.
    Cancelled,
    /// The arguments could not be read: fails at once.
    UnreadableRequest,
    /// The result cannot be stored: fails at once.
    UnstorableResult,
}

/// What a handler ends with when it does not complete its job.
///
/// Every error type converts into it with `?`, and is then retried by the job's policy. [`NonRetryable`], [`RetryAfter`] and
/// [`Cancelled`] convert too and say otherwise. An error that is no [`std::error::Error`], such as `anyhow::Error` or a text, goes
/// through [`HandlerError::new`].
pub struct HandlerError {
    verdict: Verdict,
    code: String,
    message: String,
    stack: String,
}

impl HandlerError {
    /// An error that is retried by the job's policy, with the code `Error`.
    pub fn new(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let error = error.into();
        Self::from_parts(Verdict::ByPolicy, "Error".into(), error.as_ref())
    }

    /// Sets the code that the job's error shows; at most 255 characters.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// The code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The chain of causes below the error, one a line; empty when there are none.
    pub fn stack(&self) -> &str {
        &self.stack
    }

    /// Whether it says that the job must not be retried.
    pub fn is_final(&self) -> bool {
        matches!(self.verdict, Verdict::Never | Verdict::UnreadableRequest | Verdict::UnstorableResult)
    }

    /// Whether it says that the handler stopped as it was asked to.
    pub fn is_cancelled(&self) -> bool {
        self.verdict == Verdict::Cancelled
    }

    /// How long it asks to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.verdict {
            Verdict::After(delay) => Some(delay),
            _ => None,
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    pub(crate) fn unreadable_request(why: String) -> Self {
        Self {
            verdict: Verdict::UnreadableRequest,
            code: "UnreadableRequest".into(),
            message: why,
            stack: String::new(),
        }
    }

    pub(crate) fn unstorable_result(why: String) -> Self {
        Self {
            verdict: Verdict::UnstorableResult,
            code: "UnstorableResult".into(),
            message: why,
            stack: String::new(),
        }
    }

    fn from_parts(verdict: Verdict, code: String, error: &(dyn StdError + 'static)) -> Self {
        Self { verdict, code, message: error.to_string(), stack: causes(error) }
    }

    fn judged(mut self, verdict: Verdict) -> Self {
        self.verdict = verdict;
        self
    }
}

fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut lines = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        lines.push(format!("caused by: {error}"));
        cause = error.source();
    }
    lines.join("\n")
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({:?})", self.code, self.message, self.verdict)
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::from_parts(Verdict::ByPolicy, short_type_name::<E>().to_owned(), &error)
    }
}

/// Ends an attempt with a failure that must not be retried: `Err(NonRetryable("no such customer"))?`.
#[derive(Debug, Clone, Copy)]
pub struct NonRetryable<E>(pub E);

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<NonRetryable<E>> for HandlerError {
    fn from(NonRetryable(error): NonRetryable<E>) -> Self {
        Self::new(error).with_code(code_of::<E>()).judged(Verdict::Never)
    }
}

/// Ends an attempt with a failure that is to be retried after this long, in place of the policy's wait; how many retries there
/// are is still the policy's: `Err(RetryAfter(Duration::from_secs(90), error))?`.
#[derive(Debug, Clone, Copy)]
pub struct RetryAfter<E>(pub Duration, pub E);

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<RetryAfter<E>> for HandlerError {
    fn from(RetryAfter(delay, error): RetryAfter<E>) -> Self {
        Self::new(error).with_code(code_of::<E>()).judged(Verdict::After(delay))
    }
}

/// Ends an attempt because the handler was asked to stop: `Err(Cancelled)?`.
///
/// What that comes to depends on who asked: a client, and the job is cancelled; a drain or a lease in doubt, and it is released
/// without having spent the attempt; the timeout, and the attempt has failed. When nobody asked, the job is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

impl From<Cancelled> for HandlerError {
    fn from(Cancelled: Cancelled) -> Self {
        Self {
            verdict: Verdict::Cancelled,
            code: "Cancelled".into(),
            message: "cancelled".into(),
            stack: String::new(),
        }
    }
}

/// The code for an error of this type: its name, or `Error` for texts and boxes, whose names say nothing.
fn code_of<E>() -> &'static str {
    match short_type_name::<E>() {
        "str" | "&str" | "String" | "Box" => "Error",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no route to the mail server")]
    struct MailError(#[source] std::io::Error);

    fn fails() -> Result<(), HandlerError> {
        Err(MailError(std::io::Error::other("connection refused")))?
    }

    #[test]
    fn an_error_is_retried_by_policy_under_the_name_of_its_type() {
        let error = fails().unwrap_err();
        assert_eq!(error.verdict(), Verdict::ByPolicy);
        assert_eq!((error.code(), error.message()), ("MailError", "no route to the mail server"));
        assert_eq!(error.stack(), "caused by: connection refused");
    }

    #[test]
    fn a_handler_says_what_must_not_be_retried_and_when_to_try_again() {
        let error = HandlerError::from(NonRetryable("no such customer"));
        assert_eq!(
            (error.verdict(), error.code(), error.message()),
            (Verdict::Never, "Error", "no such customer")
        );
        let error =
            HandlerError::from(RetryAfter(Duration::from_secs(9), MailError(std::io::Error::other("x"))));
        assert_eq!((error.verdict(), error.code()), (Verdict::After(Duration::from_secs(9)), "MailError"));
        assert!(HandlerError::from(Cancelled).is_cancelled());
    }

    #[test]
    fn an_error_of_the_server_keeps_reason_fields_and_the_job_that_has_the_ref_id() {
        use tonic_types::ErrorDetails;
        let metadata = HashMap::from([("job_id".to_owned(), "42".to_owned())]);
        let mut details = ErrorDetails::with_error_info("REF_ID_TAKEN", "haulier", metadata);
        details.add_bad_request_violation("options.ref_id", "is taken");
        details.set_retry_info(Some(Duration::from_millis(70)));
        let status = Status::with_error_details(Code::AlreadyExists, "the ref id is taken", details);
        let error = Error::from_status("EnqueueCommand", &status);
        assert_eq!(error.code(), Some(Code::AlreadyExists));
        assert_eq!(error.reason(), Some("REF_ID_TAKEN"));
        assert_eq!(error.existing_job_id(), Some(42));
        assert_eq!(error.violations()[0].field, "options.ref_id");
        assert_eq!(error.server().unwrap().retry_delay, Some(Duration::from_millis(70)));
        assert!(
            error
                .to_string()
                .starts_with("EnqueueCommand failed with AlreadyExists (REF_ID_TAKEN): the ref id")
        );
    }
}
