//! The scenarios of `tests/features` in Rust, all in one program, and the worker program that scenarios of every language start.
//!
//! `haulier-scenario NAME` plays the scenario of that folder: it exits with 0, or with 1 and one sentence on stderr.
//! `haulier-scenario worker` is the worker program. See the README of the scenarios for what both read.

#![expect(clippy::print_stderr, reason = "the sentence of a scenario that failed goes there")]

use std::process::ExitCode;

use anyhow::bail;
use futures::future::{FutureExt as _, LocalBoxFuture};
use haulier::Client;

#[path = "../../features/api-job/scenario.rs"]
mod api_job;
#[path = "../../features/atomic-batch/scenario.rs"]
mod atomic_batch;
#[path = "../../features/batch/scenario.rs"]
mod batch;
#[path = "../../features/callback/scenario.rs"]
mod callback;
#[path = "../../features/cancel/scenario.rs"]
mod cancel;
#[path = "../../features/cross-language/scenario.rs"]
mod cross_language;
#[path = "../../features/delay/scenario.rs"]
mod delay;
#[path = "../../features/dependency/scenario.rs"]
mod dependency;
#[path = "../../features/drain/scenario.rs"]
mod drain;
#[path = "../../features/expiry/scenario.rs"]
mod expiry;
#[path = "../../features/failure/scenario.rs"]
mod failure;
#[path = "../../features/hello/scenario.rs"]
mod hello;
#[path = "../../features/lock/scenario.rs"]
mod lock;
#[path = "../../features/named-worker/scenario.rs"]
mod named_worker;
#[path = "../../features/periodic-singleton/scenario.rs"]
mod periodic_singleton;
#[path = "../../features/priority/scenario.rs"]
mod priority;
#[path = "../../features/progress-and-logs/scenario.rs"]
mod progress_and_logs;
#[path = "../../features/recurring/scenario.rs"]
mod recurring;
#[path = "../../features/ref-id/scenario.rs"]
mod ref_id;
#[path = "../../features/reply-to/scenario.rs"]
mod reply_to;
#[path = "../../features/requeue/scenario.rs"]
mod requeue;
#[path = "../../features/retry/scenario.rs"]
mod retry;
#[path = "../../features/run-after/scenario.rs"]
mod run_after;
#[path = "../../features/run-command/scenario.rs"]
mod run_command;
#[path = "../../features/stage.rs"]
mod stage;
#[path = "../../features/timeout/scenario.rs"]
mod timeout;
#[path = "../../features/user-context/scenario.rs"]
mod user_context;
#[path = "../../features/watch-cut/scenario.rs"]
mod watch_cut;
#[path = "../../features/cross-language/worker.rs"]
mod worker;
#[path = "../../features/worker-killed/scenario.rs"]
mod worker_killed;

/// A scenario: what it does with a client and a queue of its own.
type Story = fn(Client, String) -> LocalBoxFuture<'static, stage::Result<()>>;

/// The scenarios by the names of their folders.
const STORIES: &[(&str, Story)] = &[
    ("api-job", |client, queue| api_job::story(client, queue).boxed_local()),
    ("atomic-batch", |client, queue| atomic_batch::story(client, queue).boxed_local()),
    ("batch", |client, queue| batch::story(client, queue).boxed_local()),
    ("callback", |client, queue| callback::story(client, queue).boxed_local()),
    ("cancel", |client, queue| cancel::story(client, queue).boxed_local()),
    ("cross-language", |client, queue| cross_language::story(client, queue).boxed_local()),
    ("delay", |client, queue| delay::story(client, queue).boxed_local()),
    ("dependency", |client, queue| dependency::story(client, queue).boxed_local()),
    ("drain", |client, queue| drain::story(client, queue).boxed_local()),
    ("expiry", |client, queue| expiry::story(client, queue).boxed_local()),
    ("failure", |client, queue| failure::story(client, queue).boxed_local()),
    ("hello", |client, queue| hello::story(client, queue).boxed_local()),
    ("lock", |client, queue| lock::story(client, queue).boxed_local()),
    ("named-worker", |client, queue| named_worker::story(client, queue).boxed_local()),
    ("periodic-singleton", |client, queue| periodic_singleton::story(client, queue).boxed_local()),
    ("priority", |client, queue| priority::story(client, queue).boxed_local()),
    ("progress-and-logs", |client, queue| progress_and_logs::story(client, queue).boxed_local()),
    ("recurring", |client, queue| recurring::story(client, queue).boxed_local()),
    ("ref-id", |client, queue| ref_id::story(client, queue).boxed_local()),
    ("reply-to", |client, queue| reply_to::story(client, queue).boxed_local()),
    ("requeue", |client, queue| requeue::story(client, queue).boxed_local()),
    ("retry", |client, queue| retry::story(client, queue).boxed_local()),
    ("run-after", |client, queue| run_after::story(client, queue).boxed_local()),
    ("run-command", |client, queue| run_command::story(client, queue).boxed_local()),
    ("timeout", |client, queue| timeout::story(client, queue).boxed_local()),
    ("user-context", |client, queue| user_context::story(client, queue).boxed_local()),
    ("watch-cut", |client, queue| watch_cut::story(client, queue).boxed_local()),
    ("worker-killed", |client, queue| worker_killed::story(client, queue).boxed_local()),
];

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [name] if name == "worker" => worker::run().await,
        [name] => play(name).await,
        _ => Err(anyhow::anyhow!("usage: haulier-scenario NAME, or haulier-scenario worker")),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    if error.is::<haulier::Error>() {
        eprintln!("expected no error, got {error}");
    } else {
        eprintln!("{error}");
    }
    ExitCode::FAILURE
}

async fn play(name: &str) -> stage::Result<()> {
    let Some((name, story)) = STORIES.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = STORIES.iter().map(|(known, _)| *known).collect();
        bail!("there is no scenario {name}; there are {}", known.join(", "));
    };
    let told = story(Client::from_env().await?, stage::named(name));
    match tokio::time::timeout(stage::LONGEST, told).await {
        Ok(told) => told,
        Err(_) => bail!("it did not end within {:?}", stage::LONGEST),
    }
}
