//! `haulier run`: a command run on a worker process now, without storing anything.

use std::time::Duration;

use clap::Args;
use haulier::JobOptions;
use haulier::proto::JobState;

use super::{CANCELLED, FAILED, OK, Server, show};

/// Arguments of `run`.
#[derive(Args)]
pub struct Run {
    /// Name of the command
    command: String,
    /// Request as JSON; `-` reads it from standard input [default: nothing]
    request: Option<String>,
    /// How long to wait for the result; then the run goes on [default: its timeout]
    #[arg(long, value_parser = super::duration, conflicts_with = "detach")]
    wait: Option<Duration>,
    /// Answer at once with the ref id
    #[arg(long)]
    detach: bool,
    /// Queue [default: default]
    #[arg(long)]
    queue: Option<String>,
    /// Named worker; empty for none [default: the command's]
    #[arg(long)]
    worker: Option<String>,
    /// Longest time of the run [default: 10m]
    #[arg(long, value_parser = super::duration)]
    timeout: Option<Duration>,
    /// Your own unique id of the run
    #[arg(long)]
    ref_id: Option<String>,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(arguments: Run) -> haulier::Result<u8> {
    let request = match super::request(arguments.request.as_deref()) {
        Ok(request) => request,
        Err(message) => return Ok(super::usage(&message)),
    };
    let mut options = JobOptions::new();
    if let Some(queue) = arguments.queue {
        options = options.queue(queue);
    }
    if let Some(worker) = arguments.worker {
        options = options.worker(worker);
    }
    if let Some(timeout) = arguments.timeout {
        options = options.timeout(timeout);
    }
    if let Some(ref_id) = arguments.ref_id {
        options = options.ref_id(ref_id);
    }
    let client = arguments.server.connect().await?;
    let mut call = client.run_command_payload(&arguments.command, request).options(options);
    if arguments.detach {
        show::line(&call.detach().await?);
        return Ok(OK);
    }
    if let Some(wait) = arguments.wait {
        call = call.wait(wait);
    }
    let answer = call.outcome().await?;
    let state = answer.state();
    let code = match state {
        JobState::Completed => OK,
        JobState::Cancelled => CANCELLED,
        _ => FAILED,
    };
    match (&answer.error, state) {
        (Some(error), JobState::Cancelled) => show::line(&format!("cancelled: {}", error.message)),
        (Some(error), _) => show::line(&show::error_text(error)),
        (None, JobState::Completed) => show::line(&show::payload(answer.result.as_ref())),
        (None, _) => show::line(&format!("{}\t{}", answer.ref_id, show::state(state))),
    }
    Ok(code)
}
