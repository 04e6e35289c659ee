//! How long what has ended is kept.

use std::time::Duration;

use super::Ending;

/// How long ended jobs are kept, by how they ended; none: as long as their month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Those that completed. Nothing of them is kept with zero.
    pub completed: Option<Duration>,
    /// Those that failed.
    pub failed: Option<Duration>,
    /// Those that were cancelled.
    pub cancelled: Option<Duration>,
}

impl Retention {
    /// How long a run that ended so is kept. One that is EXECUTED is not through yet.
    pub fn of(&self, ending: Ending) -> Option<Duration> {
        match ending {
            Ending::Executed => None,
            Ending::Completed => self.completed,
            Ending::Failed => self.failed,
            Ending::Cancelled => self.cancelled,
        }
    }

    /// Is everything kept?
    pub fn is_none(&self) -> bool {
        *self == Retention::default()
    }

    /// When a month whose last run finished `after` this can be dropped whole; none while something is kept for good.
    pub fn longest(&self) -> Option<Duration> {
        Some(self.completed?.max(self.failed?).max(self.cancelled?))
    }
}
