//! Why a statement or a transaction failed, and what follows from it.

use super::StoreError;

/// Why a unit of work stopped, sorted by what to do about it.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Deadlock, snapshot conflict, lock wait, busy: the whole transaction again.
    Again(String),
    /// The connection is lost or its server is read-only or failing over: drop it, the database is unavailable.
    Gone(String),
    /// The disk or the quota is full.
    Full(String),
    /// A statement that was held back failed in front of another: the whole transaction again, each statement by itself.
    HeldBack(String),
    /// A unique key refused a row.
    Duplicate(String),
    /// Decided: this is the answer.
    Store(StoreError),
}

/// What a step inside a unit of work answers.
pub(crate) type Try<T> = Result<T, Fault>;

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        Fault::Store(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> StoreError {
        match fault {
            Fault::Again(why) => StoreError::Unavailable(format!("gave up after several tries: {why}")),
            Fault::Gone(why) => StoreError::Unavailable(why),
            Fault::Full(why) => StoreError::Full(why),
            Fault::HeldBack(why) | Fault::Duplicate(why) => StoreError::Other(why),
            Fault::Store(error) => error,
        }
    }
}

impl Fault {
    /// A fault of our own making.
    pub(crate) fn other(why: impl Into<String>) -> Fault {
        Fault::Store(StoreError::Other(why.into()))
    }

    /// A guard found a row other than it was seen: somebody won a race that locks should have prevented.
    pub(crate) fn raced(what: &str) -> Fault {
        Fault::Again(format!("{what}: rows changed under a guard"))
    }
}
