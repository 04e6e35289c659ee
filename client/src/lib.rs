//! Haulier's Rust SDK: enqueue jobs, follow them, and serve them as a worker.
//!
//! Haulier is a durable background-job service: one server keeps the queue, any program in
//! Rust, Python or TypeScript enqueues jobs over gRPC or runs them. A job is stored before the caller is answered, and runs at
//! least once.
//!
//! # Define
//!
//! A command is a type: its fields are the arguments, its name is the command's.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! pub struct CheckUrls {
//!     pub urls: Vec<String>,
//! }
//!
//! impl haulier::Command for CheckUrls {
//!     type Output = Vec<String>;
//! }
//! ```
//!
//! # Work
//!
//! ```no_run
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize)] pub struct CheckUrls { pub urls: Vec<String> }
//! # impl haulier::Command for CheckUrls { type Output = Vec<String>; }
//! use haulier::{Client, NonRetryable, Worker};
//!
//! #[tokio::main]
//! async fn main() -> haulier::Result<()> {
//!     Worker::new(Client::from_env().await?)
//!         .command(|job, args: CheckUrls| async move {
//!             let mut bad = Vec::new();
//!             for (done, url) in args.urls.iter().enumerate() {
//!                 job.check()?; // ends here when the job is cancelled
//!                 job.progress(done as f64 / args.urls.len() as f64);
//!                 job.info(format!("checking {url}")).await;
//!                 if !url.starts_with("https://") {
//!                     Err(NonRetryable("only https is checked"))?;
//!                 }
//!                 bad.push(url.clone());
//!             }
//!             Ok(bad)
//!         })
//!         .run() // until SIGTERM, then drains
//!         .await
//! }
//! ```
//!
//! # Enqueue
//!
//! ```no_run
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize)] pub struct CheckUrls { pub urls: Vec<String> }
//! # impl haulier::Command for CheckUrls { type Output = Vec<String>; }
//! use haulier::Client;
//!
//! #[tokio::main]
//! async fn main() -> haulier::Result<()> {
//!     let client = Client::connect("http://127.0.0.1:4285").await?;
//!     let urls = vec!["https://example.org/".to_owned()];
//!     let job = client.enqueue(CheckUrls { urls }).tag("nightly").retry_limit(5).await?;
//!     let bad = job.wait().await?; // or job.watch(), job.cancel(), job.get()
//!     tracing::info!(?bad, "checked");
//!     Ok(())
//! }
//! ```
//!
//! # Recur
//!
//! ```no_run
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize)] pub struct CheckUrls { pub urls: Vec<String> }
//! # impl haulier::Command for CheckUrls { type Output = Vec<String>; }
//! # async fn example(client: haulier::Client) -> haulier::Result<()> {
//! use haulier::{RecurringTask, Schedule};
//!
//! let nightly = Schedule::cron("30 2 * * *").time_zone("Europe/Vienna");
//! client.put_recurring_task(RecurringTask::command(CheckUrls { urls: vec![] }, nightly)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What a handler can rely on
//!
//! - A value completes the job. Any error is retried by the job's policy; [`NonRetryable`] never; [`RetryAfter`] when it says so. A
//!   panic fails the attempt, not the worker.
//! - [`Job::cancelled`] tells when to stop and why: a client cancelled, the timeout is over, the process drains, the lease is lost.
//!   End with [`Cancelled`] then. A handler that does not stop in time is dropped at its next `await`.
//! - [`Job::fencing_token`] grows with every attempt: hand it to your stores, so that an attempt that was given up for dead changes
//!   nothing there.
//! - Heartbeats, claims and reports run on a thread of their own: a handler that blocks does not lose the lease. Still, block on
//!   `tokio::task::spawn_blocking`: a blocking handler can be told to stop, but not be dropped.
//!
//! # One at a time, and again and again
//!
//! - [`Client::lock`] holds a named lock: one holder at a time over all servers and programs, renewed until it is released, with a
//!   fencing token for your own stores.
//! - [`Worker::periodic`] and [`Worker::background`] run work of the process itself that recurs, without jobs: a run after each
//!   period, or a loop that is started again when it fails; as a `singleton` in one process of the whole cluster.
//!
//! ```no_run
//! # async fn purge(_fence: Option<i64>) -> Result<(), std::io::Error> { Ok(()) }
//! use std::time::Duration;
//!
//! use haulier::{Client, Periodic, RunContext, Worker};
//!
//! #[tokio::main]
//! async fn main() -> haulier::Result<()> {
//!     let purging = Periodic::new("purge", Duration::from_secs(600)).singleton();
//!     Worker::new(Client::from_env().await?)
//!         .periodic(purging, |run: RunContext| async move {
//!             purge(run.fencing_token()).await?;
//!             Ok(())
//!         })
//!         .run()
//!         .await
//! }
//! ```
//!
//! # Environment
//!
//! | variable | meaning |
//! |---|---|
//! | `HAULIER_ADDRESS` | address of the server for [`Client::from_env`]; default `http://127.0.0.1:4285` |
//! | `HAULIER_API_KEY`, `HAULIER_API_KEY_FILE` | API key, or the file that holds it |
//! | `HAULIER_WORKER_ENABLED` | `false`: [`Worker::run`] runs no jobs |
//! | `HAULIER_PERIODIC_ENABLED` | `false`: no periodic and background workers run |

mod admin;
mod calls;
mod client;
mod command;
mod connect;
mod enqueue;
mod errors;
mod handle;
mod job;
mod keeper;
mod lock;
mod log;
pub mod options;
mod outcome;
mod pages;
mod payload;
mod periodic;
mod recurring;
mod report;
mod retry;
mod session;
mod switch;
pub mod testing;
mod watch;
mod worker;

pub use admin::QueueLimits;
pub use calls::{
    CancelJob, CancelJobs, GetJob, JobTarget, ListAttempts, ListJobs, ListLogs, RequeueJob, RequeueJobs,
};
pub use client::{Client, ClientBuilder};
pub use command::{Command, command_name};
pub use connect::{Credentials, Transport};
pub use enqueue::{Enqueue, EnqueueApi, EnqueueBatch, EnqueueItem, EnqueuedBatch, RunCommand};
pub use errors::{
    Cancelled, Error, FieldViolation, HandlerError, JobCancelled, JobFailed, NonRetryable, Result,
    RetryAfter, ServerError,
};
pub use handle::{JobHandle, is_settled, result_of};
pub use job::{Job, Stop, StopReason};
pub use lock::{AcquireLock, BreakLock, Lock, LockKey};
pub use log::JobLog;
pub use options::{ApiCall, Dependency, JobOptions, Priority, RetryPolicy};
pub use pages::{Page, Pages};
pub use payload::Payload;
pub use periodic::{Background, Periodic, PeriodicWorker, PeriodicWorkers, RunContext};
pub use recurring::{
    CatchUpPolicy, ListRecurringTasks, OverlapPolicy, PreviewSchedule, PutResult, RecurringTask, Schedule,
    TriggerRecurringTask,
};
pub use watch::{JobEvent, JobsEvent, Watch, WatchEvent, WatchJobs, WatchJobsEvent};
pub use worker::{CommandOptions, Worker};

/// The messages of the contract, as the server gives them: summaries, records, attempts, log lines, filters, enums.
pub use haulier_proto::v1 as proto;
pub use haulier_proto::v1::{JobFilter, JobState, LogLevel};
/// A gRPC code, as in [`Error::code`].
pub use tonic::Code;

/// Name and version of this SDK, as servers see it.
pub(crate) const SDK: &str = concat!("haulier-rust/", env!("CARGO_PKG_VERSION"));
