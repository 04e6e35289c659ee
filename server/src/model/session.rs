//! Sessions: what the server knows of a worker process.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ServerId, SessionId, Time};

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// It may claim.
    Live,
    /// It finishes what it holds and claims nothing more.
    Draining,
    /// It ended or was given up for dead; it can come back only as a new session.
    Lost,
}

/// A command that a worker process serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedCommand {
    /// The command's name.
    pub command: String,
    /// The named worker of its jobs, unless they name one themselves; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub worker: String,
    /// The version of the handler; free text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// JSON Schema of the request; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub json_schema: String,
}

/// A worker process as registered, with how it stands now.
#[derive(Clone, Debug)]
pub struct Session {
    /// Chosen by the server.
    pub id: SessionId,
    /// The worker process's name, for people.
    pub name: String,
    /// Fresh for each start of the worker process.
    pub instance_id: String,
    /// How it stands.
    pub state: SessionState,
    /// Commands it serves.
    pub commands: Vec<ServedCommand>,
    /// Queues it serves.
    pub queues: Vec<String>,
    /// Targets whose API calls it makes, in every queue; only a server's own pool has any.
    pub targets: Vec<String>,
    /// Free labels, for people.
    pub labels: BTreeMap<String, String>,
    /// Jobs it runs at once.
    pub slots: i32,
    /// Name and version of its SDK; may be empty.
    pub sdk: String,
    /// How long it lives without a heartbeat.
    pub lease_time: Duration,
    /// When it registered.
    pub create_time: Time,
    /// When it is given up for dead if no heartbeat comes.
    pub expire_time: Time,
    /// The server that its last heartbeat went through.
    pub server: ServerId,
    /// Jobs it completed; a few seconds old.
    pub completed: i64,
    /// Attempts of it that failed; a few seconds old.
    pub failed: i64,
}
