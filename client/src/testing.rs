//! A test kit: run a handler without a server, and see what it reported.
//!
//! ```
//! use haulier::testing::FakeJob;
//! use haulier::{HandlerError, Job};
//!
//! async fn greet(job: Job, name: String) -> Result<String, HandlerError> {
//!     job.info(format!("greeting {name}")).await;
//!     job.progress(1.0);
//!     Ok(format!("hello {name}"))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let fake = FakeJob::new().attempt(2);
//! assert_eq!(fake.run(greet, "Anna".to_owned()).await.unwrap(), "hello Anna");
//! assert_eq!(fake.logs()[0].message, "greeting Anna");
//! assert_eq!(fake.progress(), Some(1.0));
//! # }
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use haulier_proto::v1 as pb;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::errors::{HandlerError, Result};
use crate::job::{Job, Stop, StopReason};
use crate::log::within;
use crate::payload::Payload;
use crate::report::{LeaseKey, ReportState};
use crate::session::{Hub, Signals};

/// A log line that a handler wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedLine {
    /// Level.
    pub level: pb::LogLevel,
    /// Text.
    pub message: String,
    /// Structured fields.
    pub fields: HashMap<String, String>,
}

/// A job without a server. Must be made on a tokio runtime.
pub struct FakeJob {
    lease: pb::LeasedJob,
    hub: Arc<Hub>,
    signals: Arc<Signals>,
    key: LeaseKey,
    client: Option<Client>,
}

impl FakeJob {
    /// A first attempt of job 1.
    pub fn new() -> Self {
        let lease = pb::LeasedJob {
            lease: "fake".into(),
            fencing_token: 1,
            job_id: 1,
            ref_id: "fake".into(),
            run: 1,
            attempt: 1,
            ..Default::default()
        };
        let mut state = ReportState::new(usize::MAX);
        state.store_checkpoints_at_once();
        let key = state.hold(&lease);
        Self {
            lease,
            hub: Arc::new(Hub::new(state)),
            signals: Arc::new(Signals::new(false)),
            key,
            client: None,
        }
    }

    /// Number of the attempt.
    #[must_use]
    pub fn attempt(mut self, attempt: i32) -> Self {
        self.lease.attempt = attempt;
        self
    }

    /// How often the worker process went away.
    #[must_use]
    pub fn crashes(mut self, crashes: i32) -> Self {
        self.lease.crashes = crashes;
        self
    }

    /// User on whose behalf it runs, with claims.
    #[must_use]
    pub fn user(mut self, user_id: impl Into<String>, claims: HashMap<String, String>) -> Self {
        self.lease.user_id = user_id.into();
        self.lease.user_claims = claims;
        self
    }

    /// A free argument beside the request.
    #[must_use]
    pub fn arg(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.lease.options.get_or_insert_default().args.insert(name.into(), value.into());
        self
    }

    /// The checkpoint that an earlier attempt stored.
    pub fn last_checkpoint<T: Serialize + ?Sized>(mut self, value: &T) -> Result<Self> {
        self.lease.checkpoint = Payload::json(value)?.into();
        Ok(self)
    }

    /// A client for what the handler enqueues. Default: one that reaches no server.
    #[must_use]
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Anything else that the server sends with a job.
    #[must_use]
    pub fn lease(mut self, change: impl FnOnce(&mut pb::LeasedJob)) -> Self {
        change(&mut self.lease);
        self
    }

    /// Tells the handler to stop, before or while it runs.
    pub fn cancel(&self, reason: StopReason) {
        self.signals.stop(Stop { reason, message: "asked by the test".into() }, None);
    }

    /// The job, for what a handler calls.
    pub fn job(&self) -> Result<Job> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => {
                Client::builder("http://127.0.0.1:9").deadline(std::time::Duration::ZERO).connect_lazy()?
            }
        };
        Ok(Job::new(self.lease.clone(), self.key, self.hub.clone(), self.signals.clone(), Arc::new(client)))
    }

    /// Runs a handler as a worker does: arguments and result go through JSON.
    pub async fn run<A, T, F, Fut>(&self, handler: F, args: A) -> Result<T, HandlerError>
    where
        A: Serialize + DeserializeOwned,
        T: Serialize + DeserializeOwned,
        F: FnOnce(Job, A) -> Fut,
        Fut: Future<Output = Result<T, HandlerError>>,
    {
        let args: A = Payload::json(&args)?.read()?;
        let job = self.job()?;
        let result = within(job.clone(), handler(job, args)).await?;
        Ok(Payload::json(&result)?.read()?)
    }

    /// The lines it logged.
    pub fn logs(&self) -> Vec<LoggedLine> {
        let copy = |(level, message, fields): (pb::LogLevel, &str, &HashMap<_, _>)| LoggedLine {
            level,
            message: message.to_owned(),
            fields: fields.clone(),
        };
        self.hub
            .look(|state| state.lease(self.key).map(|lease| lease.lines().entries().map(copy).collect()))
            .unwrap_or_default()
    }

    /// Progress as last reported.
    pub fn progress(&self) -> Option<f64> {
        self.hub.look(|state| state.lease(self.key)?.last_progress().0)
    }

    /// Status line as last reported.
    pub fn status(&self) -> Option<String> {
        self.hub.look(|state| state.lease(self.key)?.last_progress().1.map(str::to_owned))
    }

    /// The checkpoint last stored, read as `T`.
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let stored = self.hub.look(|state| state.lease(self.key)?.last_checkpoint().cloned());
        stored.map(|checkpoint| Payload::from(Some(checkpoint)).read()).transpose()
    }
}

impl Default for FakeJob {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for FakeJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeJob").field("attempt", &self.lease.attempt).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cancelled, NonRetryable};

    #[tokio::test]
    async fn a_handler_runs_without_a_server_and_shows_what_it_reported() {
        let fake = FakeJob::new().crashes(1).arg("mode", "fast").last_checkpoint(&7).unwrap();
        let handler = |job: Job, count: u32| async move {
            assert_eq!(job.crashes(), 1);
            let done = job.last_checkpoint::<u32>()?.unwrap_or_default();
            job.progress_with(1.5, format!("{} from {done}", job.arg("mode").unwrap_or_default()));
            job.checkpoint(&count).await?;
            Ok(count + done)
        };
        assert_eq!(fake.run(handler, 3).await.unwrap(), 10);
        assert_eq!((fake.progress(), fake.status().as_deref()), (Some(1.0), Some("fast from 7")));
        assert_eq!(fake.checkpoint::<u32>().unwrap(), Some(3));
    }

    #[tokio::test]
    async fn a_handler_sees_that_it_is_to_stop() {
        let fake = FakeJob::new();
        fake.cancel(StopReason::Client);
        let handler = |job: Job, ()| async move {
            let stop = job.cancelled().await;
            assert_eq!(stop.reason, StopReason::Client);
            job.check()?;
            Ok(())
        };
        assert!(fake.run(handler, ()).await.unwrap_err().is_cancelled());
        let _ = Cancelled;
    }

    #[tokio::test]
    async fn an_error_shows_its_verdict() {
        let handler = |_, ()| async { Err::<(), _>(NonRetryable("no such customer").into()) };
        assert!(FakeJob::new().run(handler, ()).await.unwrap_err().is_final());
    }
}
