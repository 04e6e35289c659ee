//! Watching one job: everything that matters, in order, over any cut.

use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command, command_with, completed, failed, fixed_retry, text_of};
use haulier_tests::{HandWorker, Server, figure, lines, monotonic, on_both, on_two_servers, refusal};
use pb::watch_job_request::Target;
use pb::watch_job_response::Event;
use pb::{JobOptions, JobState, WatchJobRequest, WatchJobResponse};
use tonic::{Code, Streaming};

/// How long a watcher waits for an event.
const PATIENCE: Duration = Duration::from_secs(30);
/// Promised for another server; three times that is a failure.
const SEEN_ELSEWHERE_WITHIN: Duration = Duration::from_secs(2);

on_both!(
    a_watch_begins_with_a_snapshot_and_ends_cleanly_after_the_one_that_shows_the_outcome,
    a_watch_of_a_job_that_has_ended_shows_it_and_ends,
    a_watch_tells_every_state_over_a_retry,
    a_watch_tells_progress_and_status,
    log_lines_come_in_order_and_before_the_end,
    a_watch_without_logs_tells_none,
    a_watch_that_is_cut_anywhere_and_resumed_misses_nothing,
    a_watch_resumed_after_the_outcome_shows_it_and_ends,
    a_watch_by_ref_id_follows_the_same_job,
    a_watch_tells_a_cancel_request,
    many_watchers_see_the_same,
    a_watch_of_a_job_that_does_not_exist_is_not_found,
    a_watch_survives_a_server_restart_by_its_token,
);

on_two_servers!(a_watch_at_one_server_follows_a_job_that_is_run_through_the_other);

async fn next(watch: &mut Streaming<WatchJobResponse>) -> Option<WatchJobResponse> {
    let next = tokio::time::timeout(PATIENCE, watch.message()).await;
    next.expect("the watch tells something").expect("the watch holds")
}

/// What was seen of a job.
#[derive(Debug, Default)]
struct Seen {
    token: String,
    states: Vec<(i32, JobState)>,
    logs: Vec<(i64, i64, String)>,
    progress: Vec<(Option<f64>, String)>,
    snapshots: Vec<pb::JobResult>,
    ended: bool,
}

impl Seen {
    fn take(&mut self, message: WatchJobResponse) {
        assert!(!message.resume_token.is_empty() && message.resume_token.len() <= 512);
        self.token = message.resume_token;
        match message.event.expect("an event") {
            Event::Snapshot(snapshot) => {
                let summary = snapshot.summary.clone().expect("a summary");
                self.states.push((summary.attempt, summary.state()));
                self.snapshots.push(snapshot);
            }
            Event::State(summary) => self.states.push((summary.attempt, summary.state())),
            Event::Progress(event) => self.progress.push((event.progress, event.status)),
            Event::Logs(event) => {
                self.logs
                    .extend(event.lines.into_iter().map(|line| (line.epoch, line.sequence, line.message)));
            }
            Event::Gap(gap) => panic!("nothing was dropped, but {gap:?}"),
        }
    }

    /// Reads one event; false at the end.
    async fn read(&mut self, watch: &mut Streaming<WatchJobResponse>) -> bool {
        match next(watch).await {
            Some(message) => {
                self.take(message);
                true
            }
            None => {
                self.ended = true;
                false
            }
        }
    }

    async fn read_until(&mut self, watch: &mut Streaming<WatchJobResponse>, seen: impl Fn(&Seen) -> bool) {
        while !seen(self) {
            assert!(self.read(watch).await, "the watch ended early: {self:?}");
        }
    }

    async fn read_to_the_end(&mut self, watch: &mut Streaming<WatchJobResponse>) {
        while self.read(watch).await {}
    }

    fn last_state(&self) -> Option<JobState> {
        self.states.last().map(|(_, state)| *state)
    }

    fn texts(&self) -> Vec<&str> {
        self.logs.iter().map(|(_, _, text)| text.as_str()).collect()
    }
}

async fn a_watch_begins_with_a_snapshot_and_ends_cleanly_after_the_one_that_shows_the_outcome(
    server: &Server,
) {
    let stored = server.enqueue(command("work")).await;
    let mut watch = server.watch(stored.job_id).await;
    let mut seen = Seen::default();
    assert!(seen.read(&mut watch).await);
    assert_eq!((seen.snapshots.len(), seen.last_state()), (1, Some(JobState::Queued)));
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    seen.read_until(&mut watch, |seen| seen.last_state() == Some(JobState::Running)).await;
    worker.end_well(&job.lease, completed("[1]")).await;
    seen.read_to_the_end(&mut watch).await;
    assert_eq!(seen.states, [(0, JobState::Queued), (1, JobState::Running), (1, JobState::Completed)]);
    let Some(pb::job_result::Record::Completed(record)) = &seen.snapshots.last().unwrap().record else {
        panic!("the last event shows the outcome: {seen:?}")
    };
    assert_eq!((seen.snapshots.len(), text_of(&record.result)), (2, "[1]"));
}

async fn a_watch_of_a_job_that_has_ended_shows_it_and_ends(server: &Server) {
    let stored = server.enqueue(command("work")).await;
    server.cancel(stored.job_id, "no", None).await;
    let mut watch = server.watch(stored.job_id).await;
    let mut seen = Seen::default();
    seen.read_to_the_end(&mut watch).await;
    assert_eq!((seen.states.as_slice(), seen.snapshots.len()), ([(0, JobState::Cancelled)].as_slice(), 1));
}

async fn a_watch_tells_every_state_over_a_retry(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(1, 3.0), ..Default::default() };
    let stored = server.enqueue(command_with("work", options)).await;
    let mut watch = server.watch(stored.job_id).await;
    let mut seen = Seen::default();
    seen.read(&mut watch).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let first = worker.claim_one().await;
    seen.read_until(&mut watch, |seen| seen.last_state() == Some(JobState::Running)).await;
    worker.end_well(&first.lease, failed("no")).await;
    seen.read_until(&mut watch, |seen| seen.last_state() == Some(JobState::Scheduled)).await;
    let second = worker.claim_one().await;
    seen.read_until(&mut watch, |seen| seen.last_state() == Some(JobState::Running)).await;
    worker.end_well(&second.lease, failed("no")).await;
    seen.read_to_the_end(&mut watch).await;
    // Between the end of the wait and the claim it may be seen waiting in the queue.
    seen.states.retain(|state| *state != (1, JobState::Queued));
    let wanted = [
        (0, JobState::Queued),
        (1, JobState::Running),
        (1, JobState::Scheduled),
        (2, JobState::Running),
        (2, JobState::Failed),
    ];
    assert_eq!(seen.states, wanted);
}

async fn claimed(server: &Server) -> (HandWorker, pb::LeasedJob) {
    server.enqueue(command("work")).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    (worker, job)
}

async fn a_watch_tells_progress_and_status(server: &Server) {
    let (worker, job) = claimed(server).await;
    let mut watch = server.watch(job.job_id).await;
    let mut seen = Seen::default();
    seen.read(&mut watch).await;
    let progress = |progress, status: &str| pb::ReportJobsRequest {
        progress: vec![pb::ProgressReport {
            lease: job.lease.clone(),
            progress: Some(progress),
            status: Some(status.into()),
        }],
        ..Default::default()
    };
    let talk = worker.converse_with(progress(0.5, "half")).await;
    seen.read_until(&mut watch, |seen| seen.progress.contains(&(Some(0.5), "half".into()))).await;
    talk.say(progress(0.75, "more")).await;
    seen.read_until(&mut watch, |seen| seen.progress.contains(&(Some(0.75), "more".into()))).await;
    worker.end_well(&job.lease, completed("1")).await;
    seen.read_to_the_end(&mut watch).await;
    assert_eq!(seen.last_state(), Some(JobState::Completed));
}

fn logs(job: &pb::LeasedJob, from: i64, texts: &[&str]) -> pb::ReportJobsRequest {
    pb::ReportJobsRequest { logs: vec![lines(&job.lease, from, texts)], ..Default::default() }
}

async fn log_lines_come_in_order_and_before_the_end(server: &Server) {
    let (worker, job) = claimed(server).await;
    let mut watch = server.watch(job.job_id).await;
    let mut seen = Seen::default();
    let talk = worker.converse_with(logs(&job, 0, &["1", "2"])).await;
    seen.read_until(&mut watch, |seen| seen.logs.len() == 2).await;
    for from in 2..40 {
        talk.say(logs(&job, from, &[&(from + 1).to_string()])).await;
    }
    seen.read_until(&mut watch, |seen| seen.logs.len() == 40).await;
    // The last lines come in the same message as the outcome.
    let outcome =
        pb::OutcomeReport { lease: job.lease.clone(), log_sequence: 42, outcome: Some(completed("1")) };
    talk.say(pb::ReportJobsRequest { outcomes: vec![outcome], ..logs(&job, 40, &["41", "42"]) }).await;
    seen.read_to_the_end(&mut watch).await;
    let wanted: Vec<String> = (1..=42).map(|line| line.to_string()).collect();
    assert_eq!(seen.texts(), wanted);
    assert!(
        seen.logs
            .iter()
            .zip(1..)
            .all(|((epoch, sequence, _), wanted)| *epoch == job.fencing_token && *sequence == wanted)
    );
}

async fn a_watch_without_logs_tells_none(server: &Server) {
    let (worker, job) = claimed(server).await;
    let request = WatchJobRequest {
        target: Some(Target::JobId(job.job_id)),
        include_logs: Some(false),
        ..Default::default()
    };
    let mut watch = server.jobs().watch_job(request).await.unwrap().into_inner();
    worker.report(logs(&job, 0, &["1", "2"])).await;
    worker.end_after(&job.lease, 2, completed("1")).await;
    let mut seen = Seen::default();
    seen.read_to_the_end(&mut watch).await;
    assert_eq!((seen.texts().len(), seen.last_state()), (0, Some(JobState::Completed)));
}

async fn a_watch_that_is_cut_anywhere_and_resumed_misses_nothing(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(1, 0.1), ..Default::default() };
    let stored = server.enqueue(command_with("work", options)).await;
    let runner = async {
        let mut worker = HandWorker::register(server, &["work"]).await;
        for attempt in 1..=2 {
            let job = worker.claim_one().await;
            let talk = worker.converse().await;
            for from in 0..30 {
                talk.say(logs(&job, from, &[&format!("{attempt}.{}", from + 1)])).await;
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
            let outcome = if attempt == 1 { failed("no") } else { completed("1") };
            worker.report(logs(&job, 29, &[&format!("{attempt}.30")])).await;
            // The lines went up on another stream and may still be on their way: the outcome waits for them.
            let mut ack = worker.end_after(&job.lease, 30, outcome.clone()).await;
            for _ in 0..200 {
                if ack.outcome_stored {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                ack = worker.end_after(&job.lease, 30, outcome.clone()).await;
            }
            assert!(ack.outcome_stored, "{ack:?}");
        }
    };
    let watcher = async {
        let mut seen = Seen::default();
        let mut cuts = 0;
        'connections: while !seen.ended {
            let mut watch = server.watch_from(stored.job_id, seen.token.clone()).await;
            for _ in 0..=(cuts % 3) {
                if !seen.read(&mut watch).await {
                    break 'connections;
                }
            }
            cuts += 1;
        }
        (seen, cuts)
    };
    let ((), (seen, cuts)) = tokio::join!(runner, watcher);
    figure(&format!("cut {cuts} times"));
    let wanted: Vec<String> =
        (1..=2).flat_map(|attempt| (1..=30).map(move |line| format!("{attempt}.{line}"))).collect();
    assert_eq!(seen.texts(), wanted, "each line once, in order");
    assert_eq!(seen.states.last(), Some(&(2, JobState::Completed)));
    assert!(matches!(seen.snapshots.last().unwrap().record, Some(pb::job_result::Record::Completed(_))));
}

async fn a_watch_resumed_after_the_outcome_shows_it_and_ends(server: &Server) {
    let (worker, job) = claimed(server).await;
    let mut watch = server.watch(job.job_id).await;
    let mut seen = Seen::default();
    seen.read(&mut watch).await;
    drop(watch);
    worker.report(logs(&job, 0, &["1", "2"])).await;
    worker.end_after(&job.lease, 2, completed("1")).await;
    for _ in 0..2 {
        let mut watch = server.watch_from(job.job_id, seen.token.clone()).await;
        seen.read_to_the_end(&mut watch).await;
        // From the last token on there is nothing but the outcome to show, and no line twice.
        assert_eq!((seen.texts(), seen.last_state()), (vec!["1", "2"], Some(JobState::Completed)));
    }
}

async fn a_watch_by_ref_id_follows_the_same_job(server: &Server) {
    let options = JobOptions { ref_id: "one".into(), ..Default::default() };
    let stored = server.enqueue(command_with("work", options)).await;
    let request = WatchJobRequest { target: Some(Target::RefId("one".into())), ..Default::default() };
    let mut watch = server.jobs().watch_job(request).await.unwrap().into_inner();
    let mut seen = Seen::default();
    seen.read(&mut watch).await;
    server.cancel(stored.job_id, "no", None).await;
    seen.read_to_the_end(&mut watch).await;
    assert_eq!(seen.snapshots.last().unwrap().summary.as_ref().unwrap().id, stored.job_id);
    assert_eq!(seen.last_state(), Some(JobState::Cancelled));
}

async fn a_watch_tells_a_cancel_request(server: &Server) {
    let (worker, job) = claimed(server).await;
    let mut watch = server.watch(job.job_id).await;
    assert!(next(&mut watch).await.is_some());
    server.cancel(job.job_id, "stop", None).await;
    let told = next(&mut watch).await.and_then(|message| message.event);
    let Some(Event::State(summary)) = told else { panic!("wanted a state, got {told:?}") };
    assert!(summary.cancel_requested);
    worker.end_well(&job.lease, completed("1")).await;
    let mut seen = Seen::default();
    seen.read_to_the_end(&mut watch).await;
    assert_eq!(seen.last_state(), Some(JobState::Completed));
}

async fn many_watchers_see_the_same(server: &Server) {
    let (worker, job) = claimed(server).await;
    let watchers: Vec<_> = futures::future::join_all((0..40).map(|_| server.watch(job.job_id))).await;
    let reading = watchers.into_iter().map(|mut watch| async move {
        let mut seen = Seen::default();
        seen.read_to_the_end(&mut watch).await;
        seen
    });
    let running = async {
        for from in 0..20 {
            worker.report(logs(&job, from, &["a line"])).await;
        }
        worker.end_after(&job.lease, 20, completed("1")).await;
    };
    let (all, ()) = tokio::join!(futures::future::join_all(reading), running);
    for seen in all {
        assert_eq!((seen.logs.len(), seen.last_state()), (20, Some(JobState::Completed)));
    }
}

async fn a_watch_of_a_job_that_does_not_exist_is_not_found(server: &Server) {
    for target in [Target::JobId(987_654), Target::RefId("nobody".into())] {
        let request = WatchJobRequest { target: Some(target), ..Default::default() };
        let refused = match server.jobs().watch_job(request).await {
            Ok(answer) => refusal(answer.into_inner().message().await),
            Err(status) => status.into(),
        };
        refused.must_be(Code::NotFound, "JOB_NOT_FOUND");
    }
}

async fn a_watch_survives_a_server_restart_by_its_token(server: &Server) {
    let (worker, job) = claimed(server).await;
    worker.report(logs(&job, 0, &["1", "2"])).await;
    let mut watch = server.watch(job.job_id).await;
    let mut seen = Seen::default();
    seen.read_until(&mut watch, |seen| seen.logs.len() == 2).await;
    server.kill9();
    assert!(watch.message().await.is_err(), "a killed server does not end a stream cleanly");
    server.restart().await;
    let worker = worker.through(server);
    worker.report(logs(&job, 2, &["3"])).await;
    let mut watch = server.watch_from(job.job_id, seen.token.clone()).await;
    seen.read_until(&mut watch, |seen| seen.logs.len() == 3).await;
    worker.end_after(&job.lease, 3, completed("1")).await;
    seen.read_to_the_end(&mut watch).await;
    assert_eq!((seen.texts(), seen.last_state()), (vec!["1", "2", "3"], Some(JobState::Completed)));
}

async fn a_watch_at_one_server_follows_a_job_that_is_run_through_the_other(
    server: &Server,
    replica: &Server,
) {
    let stored = server.enqueue(command("work")).await;
    let mut watch = replica.watch(stored.job_id).await;
    let mut seen = Seen::default();
    seen.read(&mut watch).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    seen.read_until(&mut watch, |seen| seen.last_state() == Some(JobState::Running)).await;
    worker.report(logs(&job, 0, &["1", "2"])).await;
    worker.end_after(&job.lease, 2, completed("1")).await;
    let begun = monotonic();
    seen.read_to_the_end(&mut watch).await;
    let waited = monotonic() - begun;
    figure(&format!("seen elsewhere after {waited:?}, promised within {SEEN_ELSEWHERE_WITHIN:?}"));
    assert!(waited < 3 * SEEN_ELSEWHERE_WITHIN, "{waited:?}");
    assert_eq!((seen.texts(), seen.last_state()), (vec!["1", "2"], Some(JobState::Completed)));
    // The token of one server is good at the other.
    let mut watch = server.watch_from(stored.job_id, seen.token.clone()).await;
    let mut again = Seen::default();
    again.read_to_the_end(&mut watch).await;
    assert_eq!((again.texts().len(), again.last_state()), (0, Some(JobState::Completed)));
}
