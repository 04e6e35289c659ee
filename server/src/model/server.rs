//! Server processes: those that share a database.

use serde::{Deserialize, Serialize};

use super::{ServerId, Time};

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerAbout {
    /// Its name, for people.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Where it listens.
    pub address: String,
    /// The database that it runs on, with its version.
    pub store: String,
    /// Whether it calls APIs and delivers notifications.
    pub pool_enabled: bool,
    /// Whether the database keeps what it has accepted over a loss of power.
    pub is_durable: bool,
}

/// A server as the database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// New at each start.
    pub id: ServerId,
    /// What it says of itself.
    pub about: ServerAbout,
    /// It is stopping.
    pub is_draining: bool,
    /// When it started.
    pub start_time: Time,
    /// When it last showed a sign of life.
    pub beat_time: Time,
}
