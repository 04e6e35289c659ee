//! Watching many jobs by a filter.

use std::collections::BTreeSet;
use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command, command_with, completed, failed, fixed_retry};
use haulier_tests::{HandWorker, Server, on_both, on_two_servers, refusal};
use pb::watch_jobs_response::Event;
use pb::{JobFilter, JobOptions, JobState, WatchJobsRequest};
use tonic::{Code, Streaming};

/// How long a watcher waits for an event.
const PATIENCE: Duration = Duration::from_secs(30);

on_both!(
    a_watch_of_a_filter_begins_with_what_matches_and_says_when_that_is_complete,
    changes_of_matching_jobs_are_told_and_others_are_not,
    a_job_that_leaves_the_states_of_the_filter_is_told_once_more,
    a_resumed_watch_tells_what_is_live_and_what_ended_meanwhile,
    a_token_of_another_filter_is_refused,
    a_token_that_is_none_is_refused,
);

on_two_servers!(a_watch_of_a_filter_sees_what_happens_at_another_server);

fn tagged(tag: &str) -> pb::EnqueueCommandRequest {
    command_with(
        "work",
        JobOptions { tag: tag.into(), retry_policy: fixed_retry(0, 1.0), ..Default::default() },
    )
}

fn of_tag(tag: &str) -> Option<JobFilter> {
    Some(JobFilter { tag: tag.into(), ..Default::default() })
}

struct Watch {
    stream: Streaming<pb::WatchJobsResponse>,
    token: String,
}

impl Watch {
    async fn begin(server: &Server, filter: Option<JobFilter>, resume_token: &str) -> Watch {
        let request = WatchJobsRequest { filter, resume_token: resume_token.into() };
        let stream = server.jobs().watch_jobs(request).await.expect("a watch begins").into_inner();
        Watch { stream, token: resume_token.into() }
    }

    async fn next(&mut self) -> Event {
        let next = tokio::time::timeout(PATIENCE, self.stream.message()).await;
        let message = next
            .expect("the watch tells something")
            .expect("the watch holds")
            .expect("it never ends by itself");
        self.token = message.resume_token;
        message.event.expect("an event")
    }

    /// The jobs of the initial set, when it is complete.
    async fn initial(&mut self) -> BTreeSet<(i64, JobState)> {
        let mut jobs = BTreeSet::new();
        loop {
            match self.next().await {
                Event::Job(job) => {
                    jobs.insert((job.id, job.state()));
                }
                Event::Synced(synced) => {
                    assert!(!synced.truncated);
                    return jobs;
                }
                Event::Gap(gap) => panic!("nothing was dropped, but {gap:?}"),
            }
        }
    }

    async fn job(&mut self) -> pb::JobSummary {
        match self.next().await {
            Event::Job(job) => job,
            other => panic!("wanted a job, got {other:?}"),
        }
    }

    async fn until(&mut self, job_id: i64, state: JobState) {
        loop {
            let job = self.job().await;
            if (job.id, job.state()) == (job_id, state) {
                return;
            }
        }
    }
}

async fn a_watch_of_a_filter_begins_with_what_matches_and_says_when_that_is_complete(server: &Server) {
    let mut wanted = BTreeSet::new();
    for _ in 0..12 {
        wanted.insert((server.enqueue(tagged("red")).await.job_id, JobState::Queued));
        server.enqueue(tagged("blue")).await;
    }
    assert_eq!(Watch::begin(server, of_tag("red"), "").await.initial().await, wanted);
    assert_eq!(Watch::begin(server, None, "").await.initial().await.len(), 24);
    assert!(Watch::begin(server, of_tag("green"), "").await.initial().await.is_empty());
}

async fn changes_of_matching_jobs_are_told_and_others_are_not(server: &Server) {
    let mut watch = Watch::begin(server, of_tag("red"), "").await;
    watch.initial().await;
    server.enqueue(tagged("blue")).await;
    let red = server.enqueue(tagged("red")).await.job_id;
    watch.until(red, JobState::Queued).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let jobs = worker.claim(2).await;
    watch.until(red, JobState::Running).await;
    for job in &jobs {
        worker.end_well(&job.lease, completed("1")).await;
    }
    watch.until(red, JobState::Completed).await;
    // Had the blue one been told, it would have come before this.
    let last = server.enqueue(tagged("red")).await.job_id;
    assert_eq!(watch.job().await.id, last);
}

async fn a_job_that_leaves_the_states_of_the_filter_is_told_once_more(server: &Server) {
    let filter = Some(JobFilter {
        states: vec![JobState::Queued.into(), JobState::Running.into()],
        ..Default::default()
    });
    let stored = server.enqueue(tagged("red")).await.job_id;
    let mut watch = Watch::begin(server, filter, "").await;
    assert_eq!(watch.initial().await, BTreeSet::from([(stored, JobState::Queued)]));
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    watch.until(stored, JobState::Running).await;
    worker.end_well(&job.lease, failed("no")).await;
    watch.until(stored, JobState::Failed).await;
    let last = server.enqueue(tagged("red")).await.job_id;
    assert_eq!(watch.job().await.id, last, "and then no more");
}

async fn a_resumed_watch_tells_what_is_live_and_what_ended_meanwhile(server: &Server) {
    let lives = server.enqueue(tagged("red")).await.job_id;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let living = worker.claim_one().await;
    let ends = server.enqueue(tagged("red")).await.job_id;
    let mut watch = Watch::begin(server, of_tag("red"), "").await;
    watch.initial().await;
    let token = watch.token.clone();
    drop(watch);
    let ending = worker.claim_one().await;
    worker.end_well(&ending.lease, completed("1")).await;
    let comes = server.enqueue(tagged("red")).await.job_id;
    let mut watch = Watch::begin(server, of_tag("red"), &token).await;
    let told = watch.initial().await;
    for wanted in [(lives, JobState::Running), (ends, JobState::Completed), (comes, JobState::Queued)] {
        assert!(told.contains(&wanted), "{wanted:?} is not among {told:?}");
    }
    worker.end_well(&living.lease, completed("1")).await;
    watch.until(lives, JobState::Completed).await;
}

async fn refused(server: &Server, filter: Option<JobFilter>, token: &str) -> haulier_tests::Refusal {
    let request = WatchJobsRequest { filter, resume_token: token.into() };
    match server.jobs().watch_jobs(request).await {
        Ok(answer) => refusal(answer.into_inner().message().await),
        Err(status) => status.into(),
    }
}

async fn a_token_of_another_filter_is_refused(server: &Server) {
    let mut watch = Watch::begin(server, of_tag("red"), "").await;
    watch.initial().await;
    let refusal = refused(server, of_tag("blue"), &watch.token).await;
    refusal.must_be(Code::InvalidArgument, "BAD_TOKEN");
    assert!(refusal.field("resume_token").is_some(), "{refusal:?}");
}

async fn a_token_that_is_none_is_refused(server: &Server) {
    server.enqueue(command("work")).await;
    for token in ["x", "w1.AAAA", &"a".repeat(200)] {
        refused(server, None, token).await.must_be(Code::InvalidArgument, "BAD_TOKEN");
    }
}

async fn a_watch_of_a_filter_sees_what_happens_at_another_server(server: &Server, replica: &Server) {
    let mut watch = Watch::begin(replica, of_tag("red"), "").await;
    watch.initial().await;
    let stored = server.enqueue(tagged("red")).await.job_id;
    watch.until(stored, JobState::Queued).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    watch.until(stored, JobState::Running).await;
    worker.end_well(&job.lease, completed("1")).await;
    watch.until(stored, JobState::Completed).await;
}
