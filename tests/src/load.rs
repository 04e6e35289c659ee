//! The load of the crash tests: what its jobs do, as their enqueuers and their worker processes agree on it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The command that every job of the load runs.
pub const COMMAND: &str = "mixed";
/// Lease time of the worker processes: the shortest there is.
pub const LEASE: Duration = Duration::from_secs(5);
/// Time between two ticks of the reaper.
pub const TICK: Duration = Duration::from_secs(2);
/// Jobs that a worker process runs at once.
pub const SLOTS: usize = 20;

/// The request of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// The intent that it was made for; also the request id of its enqueue.
    pub key: String,
    /// What to do.
    pub plan: Plan,
}

/// What a job does.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// Ends at once.
    Quick,
    /// Takes its time, in steps of a fifth of a second.
    Slow {
        /// How many.
        steps: u32,
    },
    /// Fails every other time.
    Flaky,
    /// Fails for good.
    Hopeless,
}

impl Plan {
    /// One of them, most often a quick one.
    pub fn any() -> Plan {
        match rand::random_range(0..20) {
            0..9 => Plan::Quick,
            9..14 => Plan::Slow { steps: rand::random_range(1..15) },
            14..19 => Plan::Flaky,
            _ => Plan::Hopeless,
        }
    }
}
