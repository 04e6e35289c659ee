//! Errors as callers see them.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// An error, taken apart.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The gRPC code.
    pub code: Code,
    /// The message.
    pub message: String,
    /// The reason of its ErrorInfo; empty when it has none.
    pub reason: String,
    /// The metadata of its ErrorInfo.
    pub metadata: HashMap<String, String>,
    /// Fields that are wrong, with what is wrong with them.
    pub fields: Vec<(String, String)>,
    /// When to try again.
    pub retry: Option<Duration>,
}

impl Refusal {
    /// Is it this code for this reason?
    pub fn is(&self, code: Code, reason: &str) -> bool {
        self.code == code && self.reason == reason
    }

    /// What is wrong with a field, if that is told.
    pub fn field(&self, field: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == field).map(|(_, wrong)| wrong.as_str())
    }

    /// Fails the test unless it is this code for this reason.
    #[track_caller]
    pub fn must_be(&self, code: Code, reason: &str) {
        assert!(self.is(code, reason), "wanted {code:?} {reason}, got {self:?}");
    }

    /// Fails the test unless it is INVALID_ARGUMENT that names this field.
    #[track_caller]
    pub fn must_name(&self, field: &str) {
        self.must_be(Code::InvalidArgument, "INVALID_FIELD");
        assert!(self.field(field).is_some(), "wanted the field {field}, got {self:?}");
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Refusal {
        let details = status.get_error_details();
        let info = details.error_info();
        if let Some(info) = info {
            assert_eq!(info.domain, "haulier", "{status:?}");
        }
        let fields = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
        Refusal {
            code: status.code(),
            message: status.message().to_owned(),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            metadata: info.map(|info| info.metadata.clone()).unwrap_or_default(),
            fields: fields.into_iter().map(|wrong| (wrong.field, wrong.description)).collect(),
            retry: details.retry_info().and_then(|retry| retry.retry_delay),
        }
    }
}

/// The error of a call that must be refused.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> Refusal {
    match answer {
        Ok(answer) => panic!("it should have been refused, the answer is {answer:?}"),
        Err(status) => status.into(),
    }
}
