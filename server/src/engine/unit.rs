//! Units of work: the rule that a database future is never dropped half-way.
//!
//! tonic drops a handler's future when its caller goes away. With sqlx on MySQL that can hand a connection back
//! inside an open transaction, and the next borrower's acknowledged write is then lost. So every use of the store
//! runs in a task of its own, which nobody cancels; a handler only awaits it.

use std::future::Future;

use super::{Error, Result};

/// Runs `work` to its end, whether or not the caller still waits for it.
pub(crate) async fn unit<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    match tokio::spawn(work).await {
        Ok(answer) => answer,
        Err(join) if join.is_panic() => Err(Error::Internal("a unit of work panicked".into())),
        Err(_) => Err(Error::ShuttingDown),
    }
}
