//! Haulier's Rust SDK.
mod calls;
mod client;
mod command;
mod connect;
mod enqueue;
mod errors;
mod handle;
pub mod options;
mod pages;
mod payload;
mod retry;
mod watch;

pub use calls::{CancelJob, CancelJobs, GetJob, JobKey, ListJobs, ListLogs, RequeueJob, RequeueJobs};
pub use client::{Client, ClientBuilder};
pub use command::{Command, command_name};
pub use connect::{Credentials, Transport};
pub use enqueue::{Batch, BatchItem, Enqueue, EnqueueApi, Run, StoredBatch};
pub use errors::{Cancelled, Error, HandlerError, JobCancelled, JobFailed, NonRetryable, Result, RetryAfter, ServerError, Violation};
pub use handle::{JobHandle, is_settled, result_of};
pub use haulier_proto::v1 as proto;
pub use options::{Dependency, Options, Priority, RetryPolicy};
pub use pages::{Page, Pages};
pub use payload::Payload;
pub use tonic::Code;
pub use watch::{JobEvent, JobsEvent, Watch, WatchEvent, WatchJobs, WatchJobsEvent};

/// Name and version of this SDK, as servers see it.
pub(crate) const SDK: &str = concat!("haulier-rust/", env!("CARGO_PKG_VERSION"));
