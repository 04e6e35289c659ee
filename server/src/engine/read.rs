//! Reading one job: its record, its attempts, its log.

use std::sync::Arc;

use super::unit::unit;
use super::{Core, Engine, Error, JobKey, LogsCall, Page, Result};
use crate::model::{
    Attempt, Epoch, JobId, LogLine, Phase, Run, View, read_generated_ref, read_token, write_token,
};
use crate::store::{LogPosition, RefKey};

const LOGS_TOKEN: &str = "g1";

impl Engine {
    /// A job with all that is known of it, wherever it is; of an earlier run, what is left of that.
    pub async fn job(&self, key: &JobKey, run: Option<Run>) -> Result<View> {
        let (core, key) = (Arc::clone(&self.core), key.clone());
        unit(async move { core.run_of(&key, run).await }).await
    }

    /// Every attempt of a job, oldest first.
    pub async fn attempts(&self, job: JobId) -> Result<Vec<Attempt>> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let view = core.view(job).await?;
            let mut attempts = core.store.attempts(job).await?;
            if let (Phase::Ready(_), Some(last)) = (&view.phase, attempts.last_mut())
                && last.run == view.job.run
            {
                last.retry_time = Some(view.job.ready.ready_time);
            }
            Ok(attempts)
        })
        .await
    }

    /// The parents that a job still waits for.
    pub async fn waiting_for(&self, job: JobId) -> Result<Vec<JobId>> {
        let core = Arc::clone(&self.core);
        if job.is_transient() {
            return Ok(Vec::new());
        }
        unit(async move { Ok(core.store.waiting_for(job).await?) }).await
    }

    /// The last checkpoint of a job's present run.
    pub async fn checkpoint(&self, job: JobId) -> Result<Option<crate::model::Payload>> {
        let core = Arc::clone(&self.core);
        if job.is_transient() {
            return Ok(core.transients.checkpoint(job));
        }
        unit(async move { Ok(core.store.checkpoint(job).await?.map(|(_, payload)| payload)) }).await
    }

    /// A page of a job's log, oldest first.
    pub async fn logs(&self, call: LogsCall) -> Result<Page<LogLine>> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let run = match call.run {
                Some(run) => run,
                None => core.view(call.job).await?.job.run,
            };
            let start = LogPosition {
                run,
                epoch: call.epoch.unwrap_or_default(),
                sequence: if call.epoch.is_some() { call.after_sequence } else { 0 },
            };
            let after = if call.page_token.is_empty() { start } else { read_logs_token(&call)? };
            let wanted = call.page_size as i64 + 1;
            let mut lines = core.store.logs(call.job, after, call.level, wanted).await?;
            lines.retain(|line| line.run == run);
            let more = lines.len() > call.page_size;
            lines.truncate(call.page_size);
            let next =
                lines.last().filter(|_| more).map(|line| write_logs_token(&call, line)).unwrap_or_default();
            Ok(Page { items: lines, next })
        })
        .await
    }
}

impl Core {
    /// A job with all that is known of it; of an earlier run, what is left of that.
    pub(crate) async fn run_of(&self, key: &JobKey, run: Option<Run>) -> Result<View> {
        let id = self.id_of(key).await?;
        let mut view = self.view(id).await?;
        if let Some(run) = run.filter(|run| *run != view.job.run) {
            let none = || {
                Error::invalid(
                    "run",
                    format!("{run} is not a run of job {id}, whose latest is {}", view.job.run),
                )
            };
            let outcome = self.store.outcome(id, run).await?.ok_or_else(none)?;
            view.job.run = run;
            view.turn = outcome.turn;
            view.status = outcome.status.clone();
            (view.progress, view.cancel, view.cancel_deadline, view.last_error) = (None, None, None, None);
            view.progress_estimated = false;
            view.phase = Phase::Ended(Box::new(outcome));
        }
        Ok(view)
    }

    /// The id of a job by its ref id, the caller's own or a generated one.
    pub(crate) async fn id_of_ref(&self, ref_id: &str) -> Result<JobId> {
        if let Some(run) = self.transients.by_ref(ref_id) {
            return Ok(run);
        }
        let not_found = || Error::JobNotFound(format!("ref id {ref_id:?}"));
        if let Some((id, made)) = read_generated_ref(ref_id) {
            let view = self.view(id).await.map_err(|error| match error {
                Error::JobNotFound(_) => not_found(),
                other => other,
            })?;
            return (view.job.create_time == made).then_some(id).ok_or_else(not_found);
        }
        self.store.find_ref(RefKey::Ref(ref_id)).await?.ok_or_else(not_found)
    }
}

fn write_logs_token(call: &LogsCall, last: &LogLine) -> String {
    let parts = [call.job.0, i64::from(last.run.0), last.epoch.0, last.sequence];
    write_token(LOGS_TOKEN, &parts.map(i64::to_be_bytes).concat())
}

fn read_logs_token(call: &LogsCall) -> Result<LogPosition> {
    let bad = |message: &str| Error::BadToken { field: "page_token", message: message.into() };
    let bytes = read_token(LOGS_TOKEN, &call.page_token).map_err(|error| bad(&error.to_string()))?;
    let parts: Vec<i64> =
        bytes.chunks_exact(8).map(|chunk| i64::from_be_bytes(std::array::from_fn(|at| chunk[at]))).collect();
    match parts.as_slice() {
        [job, run, epoch, sequence] if *job == call.job.0 => {
            Ok(LogPosition { run: Run(*run as i32), epoch: Epoch(*epoch), sequence: *sequence })
        }
        [_, _, _, _] => Err(bad("belongs to another query: use it with the same job")),
        _ => Err(bad("is cut, changed or not a token of this kind")),
    }
}
