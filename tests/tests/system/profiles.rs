//! Retry profiles: named sets of values that a policy starts from.

use std::process::Command;
use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command, command_with, failed};
use haulier_tests::{HandWorker, Server, haulier_binary, on_both, on_both_configured, seconds};
use pb::{FailureReason, JobOptions, JobState, RetryPolicy};
use tonic::Code;

on_both!(
    abp_waits_a_minute_and_gives_up_after_two_days,
    none_fails_with_the_first_attempt,
    a_job_is_abandoned_when_its_next_attempt_would_come_too_late,
    time_before_the_first_attempt_is_not_counted_as_failing,
    an_unknown_profile_is_refused_and_the_known_ones_are_named,
);

on_both_configured!(
    "retry_profile = \"patient\"\n\
     retry_limit = 7\n\
     [retry.patient]\nfirst = \"1h\"\nbackoff = \"fixed\"\nretry_limit = 3\ncrash_limit = 1\n\
     [retry.abp]\nfirst = \"30s\"\n";
    a_job_that_names_no_profile_gets_the_configured_one,
    a_configured_profile_wins_over_the_built_in_one,
);

fn of_profile(name: &str) -> Option<RetryPolicy> {
    Some(RetryPolicy { profile: name.into(), ..Default::default() })
}

fn with(retry_policy: Option<RetryPolicy>) -> pb::EnqueueCommandRequest {
    command_with("work", JobOptions { retry_policy, ..Default::default() })
}

/// The policy that a job was stored with.
async fn policy(server: &Server, job_id: i64) -> RetryPolicy {
    let Some(pb::job_result::Record::Queued(record)) = server.job(job_id).await.record else {
        panic!("a live job has a queued record")
    };
    record.options.unwrap().retry_policy.unwrap()
}

/// Fails the next attempt; the job as it is then.
async fn fail_once(server: &Server) -> pb::JobSummary {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    worker.end_well(&job.lease, failed("no")).await;
    server.summary(job.job_id).await
}

fn wait_of(summary: &pb::JobSummary, attempt: &pb::JobAttempt) -> f64 {
    let micros = |time: &Option<prost_types::Timestamp>| {
        let time = time.as_ref().unwrap();
        time.seconds as f64 + f64::from(time.nanos) / 1e9
    };
    micros(&summary.ready_time) - micros(&attempt.finish_time)
}

async fn abp_waits_a_minute_and_gives_up_after_two_days(server: &Server) {
    let stored = server.enqueue(with(of_profile("abp"))).await;
    let policy = policy(server, stored.job_id).await;
    assert_eq!((policy.profile.as_str(), policy.factor), ("abp", Some(2.0)));
    assert_eq!((policy.first_delay, policy.give_up_after), (seconds(60.0), seconds(172_800.0)));
    let summary = fail_once(server).await;
    assert_eq!((summary.state(), summary.attempt), (JobState::Scheduled, 1));
    let waited = wait_of(&summary, &server.attempts(stored.job_id).await[0]);
    assert!((59.9..60.1).contains(&waited), "{waited}");
}

async fn none_fails_with_the_first_attempt(server: &Server) {
    server.enqueue(with(of_profile("none"))).await;
    let summary = fail_once(server).await;
    assert_eq!(
        (summary.state(), summary.error.unwrap().reason()),
        (JobState::Failed, FailureReason::Handler)
    );
}

async fn a_job_is_abandoned_when_its_next_attempt_would_come_too_late(server: &Server) {
    let policy = RetryPolicy { give_up_after: seconds(59.0), ..of_profile("abp").unwrap() };
    server.enqueue(with(Some(policy))).await;
    let summary = fail_once(server).await;
    let error = summary.error.clone().unwrap();
    assert_eq!((summary.state(), error.reason()), (JobState::Failed, FailureReason::Abandoned));
    assert_eq!(error.message, "no");
}

async fn time_before_the_first_attempt_is_not_counted_as_failing(server: &Server) {
    let retry_policy = Some(RetryPolicy {
        give_up_after: seconds(3.0),
        first_delay: seconds(1.5),
        backoff: pb::Backoff::Fixed.into(),
        ..Default::default()
    });
    let options = JobOptions { retry_policy, delay: seconds(2.0), ..Default::default() };
    let stored = server.enqueue(command_with("work", options)).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_within(1, Duration::from_secs(20)).await.remove(0);
    assert_eq!(worker.end_well(&job.lease, failed("no")).await, JobState::Scheduled);
    assert_eq!(job.job_id, stored.job_id);
}

async fn an_unknown_profile_is_refused_and_the_known_ones_are_named(server: &Server) {
    let refused = server.enqueue_refused(with(of_profile("nonsense"))).await;
    refused.must_be(Code::InvalidArgument, "INVALID_FIELD");
    let (field, why) = refused.fields.first().unwrap();
    assert_eq!(field, "options.retry_policy.profile");
    assert!(why.contains("`abp`, `default`, `none`"), "{why}");
}

async fn a_job_that_names_no_profile_gets_the_configured_one(server: &Server) {
    for request in [command("work"), with(None), with(of_profile("patient"))] {
        let stored = server.enqueue(request).await;
        let policy = policy(server, stored.job_id).await;
        assert_eq!(
            (policy.profile.as_str(), policy.retry_limit, policy.crash_limit),
            ("patient", Some(3), Some(1))
        );
        assert_eq!((policy.first_delay, policy.backoff()), (seconds(3_600.0), pb::Backoff::Fixed));
    }
    let summary = fail_once(server).await;
    let waited = wait_of(&summary, &server.attempts(summary.id).await[0]);
    assert!((3_599.9..3_600.1).contains(&waited), "{waited}");
    // What a job sets wins over its profile.
    let stored = server.enqueue(with(Some(RetryPolicy { retry_limit: Some(0), ..Default::default() }))).await;
    let policy = policy(server, stored.job_id).await;
    assert_eq!((policy.profile.as_str(), policy.retry_limit), ("patient", Some(0)));
}

async fn a_configured_profile_wins_over_the_built_in_one(server: &Server) {
    let stored = server.enqueue(with(of_profile("abp"))).await;
    let abp = policy(server, stored.job_id).await;
    assert_eq!((abp.first_delay, abp.give_up_after), (seconds(30.0), seconds(172_800.0)));
    let stored = server.enqueue(with(of_profile("default"))).await;
    assert_eq!(policy(server, stored.job_id).await.retry_limit, Some(7), "the setting `retry_limit`");
    let output = Command::new(haulier_binary())
        .args(["enqueue", "work", "--retry-profile", "abp", "--address", &server.address()])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}");
    let job_id: i64 = told.split('\t').next().unwrap().parse().unwrap();
    assert_eq!(policy(server, job_id).await.profile, "abp");
}

#[test]
fn a_server_does_not_start_with_a_profile_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    for (text, key) in [
        ("retry_profile = \"mine\"", "retry_profile"),
        ("[retry.mine]\nfactor = 0.1", "retry.mine.factor"),
        ("[retry.mine]\ngive_up = \"soon\"", "retry.mine.give_up"),
    ] {
        let file = folder.path().join("haulier.toml");
        std::fs::write(&file, text).unwrap();
        let output = Command::new(haulier_binary())
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .env("HAULIER_DATABASE_URL", format!("sqlite:{}", folder.path().join("a.db").display()))
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(key), "{told}");
    }
}
