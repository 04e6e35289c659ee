//! What is left when everything is whole again and had time to settle: each job with its runs, attempts and lines, as the API
//! tells it, and the tables that must be empty.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use haulier_proto::v1 as pb;
use haulier_tests::checker::{AttemptEnd, Ending, Evidence, FinalAttempt, FinalJob, FinalLine, FinalRun};
use haulier_tests::history::read_all;
use haulier_tests::load::{LEASE, TICK, Task};
use haulier_tests::{Server, figure, monotonic, stamp};
use pb::job_result::Record;
use pb::payload::Kind;
use pb::{AttemptOutcome, FailureReason, JobState};
use sqlx::{Connection as _, Row as _};

use crate::rig::{Engine, Rig};

/// How long the jobs that are left may take: the slowest job, every recovery, and an amnesty.
const QUIET_AFTER: Duration = Duration::from_secs(120);
/// Jobs that are read at once.
const READS: usize = 32;
/// What must be empty when nothing waits and nothing runs.
const EMPTY_IN_THE_END: [&str; 4] = ["job_ready", "job_lease", "job_cancel", "job_expire"];

pub(crate) async fn of(rig: &Rig) -> Evidence {
    let server = &rig.servers[0];
    let quiet = wait_until_quiet(server).await;
    figure(&format!("quiet after {quiet:?}"));
    let jobs = futures::stream::iter(every_job(server).await)
        .map(|job| final_job(server, job))
        .buffer_unordered(READS)
        .collect::<Vec<_>>()
        .await;
    Evidence {
        records: read_all(rig.folder()).unwrap(),
        jobs,
        left_over: left_over(rig).await,
        lease: LEASE,
        tick: TICK,
    }
}

/// Waits until no job is live, at most for a while: what is live then is for the checker to tell.
async fn wait_until_quiet(server: &Server) -> Duration {
    let begun = monotonic();
    let states = [JobState::Queued, JobState::Scheduled, JobState::Running, JobState::Blocked];
    loop {
        let filter = pb::JobFilter { states: states.map(Into::into).to_vec(), ..Default::default() };
        let request = pb::ListJobsRequest { filter: Some(filter), page_size: 1, ..Default::default() };
        let page = server.jobs().list_jobs(request).await.expect("a whole server lists jobs").into_inner();
        let took = monotonic() - begun;
        if (page.jobs.is_empty() && page.next_page_token.is_empty()) || took > QUIET_AFTER {
            return took;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn every_job(server: &Server) -> Vec<pb::JobSummary> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListJobsRequest {
            order: pb::ListOrder::OldestFirst.into(),
            page_size: 500,
            page_token,
            ..Default::default()
        };
        let page = server.jobs().list_jobs(request).await.expect("a whole server lists jobs").into_inner();
        all.extend(page.jobs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

async fn final_job(server: &Server, summary: pb::JobSummary) -> FinalJob {
    let mut runs = Vec::new();
    let mut lines = Vec::new();
    let mut key = String::new();
    for run in 1..=summary.run {
        let job = server.run(summary.id, run).await;
        key = key_of(&job);
        runs.push(final_run(&job));
        lines.extend(lines_of(server, summary.id, run).await);
    }
    let attempts = server.attempts(summary.id).await.iter().map(final_attempt).collect();
    FinalJob { id: summary.id, key, runs, attempts, lines }
}

fn json_of(payload: Option<&pb::Payload>) -> Option<&str> {
    match payload.and_then(|payload| payload.kind.as_ref()) {
        Some(Kind::Json(text)) => Some(text),
        _ => None,
    }
}

fn key_of(job: &pb::JobResult) -> String {
    let request = match job.record.as_ref().expect("a record") {
        Record::Queued(record) => record.request.as_ref(),
        Record::Completed(record) => record.request.as_ref(),
        Record::Failed(record) => record.request.as_ref(),
    };
    let task: Task = serde_json::from_str(json_of(request).expect("a request")).expect("a task");
    task.key
}

fn final_run(job: &pb::JobResult) -> FinalRun {
    let summary = job.summary.as_ref().expect("a summary");
    let (ending, result) = match job.record.as_ref().expect("a record") {
        Record::Queued(_) => (Ending::Live, None),
        Record::Completed(record) => (Ending::Completed, record.result.as_ref()),
        Record::Failed(_) if summary.state() == JobState::Cancelled => (Ending::Cancelled, None),
        Record::Failed(record) => match record.error.as_ref().map(pb::JobError::reason) {
            Some(FailureReason::Poison) => (Ending::Poison, None),
            _ => (Ending::Failed, None),
        },
    };
    let result: Option<serde_json::Value> = json_of(result).and_then(|text| serde_json::from_str(text).ok());
    let result_epoch = result.and_then(|result| result["epoch"].as_i64());
    FinalRun { run: summary.run, ending, epoch: summary.epoch, result_epoch }
}

fn final_attempt(attempt: &pb::JobAttempt) -> FinalAttempt {
    let end = match attempt.outcome() {
        AttemptOutcome::Completed => AttemptEnd::Completed,
        AttemptOutcome::Failed => AttemptEnd::Failed,
        AttemptOutcome::TimedOut => AttemptEnd::TimedOut,
        AttemptOutcome::Crashed => AttemptEnd::Crashed,
        AttemptOutcome::Released | AttemptOutcome::NotReceived => AttemptEnd::Released,
        AttemptOutcome::Cancelled => AttemptEnd::Cancelled,
        AttemptOutcome::Running => AttemptEnd::Running,
        AttemptOutcome::Unspecified => panic!("an attempt that ended somehow: {attempt:?}"),
    };
    FinalAttempt {
        run: attempt.run,
        attempt: attempt.attempt,
        epoch: attempt.epoch,
        worker: attempt.worker_process.clone(),
        end,
        start: stamp(&attempt.start_time),
        finish: attempt.finish_time.as_ref().map(|_| stamp(&attempt.finish_time)),
    }
}

async fn lines_of(server: &Server, job_id: i64, run: i32) -> Vec<FinalLine> {
    let mut lines = Vec::new();
    let mut page_token = String::new();
    loop {
        let request =
            pb::ListJobLogsRequest { job_id, run, page_size: 500, page_token, ..Default::default() };
        let page = server.jobs().list_job_logs(request).await.expect("log lines are listed").into_inner();
        lines.extend(page.lines.into_iter().map(|line| FinalLine {
            run: line.run,
            epoch: line.epoch,
            sequence: line.sequence,
            text: line.message,
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return lines;
        }
    }
}

/// Looks behind the API: rows that no list would show.
async fn left_over(rig: &Rig) -> Vec<String> {
    let mut left_over = Vec::new();
    for table in EMPTY_IN_THE_END {
        let sql = format!("SELECT COUNT(*) FROM haulier_{table}");
        let count = match rig.engine() {
            Engine::MariaDb => count_in_mariadb(rig, &sql),
            Engine::Sqlite => count_in_sqlite(rig.servers[0].database_url(), sql).await,
        };
        if count > 0 {
            left_over.push(format!("{table}: {count}"));
        }
    }
    left_over
}

fn count_in_mariadb(rig: &Rig, sql: &str) -> i64 {
    let url = rig.servers[0].database_url();
    let path = url.split_once('?').map_or(url, |(path, _)| path);
    let name = path.rsplit('/').next().expect("the name of the database");
    let database = rig.database.as_ref().expect("a database of our own");
    let answer = database.run_sql(&format!("USE {name}; {sql}")).expect("a whole database answers");
    answer.trim().parse().expect("a count")
}

async fn count_in_sqlite(url: &str, sql: String) -> i64 {
    let mut connection =
        sqlx::SqliteConnection::connect(url).await.expect("the file of a server that runs can be read");
    let rows: Vec<_> =
        sqlx::query(sqlx::AssertSqlSafe(sql)).fetch(&mut connection).try_collect().await.expect("a count");
    rows[0].get(0)
}
