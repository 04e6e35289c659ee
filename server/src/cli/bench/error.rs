//! What can go wrong while measuring.

use std::fmt::Display;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A call of the SDK failed.
    #[error(transparent)]
    Call(#[from] haulier::Error),
    /// A call of an empty message, or of the floor, failed.
    #[error("{}: {}", .0.code(), .0.message())]
    Status(#[from] tonic::Status),
    /// The floor cannot serve.
    #[error("the floor cannot serve: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// The bare driver failed.
    #[error("the database, by the bare driver: {0}")]
    Driver(#[from] sqlx::Error),
    /// A message between processes, or a report, is not JSON.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl Error {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }

    /// What was done when it went wrong.
    pub(super) fn during<E: Display>(what: impl Display) -> impl FnOnce(E) -> Self {
        move |error| Self::Other(format!("{what}: {error}"))
    }
}

pub(super) type Result<T> = std::result::Result<T, Error>;
