//! Opening the database of the settings, patiently: one that is down at the start is waited for.

use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use crate::clock;
use crate::config::Config;
use crate::store::{self, OpenOptions, Purpose, Store, StoreError};

/// Between the first two tries; doubled from try to try,
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Opens the database for serving; one that is down is tried again until `database_wait` is over.
pub(super) async fn open(config: &Config) -> Result<Arc<dyn Store>, StartError> {
    let deadline = clock::instant() + config.database_wait;
    let mut wait = FIRST_WAIT;
    loop {
        match try_to_open(config, Purpose::Serve).await {
            Ok(store) => return Ok(store),
            Err(StoreError::Unavailable(why) | StoreError::Unknown(why))
                if clock::instant() + wait < deadline =>
            {
                let left = deadline.saturating_duration_since(clock::instant()).as_secs();
                tracing::warn!(database = %config.database_url, why, "the database is down, trying for {left} s more");
                tokio::time::sleep(wait).await;
                wait = (2 * wait).min(LONGEST_WAIT);
            }
            Err(error) => return Err(failed(config, error)),
        }
    }
}

/// Opens the database for a look, once.
pub(super) async fn open_to_look(config: &Config) -> Result<Arc<dyn Store>, StartError> {
    try_to_open(config, Purpose::Inspect).await.map_err(|error| failed(config, error))
}

pub(super) fn options(config: &Config, purpose: Purpose) -> OpenOptions {
    OpenOptions {
        table_prefix: config.table_prefix.clone(),
        require_durable: config.require_durable,
        purpose,
    }
}

pub(super) fn failed(config: &Config, error: StoreError) -> StartError {
    StartError::Database { url: config.database_url.to_string(), error }
}

/// In a task of its own: a caller that gives up does not drop a database future half-way.
async fn try_to_open(config: &Config, purpose: Purpose) -> Result<Arc<dyn Store>, StoreError> {
    let (url, options) = (config.database_url.0.clone(), options(config, purpose));
    let opened = tokio::spawn(async move { store::open(&url, options).await }).await;
    opened.unwrap_or_else(|error| Err(StoreError::Other(format!("opening it failed: {error}"))))
}
