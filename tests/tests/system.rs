//! The system from outside: the real server on SQLite and on MariaDB, spoken to over its port.
//!
//! One binary, a module a subject. Every scenario has a server process and a database of its own.

#![expect(clippy::unwrap_used, reason = "what a test takes for granted fails it, at its line")]

#[path = "system/admin.rs"]
mod admin;
#[path = "system/api.rs"]
mod api;
#[path = "system/bad_input.rs"]
mod bad_input;
#[path = "system/batch.rs"]
mod batch;
#[path = "system/bench.rs"]
mod bench;
#[path = "system/bulk.rs"]
mod bulk;
#[path = "system/callback.rs"]
mod callback;
#[path = "system/cancel.rs"]
mod cancel;
#[path = "system/claim.rs"]
mod claim;
#[path = "system/dependencies.rs"]
mod dependencies;
#[path = "system/enqueue.rs"]
mod enqueue;
#[path = "system/estimate.rs"]
mod estimate;
#[path = "system/explain.rs"]
mod explain;
#[path = "system/fairness.rs"]
mod fairness;
#[path = "system/fuzz.rs"]
mod fuzz;
#[path = "system/history.rs"]
mod history;
#[path = "system/lanes.rs"]
mod lanes;
#[path = "system/locks.rs"]
mod locks;
#[path = "system/many.rs"]
mod many;
#[path = "system/outgoing.rs"]
mod outgoing;
#[path = "system/periodic.rs"]
mod periodic;
#[path = "system/profiles.rs"]
mod profiles;
#[path = "system/queues.rs"]
mod queues;
#[path = "system/read.rs"]
mod read;
#[path = "system/recurring.rs"]
mod recurring;
#[path = "system/reply.rs"]
mod reply;
#[path = "system/report.rs"]
mod report;
#[path = "system/requeue.rs"]
mod requeue;
#[path = "system/run_command.rs"]
mod run_command;
#[path = "system/sdk.rs"]
mod sdk;
#[path = "system/session.rs"]
mod session;
#[path = "system/timeout.rs"]
mod timeout;
#[path = "system/unimplemented.rs"]
mod unimplemented;
#[path = "system/watch.rs"]
mod watch;
#[path = "system/watch_jobs.rs"]
mod watch_jobs;
#[path = "system/wire.rs"]
mod wire;
