//! Pages of lists that are short enough to be read whole: attempts of a job, worker processes.

mod named;

use haulier_proto::v1 as pb;

pub(crate) use named::Named;

use super::check::Check;
use super::convert;
use crate::engine::{Error, Result};
use crate::model::{Attempt, Epoch, JobId, Run, Session, Time, digest, read_token, write_token};

const ATTEMPTS_TOKEN: &str = "a1";
const WORKERS_TOKEN: &str = "k1";

/// A page of attempts that is asked for.
#[derive(Debug, PartialEq)]
pub(crate) struct AttemptsPage {
    pub(crate) job: JobId,
    run: Option<Run>,
    size: usize,
    after: Option<(Run, Epoch)>,
}

/// Reads which page of attempts is asked for.
pub(crate) fn attempts_page(given: &pb::ListJobAttemptsRequest) -> Result<AttemptsPage> {
    let mut check = Check::new();
    check.token("page_token", &given.page_token);
    let page = AttemptsPage {
        job: check.job_id("job_id", given.job_id),
        run: check.run("run", given.run),
        size: check.page_size("page_size", given.page_size),
        after: None,
    };
    let page = check.pass(page)?;
    let after =
        if given.page_token.is_empty() { None } else { Some(read_attempts_token(&page, &given.page_token)?) };
    Ok(AttemptsPage { after, ..page })
}

/// One page of all the attempts of a job.
pub(crate) fn attempts(page: &AttemptsPage, all: &[Attempt]) -> pb::ListJobAttemptsResponse {
    let mut rest = all.iter().filter(|attempt| {
        let place = (attempt.run, attempt.epoch);
        page.run.is_none_or(|run| run == attempt.run) && page.after.is_none_or(|after| place > after)
    });
    let shown: Vec<&Attempt> = rest.by_ref().take(page.size).collect();
    let last = shown.last().filter(|_| rest.next().is_some());
    pb::ListJobAttemptsResponse {
        next_page_token: last.map(|last| write_attempts_token(page, last)).unwrap_or_default(),
        attempts: shown.into_iter().map(convert::attempt).collect(),
    }
}

fn write_attempts_token(page: &AttemptsPage, last: &Attempt) -> String {
    let asked = page.run.map_or(0, |Run(run)| i64::from(run));
    let parts = [page.job.0, asked, i64::from(last.run.0), last.epoch.0];
    write_token(ATTEMPTS_TOKEN, &parts.map(i64::to_be_bytes).concat())
}

fn read_attempts_token(page: &AttemptsPage, token: &str) -> Result<(Run, Epoch)> {
    let bytes = read_token(ATTEMPTS_TOKEN, token).map_err(|error| bad(error.to_string()))?;
    let parts: Vec<i64> =
        bytes.chunks_exact(8).map(|chunk| i64::from_be_bytes(std::array::from_fn(|at| chunk[at]))).collect();
    let asked = page.run.map_or(0, |Run(run)| i64::from(run));
    match parts.as_slice() {
        [job, run, last_run, epoch] if *job == page.job.0 && *run == asked => {
            let last_run = i32::try_from(*last_run).map_err(|_| bad("is not a token of this kind".into()))?;
            Ok((Run(last_run), Epoch(*epoch)))
        }
        _ => Err(bad("belongs to another query: use it with the same job and run".into())),
    }
}

/// A page of worker processes that is asked for.
#[derive(Debug, PartialEq)]
pub(crate) struct WorkersPage {
    command: String,
    queue: String,
    size: usize,
    after: Option<Place>,
}

/// By name, start and instance id, so that the place of a worker process never changes.
type Place = (String, Time, String);

/// Reads which page of worker processes is asked for.
pub(crate) fn workers_page(given: pb::ListWorkersRequest) -> Result<WorkersPage> {
    let mut check = Check::new();
    check.optional_name("command", &given.command);
    check.optional_name("queue", &given.queue);
    // A worker process's name is part of the token, and longer than other tokens are.
    check.bytes("page_token", &given.page_token, 4 * super::check::wire::TOKEN_BYTES_MAX);
    let size = check.page_size("page_size", given.page_size);
    let page = WorkersPage { command: given.command, queue: given.queue, size, after: None };
    let page = check.pass(page)?;
    let after =
        if given.page_token.is_empty() { None } else { Some(read_workers_token(&page, &given.page_token)?) };
    Ok(WorkersPage { after, ..page })
}

/// One page of all worker processes, with the answer that shows them.
pub(crate) fn workers(
    page: &WorkersPage,
    mut all: Vec<(Session, i64)>,
) -> (Vec<(Session, i64)>, pb::ListWorkersResponse) {
    all.retain(|(session, _)| page.matches(session));
    all.sort_by_cached_key(|(session, _)| place(session));
    let more = all.len() > page.size;
    all.truncate(page.size);
    let last = all.last().filter(|_| more);
    let answer = pb::ListWorkersResponse {
        next_page_token: last.map(|(last, _)| write_workers_token(page, last)).unwrap_or_default(),
        workers: all.iter().map(convert::worker_process).collect(),
    };
    (all, answer)
}

impl WorkersPage {
    fn matches(&self, session: &Session) -> bool {
        let serves = |command: &str| session.commands.iter().any(|served| served.command == command);
        (self.command.is_empty() || serves(&self.command))
            && (self.queue.is_empty() || session.queues.contains(&self.queue))
            && self.after.as_ref().is_none_or(|after| place(session) > *after)
    }

    fn digest(&self) -> [u8; 16] {
        digest([self.command.as_bytes(), self.queue.as_bytes()])
    }
}

fn place(session: &Session) -> Place {
    (session.name.clone(), session.create_time, session.instance_id.clone())
}

fn write_workers_token(page: &WorkersPage, last: &Session) -> String {
    let place = serde_json::to_vec(&place(last)).unwrap_or_default();
    write_token(WORKERS_TOKEN, &[page.digest().as_slice(), &place].concat())
}

fn read_workers_token(page: &WorkersPage, token: &str) -> Result<Place> {
    let bytes = read_token(WORKERS_TOKEN, token).map_err(|error| bad(error.to_string()))?;
    match bytes.split_at_checked(16) {
        Some((of, place)) if of == page.digest() => {
            serde_json::from_slice(place).map_err(|_| bad("is not a token of this kind".into()))
        }
        _ => Err(bad("belongs to another query: use it with the same command and queue".into())),
    }
}

fn bad(message: String) -> Error {
    Error::BadToken { field: "page_token", message }
}

#[cfg(test)]
mod tests;
