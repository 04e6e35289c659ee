//! Queues: what is known of each beside its jobs.

use super::Time;

/// A queue that gives out nothing: its jobs are stored and do not start, those that run go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PausedQueue {
    /// The queue.
    pub name: String,
    /// Since when.
    pub pause_time: Time,
    /// Why, in words; may be empty.
    pub reason: String,
}

/// How many jobs that have not ended stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveCounts {
    /// Their time has not come.
    pub scheduled: i64,
    /// They wait for parents or for their turn.
    pub blocked: i64,
    /// They could start.
    pub queued: i64,
    /// They run.
    pub running: i64,
    /// Since when the one that has waited longest could start.
    pub oldest_ready: Option<Time>,
}

impl LiveCounts {
    /// These and others.
    pub fn add(&mut self, other: &LiveCounts) {
        self.scheduled += other.scheduled;
        self.blocked += other.blocked;
        self.queued += other.queued;
        self.running += other.running;
        self.oldest_ready = match (self.oldest_ready, other.oldest_ready) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
    }
}
