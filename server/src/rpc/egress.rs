//! What may leave the server, as far as a request has to be judged by it.
//!
//! This room knows no targets and no addresses; who composes the server hands in who does.

use std::fmt::Debug;

use crate::model::{Payload, ReplyMode};

/// Judges calls and replies before a job that asks for them is stored.
pub trait Egress: Debug + Send + Sync {
    /// May a job call this? Answers the endpoint as it is stored.
    fn check_call(&self, target: &str, endpoint: &Endpoint, request: &Payload) -> Result<String, NoWay>;
    /// May an outcome be told there? Says what is wrong if not. What is only carried goes nowhere from here: of that the
    /// syntax alone is checked.
    fn check_reply_to(&self, reply_to: &str, mode: ReplyMode) -> Result<ReplyAddress, String>;
}

/// What of a target is to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A unary gRPC method.
    Grpc(String),
    /// An HTTP method and a path.
    Http(String, String),
}

/// Which part of a call cannot be, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// The target.
    Target(String),
    /// What is called of it.
    Endpoint(String),
    /// The request.
    Request(String),
}

/// A `reply_to` that may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyAddress {
    /// It without credentials.
    pub shown: String,
    /// Its credentials as they were written, secrets by name; empty for none.
    pub credentials: String,
}
