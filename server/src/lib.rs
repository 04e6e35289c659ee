//! Haulier: a durable background-job service on MySQL, MariaDB or an embedded SQLite file.
//!
//! An application stores a job by one call; a worker process, in whatever language, claims it, runs it and reports its
//! outcome. What was acknowledged is in the database; nothing else holds anything that could not be lost.
//!
//! # The rooms
//! The library is a house of rooms, and who may know whom is a table that `tests/layers.rs` checks:
//!
//! | room | what it is |
//! |---|---|
//! | [`clock`] | the one source of time, and of randomness for ids |
//! | [`model`] | the nouns and the pure decisions: job, options, state, lease, retry policy, limits |
//! | [`config`] | settings as plain data: file, environment, flags |
//! | [`store`] | the database spoken in job verbs, SQLite and MySQL behind one trait |
//! | [`engine`] | what Haulier can do, one method a verb |
//! | [`pool`] | the server's own worker pool: API calls, replies |
//! | [`outbound`] | the only way out of the process: HTTP and gRPC calls with limits, a guard, signatures |
//! | [`rpc`] | the gRPC services: check, convert, call the engine, convert |
//! | [`web`] | liveness and readiness on the same port |
//! | [`server`] | composition and lifecycle: bind, open, serve, drain, stop |
//! | [`cli`] | the command line's client, a user of the Rust SDK |
//! | `cli::bench` | the benchmark, with a bare service on the bare driver to compare with |
//! | [`telemetry`] | the log |
//!
//! # What is not
//! - Nothing below [`rpc`] knows protobuf.
//! - Nothing above [`store`] knows SQL, but for the benchmark's floor.
//! - Nobody but [`clock`] asks the time, and the engine feeds it the database's.
//! - Nobody but [`outbound`], and [`cli`] as a client, calls out.
//! - Nobody but [`server`] starts long-lived tasks.
//! - No database future is dropped half-way: every use of the store runs in a task that nobody cancels.
//! - A leased row is changed only through its lease: (job, epoch, nonce) guard the statement itself.
//! - Nothing decides what an attempt's end leads to but [`model::after_attempt`].
//! - Losing every wake-up and every hint in memory loses no job; they only save time.
//!
//! # A job's way through the rooms
//! 1. An SDK calls `EnqueueCommand`. [`rpc`] checks every field, turns the message into an [`engine::EnqueueCall`] and
//!    awaits [`engine::Engine::enqueue`].
//! 2. The engine gives it an id and puts it into the commit that is forming, beside whoever came at the same time; the
//!    [`store`] writes the batch in one transaction and the call is answered. If a worker process waits for such a job, the
//!    same transaction leases it.
//! 3. The waiting `ClaimJob` is answered with the job, its lease token and what is left of its timeout.
//! 4. The worker process runs it and reports on its one `ReportJobs` stream: log lines, progress, then the outcome. The
//!    engine stores each guarded by the lease, and the acknowledgement goes down the stream after the commit.
//! 5. Watchers are told after the commit, by a hint to look.
//!
//! If the worker process dies nothing happens until its session lapses. Then the sweep, which any replica may run, ends the
//! attempt through the very same decision that a reported failure goes through.
//!
//! Four plain function calls deep: no bus, no actors, no queue in front of the queue.

pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod model;
pub mod outbound;
pub mod pool;
pub mod rpc;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod web;
