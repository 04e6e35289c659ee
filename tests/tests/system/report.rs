//! Reports: outcomes, log lines, checkpoints, progress, and the lease that guards them all.

use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{
    cancelled, command, command_with, completed, failed, fixed_retry, json, released, text_of,
};
use haulier_tests::{HandWorker, Server, forge, lines, monotonic, on_both, seconds, stamp, until};
use pb::outcome_report::Outcome;
use pb::{AttemptOutcome, CancelReason, FailureReason, JobOptions, JobState, ReportErrorCode};

on_both!(
    a_completed_job_keeps_its_result,
    a_repeated_outcome_is_acknowledged_and_changes_nothing,
    another_outcome_under_a_used_lease_changes_nothing,
    a_failed_attempt_is_retried_after_its_wait_and_told_its_last_error,
    a_job_that_fails_once_and_then_succeeds_is_completed,
    a_job_without_retries_left_has_failed,
    a_failure_that_must_not_be_retried_is_final,
    an_unreadable_request_is_never_retried,
    a_retry_delay_of_the_handler_replaces_that_of_the_policy,
    a_job_that_would_be_retried_after_its_give_up_time_is_abandoned,
    a_released_job_keeps_its_attempt,
    a_handler_that_ends_as_cancelled_cancels_its_job,
    log_lines_are_stored_in_order_and_a_repeat_is_stored_once,
    a_gap_in_log_lines_is_refused_and_says_where_to_go_on,
    an_outcome_waits_for_its_log_lines,
    an_outcome_that_misses_log_lines_is_refused,
    a_checkpoint_reaches_the_next_attempt,
    an_older_checkpoint_is_acknowledged_and_ignored,
    progress_and_status_are_shown,
    a_forged_lease_changes_nothing,
    a_cut_lease_is_refused_as_malformed,
    a_stale_lease_changes_nothing,
    a_refused_result_leaves_the_lease_and_another_outcome_ends_it,
    many_outcomes_in_one_message_are_all_acknowledged,
    one_bad_report_does_not_spoil_the_others_of_its_message,
    a_worker_by_hand_needs_three_calls,
);

/// One job, claimed.
async fn claimed(server: &Server, options: JobOptions) -> (HandWorker, pb::LeasedJob) {
    server.enqueue(command_with("work", options)).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    (worker, job)
}

fn failed_record(job: pb::JobResult) -> pb::FailedJob {
    match job.record {
        Some(pb::job_result::Record::Failed(failed)) => failed,
        other => panic!("wanted a failed record, got {other:?}"),
    }
}

fn completed_record(job: pb::JobResult) -> pb::CompletedJob {
    match job.record {
        Some(pb::job_result::Record::Completed(completed)) => completed,
        other => panic!("wanted a completed record, got {other:?}"),
    }
}

async fn a_completed_job_keeps_its_result(server: &Server) {
    let (worker, job) = claimed(server, JobOptions::default()).await;
    assert_eq!(worker.end_well(&job.lease, completed(r#"{"ok": true}"#)).await, JobState::Completed);
    let found = server.job(job.job_id).await;
    let summary = found.summary.clone().unwrap();
    assert_eq!(
        (summary.state(), summary.attempt, summary.epoch),
        (JobState::Completed, 1, job.fencing_token)
    );
    assert_eq!(summary.worker_process, "by hand");
    assert!(stamp(&summary.finish_time) >= stamp(&summary.start_time));
    assert_eq!(text_of(&completed_record(found).result), r#"{"ok": true}"#);
    let attempts = server.attempts(job.job_id).await;
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].outcome(), attempts[0].epoch), (AttemptOutcome::Completed, job.fencing_token));
}

async fn a_repeated_outcome_is_acknowledged_and_changes_nothing(server: &Server) {
    let (worker, job) = claimed(server, JobOptions::default()).await;
    for _ in 0..3 {
        assert_eq!(worker.end_well(&job.lease, completed("1")).await, JobState::Completed);
    }
    assert_eq!(server.attempts(job.job_id).await.len(), 1);

    let retried = JobOptions { retry_policy: fixed_retry(3, 60.0), ..Default::default() };
    let (worker, job) = claimed(server, retried).await;
    for _ in 0..3 {
        assert_eq!(worker.end_well(&job.lease, failed("no")).await, JobState::Scheduled);
    }
    assert_eq!(server.summary(job.job_id).await.attempt, 1);
    assert_eq!(server.attempts(job.job_id).await.len(), 1);
}

async fn another_outcome_under_a_used_lease_changes_nothing(server: &Server) {
    let (worker, job) = claimed(server, JobOptions::default()).await;
    worker.end_well(&job.lease, completed("1")).await;
    worker.end(&job.lease, failed("late")).await;
    worker.end(&job.lease, completed("2")).await;
    let found = server.job(job.job_id).await;
    assert_eq!(text_of(&completed_record(found).result), "1");
}

async fn a_failed_attempt_is_retried_after_its_wait_and_told_its_last_error(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(2, 1.2), ..Default::default() };
    let (mut worker, first) = claimed(server, options).await;
    let begun = monotonic();
    let outcome = Outcome::Fail(pb::FailOutcome {
        code: "mailbox_full".into(),
        message: "try later".into(),
        stack: "at a\nat b".into(),
        ..Default::default()
    });
    assert_eq!(worker.end_well(&first.lease, outcome).await, JobState::Scheduled);
    let waiting = server.summary(first.job_id).await;
    assert_eq!((waiting.state(), waiting.attempt), (JobState::Scheduled, 1));
    let error = waiting.error.unwrap();
    assert_eq!((error.code.as_str(), error.message.as_str()), ("mailbox_full", "try later"));
    assert_eq!(error.reason(), FailureReason::Handler);
    let waiting = server.attempts(first.job_id).await;
    assert!(waiting[0].retry_time.is_some(), "when the next attempt may start: {:?}", waiting[0]);
    let second = worker.claim_one().await;
    assert!(monotonic() - begun >= Duration::from_millis(1_200), "{:?}", monotonic() - begun);
    assert_eq!((second.job_id, second.run, second.attempt, second.crashes), (first.job_id, 1, 2, 0));
    assert!(second.fencing_token > first.fencing_token);
    let told = second.last_error.expect("the error of the attempt before");
    assert_eq!((told.code.as_str(), told.message.as_str()), ("mailbox_full", "try later"));
    let attempts = server.attempts(first.job_id).await;
    assert_eq!(attempts[0].outcome(), AttemptOutcome::Failed);
    let kept = attempts[0].error.clone().unwrap();
    assert_eq!((kept.code.as_str(), kept.stack.as_str()), ("mailbox_full", "at a\nat b"));
    assert_eq!(attempts[1].outcome(), AttemptOutcome::Running);
}

async fn a_job_that_fails_once_and_then_succeeds_is_completed(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(1, 0.1), ..Default::default() };
    let (mut worker, first) = claimed(server, options).await;
    worker.end_well(&first.lease, failed("no")).await;
    let second = worker.claim_one().await;
    assert_eq!(worker.end_well(&second.lease, completed("2")).await, JobState::Completed);
    let summary = server.summary(first.job_id).await;
    assert_eq!((summary.attempt, summary.error), (2, None));
    let outcomes: Vec<_> = server.attempts(first.job_id).await.iter().map(pb::JobAttempt::outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Failed, AttemptOutcome::Completed]);
}

async fn a_job_without_retries_left_has_failed(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(2, 0.1), ..Default::default() };
    let (mut worker, mut job) = claimed(server, options).await;
    for attempt in 1..=3 {
        assert_eq!(job.attempt, attempt);
        let state = worker.end_well(&job.lease, failed(&format!("no {attempt}"))).await;
        if attempt == 3 {
            assert_eq!(state, JobState::Failed);
        } else {
            job = worker.claim_one().await;
        }
    }
    let found = server.job(job.job_id).await;
    let summary = found.summary.clone().unwrap();
    assert_eq!((summary.state(), summary.attempt), (JobState::Failed, 3));
    let error = failed_record(found).error.unwrap();
    assert_eq!((error.message.as_str(), error.reason()), ("no 3", FailureReason::Handler));
    assert_eq!(server.attempts(job.job_id).await.len(), 3);
    assert!(worker.claim_within(1, Duration::from_millis(500)).await.is_empty());
}

async fn a_failure_that_must_not_be_retried_is_final(server: &Server) {
    let (worker, job) = claimed(server, JobOptions::default()).await;
    let outcome =
        Outcome::Fail(pb::FailOutcome { retryable: Some(false), message: "no".into(), ..Default::default() });
    assert_eq!(worker.end_well(&job.lease, outcome).await, JobState::Failed);
    let error = failed_record(server.job(job.job_id).await).error.unwrap();
    assert_eq!(error.reason(), FailureReason::NonRetryable);
}

async fn an_unreadable_request_is_never_retried(server: &Server) {
    let (worker, job) = claimed(server, JobOptions::default()).await;
    let reason = FailureReason::UnreadableRequest.into();
    let outcome =
        Outcome::Fail(pb::FailOutcome { reason, message: "no number".into(), ..Default::default() });
    assert_eq!(worker.end_well(&job.lease, outcome).await, JobState::Failed);
    let error = failed_record(server.job(job.job_id).await).error.unwrap();
    assert_eq!(error.reason(), FailureReason::UnreadableRequest);
}

async fn a_retry_delay_of_the_handler_replaces_that_of_the_policy(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(1, 600.0), ..Default::default() };
    let (mut worker, job) = claimed(server, options).await;
    let begun = monotonic();
    let outcome = Outcome::Fail(pb::FailOutcome { retry_delay: seconds(1.2), ..Default::default() });
    assert_eq!(worker.end_well(&job.lease, outcome).await, JobState::Scheduled);
    let second = worker.claim_one().await;
    assert_eq!(second.attempt, 2);
    assert!(monotonic() - begun >= Duration::from_millis(1_200));
    // The number of retries is still the policy's.
    let outcome = Outcome::Fail(pb::FailOutcome { retry_delay: seconds(1.2), ..Default::default() });
    assert_eq!(worker.end_well(&second.lease, outcome).await, JobState::Failed);
}

async fn a_job_that_would_be_retried_after_its_give_up_time_is_abandoned(server: &Server) {
    let policy = pb::RetryPolicy { give_up_after: seconds(5.0), ..fixed_retry(100, 30.0).unwrap() };
    let (worker, job) =
        claimed(server, JobOptions { retry_policy: Some(policy), ..Default::default() }).await;
    assert_eq!(worker.end_well(&job.lease, failed("no")).await, JobState::Failed);
    let error = failed_record(server.job(job.job_id).await).error.unwrap();
    assert_eq!((error.reason(), error.message.as_str()), (FailureReason::Abandoned, "no"));
}

async fn a_released_job_keeps_its_attempt(server: &Server) {
    let (mut worker, first) = claimed(server, JobOptions::default()).await;
    assert_eq!(worker.end_well(&first.lease, released("shutting down")).await, JobState::Queued);
    let second = worker.claim_one().await;
    assert_eq!((second.job_id, second.attempt, second.crashes), (first.job_id, 1, 0));
    assert!(second.fencing_token > first.fencing_token);
    let outcomes: Vec<_> = server.attempts(first.job_id).await.iter().map(pb::JobAttempt::outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Released, AttemptOutcome::Running]);
}

async fn a_handler_that_ends_as_cancelled_cancels_its_job(server: &Server) {
    let (worker, job) = claimed(server, JobOptions::default()).await;
    assert_eq!(worker.end_well(&job.lease, cancelled("no longer wanted")).await, JobState::Cancelled);
    let found = server.job(job.job_id).await;
    let summary = found.summary.clone().unwrap();
    assert_eq!(summary.cancel_reason(), CancelReason::Handler);
    assert_eq!(failed_record(found).cancel_message, "no longer wanted");
    assert_eq!(server.attempts(job.job_id).await[0].outcome(), AttemptOutcome::Cancelled);
}

fn logs(reports: Vec<pb::LogReport>) -> pb::ReportJobsRequest {
    pb::ReportJobsRequest { logs: reports, ..Default::default() }
}

async fn log_lines_are_stored_in_order_and_a_repeat_is_stored_once(server: &Server) {
    let (worker, job) = claimed(server, JobOptions::default()).await;
    assert_eq!(job.log_sequence, 0);
    let mut talk = worker.converse_with(logs(vec![lines(&job.lease, 0, &["one", "two"])])).await;
    talk.ack(&job.lease, |ack| ack.log_sequence == 2).await;
    talk.say(logs(vec![lines(&job.lease, 0, &["one", "two"])])).await;
    talk.say(logs(vec![lines(&job.lease, 1, &["two", "three"])])).await;
    talk.ack(&job.lease, |ack| ack.log_sequence == 3).await;
    let fields = [("url".to_owned(), "http://x".to_owned())].into();
    let level = pb::LogLevel::Warn.into();
    let entry = pb::LogEntry { level, message: "four".into(), fields, time_ago: seconds(2.0) };
    talk.say(logs(vec![pb::LogReport { lease: job.lease.clone(), from_sequence: 3, lines: vec![entry] }]))
        .await;
    talk.ack(&job.lease, |ack| ack.log_sequence == 4).await;
    let kept = server.logs(job.job_id).await;
    let told: Vec<_> = kept.iter().map(|line| (line.sequence, line.message.as_str())).collect();
    assert_eq!(told, [(1, "one"), (2, "two"), (3, "three"), (4, "four")]);
    assert!(kept.iter().all(|line| line.run == 1 && line.epoch == job.fencing_token));
    assert_eq!((kept[0].level(), kept[3].level()), (pb::LogLevel::Info, pb::LogLevel::Warn));
    assert_eq!(kept[3].fields["url"], "http://x");
    assert!(stamp(&kept[3].time) < stamp(&kept[2].time), "it was logged two seconds before it was told");
}

async fn a_gap_in_log_lines_is_refused_and_says_where_to_go_on(server: &Server) {
    let (worker, job) = claimed(server, JobOptions::default()).await;
    let mut talk = worker.converse_with(logs(vec![lines(&job.lease, 0, &["one"])])).await;
    talk.ack(&job.lease, |ack| ack.log_sequence == 1).await;
    talk.say(logs(vec![lines(&job.lease, 5, &["six"])])).await;
    let refused = talk.ack(&job.lease, |ack| ack.error.is_some()).await;
    assert_eq!(refused.error.unwrap().code(), ReportErrorCode::LogGap);
    assert_eq!(refused.log_sequence, 1);
    assert_eq!(server.logs(job.job_id).await.len(), 1);
}

async fn an_outcome_waits_for_its_log_lines(server: &Server) {
    let (worker, job) = claimed(server, JobOptions::default()).await;
    let outcome =
        pb::OutcomeReport { lease: job.lease.clone(), log_sequence: 3, outcome: Some(completed("1")) };
    // All in one message: the lines are taken first.
    let message = pb::ReportJobsRequest {
        logs: vec![lines(&job.lease, 0, &["one", "two", "three"])],
        outcomes: vec![outcome],
        ..Default::default()
    };
    let answers = worker.report(message).await;
    assert!(answers.iter().flat_map(|answer| &answer.acks).any(|ack| ack.outcome_stored), "{answers:?}");
    assert_eq!(server.logs(job.job_id).await.len(), 3);
    assert_eq!(server.summary(job.job_id).await.state(), JobState::Completed);
}

async fn an_outcome_that_misses_log_lines_is_refused(server: &Server) {
    let (worker, job) = claimed(server, JobOptions::default()).await;
    let ack = worker.end_after(&job.lease, 2, completed("1")).await;
    assert!(!ack.outcome_stored, "{ack:?}");
    assert_eq!((ack.error.unwrap().code(), ack.log_sequence), (ReportErrorCode::LogGap, 0));
    assert_eq!(server.summary(job.job_id).await.state(), JobState::Running);
    worker.report(logs(vec![lines(&job.lease, 0, &["one", "two"])])).await;
    let ack = worker.end_after(&job.lease, 2, completed("1")).await;
    assert!(ack.outcome_stored, "{ack:?}");
}

fn checkpoint(lease: &str, sequence: i64, text: &str) -> pb::ReportJobsRequest {
    let report = pb::CheckpointReport { lease: lease.into(), sequence, payload: json(text) };
    pb::ReportJobsRequest { checkpoints: vec![report], ..Default::default() }
}

async fn a_checkpoint_reaches_the_next_attempt(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(3, 0.1), ..Default::default() };
    let (mut worker, first) = claimed(server, options).await;
    assert_eq!((first.checkpoint.is_none(), first.checkpoint_sequence), (true, 0));
    let mut talk = worker.converse_with(checkpoint(&first.lease, 1, r#"{"at": 10}"#)).await;
    talk.ack(&first.lease, |ack| ack.checkpoint_sequence == 1).await;
    talk.say(checkpoint(&first.lease, 2, r#"{"at": 20}"#)).await;
    talk.ack(&first.lease, |ack| ack.checkpoint_sequence == 2).await;
    let Some(pb::job_result::Record::Queued(shown)) = server.job(first.job_id).await.record else {
        panic!("a running job is queued")
    };
    assert_eq!(text_of(&shown.checkpoint), r#"{"at": 20}"#);
    worker.end_well(&first.lease, failed("no")).await;
    let second = worker.claim_one().await;
    assert_eq!((text_of(&second.checkpoint), second.checkpoint_sequence), (r#"{"at": 20}"#, 2));
    worker.end_well(&second.lease, released("again")).await;
    let third = worker.claim_one().await;
    assert_eq!((text_of(&third.checkpoint), third.checkpoint_sequence), (r#"{"at": 20}"#, 2));
    worker.end_well(&third.lease, completed("1")).await;
    assert_eq!(text_of(&completed_record(server.job(first.job_id).await).checkpoint), r#"{"at": 20}"#);
}

async fn an_older_checkpoint_is_acknowledged_and_ignored(server: &Server) {
    let (mut worker, first) = claimed(server, JobOptions::default()).await;
    let mut talk = worker.converse_with(checkpoint(&first.lease, 5, "5")).await;
    talk.ack(&first.lease, |ack| ack.checkpoint_sequence == 5).await;
    talk.say(checkpoint(&first.lease, 4, "4")).await;
    let ack = talk.ack(&first.lease, |ack| ack.checkpoint_sequence > 0).await;
    assert!(ack.error.is_none(), "{ack:?}");
    worker.end_well(&first.lease, released("again")).await;
    let second = worker.claim_one().await;
    assert_eq!((text_of(&second.checkpoint), second.checkpoint_sequence), ("5", 5));
}

async fn progress_and_status_are_shown(server: &Server) {
    let (worker, job) = claimed(server, JobOptions::default()).await;
    let progress = |progress, status: Option<&str>| pb::ReportJobsRequest {
        progress: vec![pb::ProgressReport {
            lease: job.lease.clone(),
            progress,
            status: status.map(Into::into),
        }],
        ..Default::default()
    };
    let talk = worker.converse_with(progress(Some(0.25), Some("a quarter"))).await;
    let shows = |wanted: f64, status: &'static str| {
        until("progress is shown", move || async move {
            let summary = server.summary(job.job_id).await;
            (summary.progress == Some(wanted) && summary.status == status).then_some(())
        })
    };
    shows(0.25, "a quarter").await;
    // What is left out stays as it was.
    talk.say(progress(Some(0.5), None)).await;
    shows(0.5, "a quarter").await;
    talk.say(progress(None, Some("half"))).await;
    shows(0.5, "half").await;
    assert!(!server.summary(job.job_id).await.progress_estimated);
}

async fn a_forged_lease_changes_nothing(server: &Server) {
    let (worker, job) = claimed(server, JobOptions::default()).await;
    let forged = forge(&job.lease);
    for outcome in [completed("2"), failed("no"), released("no"), cancelled("no")] {
        assert_eq!(worker.end_refused(&forged, outcome).await, ReportErrorCode::LeaseLost);
    }
    let mut talk = worker.converse_with(logs(vec![lines(&forged, 0, &["forged"])])).await;
    let ack = talk.ack(&forged, |ack| ack.error.is_some()).await;
    assert_eq!(ack.error.unwrap().code(), ReportErrorCode::LeaseLost);
    talk.say(checkpoint(&forged, 1, "1")).await;
    let ack = talk.ack(&forged, |ack| ack.error.is_some()).await;
    assert_eq!(ack.error.unwrap().code(), ReportErrorCode::LeaseLost);
    assert_eq!(server.summary(job.job_id).await.state(), JobState::Running);
    assert!(server.logs(job.job_id).await.is_empty());
    assert_eq!(worker.end_well(&job.lease, completed("1")).await, JobState::Completed);
}

async fn a_cut_lease_is_refused_as_malformed(server: &Server) {
    let (worker, job) = claimed(server, JobOptions::default()).await;
    let cuts = ["", "x", &job.lease[..job.lease.len() - 1], &job.lease[1..], &format!("{}A", job.lease)];
    for cut in cuts {
        let report = pb::OutcomeReport { lease: cut.into(), log_sequence: 0, outcome: Some(completed("1")) };
        let answers =
            worker.report(pb::ReportJobsRequest { outcomes: vec![report], ..Default::default() }).await;
        let errors: Vec<_> = answers.iter().flat_map(|answer| &answer.errors).collect();
        assert_eq!(errors.len(), 1, "{cut:?}: {answers:?}");
        assert_eq!(errors[0].code(), ReportErrorCode::Invalid);
        assert_eq!(errors[0].field, "outcomes[0].lease");
    }
    assert_eq!(server.summary(job.job_id).await.state(), JobState::Running);
}

async fn a_stale_lease_changes_nothing(server: &Server) {
    let (mut worker, first) = claimed(server, JobOptions::default()).await;
    worker.end_well(&first.lease, released("again")).await;
    let second = worker.claim_one().await;
    let ended = worker.end(&first.lease, completed("\"stale\"")).await;
    // Its own outcome, a release, is found again; the job goes on under the later lease.
    assert!(ended.error.is_some() || ended.outcome_stored, "{ended:?}");
    let mut talk = worker.converse_with(logs(vec![lines(&first.lease, 0, &["stale"])])).await;
    let ack = talk.ack(&first.lease, |ack| ack.error.is_some()).await;
    assert_eq!(ack.error.unwrap().code(), ReportErrorCode::LeaseLost);
    talk.say(checkpoint(&first.lease, 9, "9")).await;
    let ack = talk.ack(&first.lease, |ack| ack.error.is_some()).await;
    assert_eq!(ack.error.unwrap().code(), ReportErrorCode::LeaseLost);
    let summary = server.summary(first.job_id).await;
    assert_eq!((summary.state(), summary.epoch), (JobState::Running, second.fencing_token));
    assert!(server.logs(first.job_id).await.is_empty());
    assert_eq!(worker.end_well(&second.lease, completed("\"fresh\"")).await, JobState::Completed);
    assert_eq!(text_of(&completed_record(server.job(first.job_id).await).result), "\"fresh\"");
}

async fn a_refused_result_leaves_the_lease_and_another_outcome_ends_it(server: &Server) {
    let (worker, job) = claimed(server, JobOptions::default()).await;
    let too_large = format!("\"{}\"", "x".repeat(1 << 20));
    for (bad, word) in [(too_large.as_str(), "1 MiB"), ("{not json", "JSON")] {
        let ack = worker.end(&job.lease, completed(bad)).await;
        assert!(!ack.outcome_stored, "{ack:?}");
        let error = ack.error.unwrap();
        assert_eq!(error.code(), ReportErrorCode::Invalid);
        assert!(error.field.starts_with("outcomes[0].complete.result"), "{error:?}");
        assert!(error.message.contains(word), "{error:?}");
    }
    assert_eq!(server.summary(job.job_id).await.state(), JobState::Running);
    let reason = FailureReason::UnstorableResult.into();
    let outcome =
        Outcome::Fail(pb::FailOutcome { reason, message: "too large".into(), ..Default::default() });
    assert_eq!(worker.end_well(&job.lease, outcome).await, JobState::Failed);
    let error = failed_record(server.job(job.job_id).await).error.unwrap();
    assert_eq!(error.reason(), FailureReason::UnstorableResult);
}

async fn many_outcomes_in_one_message_are_all_acknowledged(server: &Server) {
    for _ in 0..200 {
        server.enqueue(command("work")).await;
    }
    let mut worker = HandWorker::register(server, &["work"]).await;
    let mut jobs = Vec::new();
    while jobs.len() < 200 {
        jobs.extend(worker.claim(200).await);
    }
    let outcomes = jobs.iter().map(|job| pb::OutcomeReport {
        lease: job.lease.clone(),
        log_sequence: 0,
        outcome: Some(completed("1")),
    });
    let answers =
        worker.report(pb::ReportJobsRequest { outcomes: outcomes.collect(), ..Default::default() }).await;
    let stored = answers.iter().flat_map(|answer| &answer.acks).filter(|ack| ack.outcome_stored).count();
    assert_eq!(stored, 200);
    let filter = pb::JobFilter { states: vec![JobState::Completed.into()], ..Default::default() };
    let request = pb::ListJobsRequest { filter: Some(filter), page_size: 500, ..Default::default() };
    assert_eq!(server.jobs().list_jobs(request).await.unwrap().into_inner().jobs.len(), 200);
}

async fn one_bad_report_does_not_spoil_the_others_of_its_message(server: &Server) {
    server.enqueue(command("work")).await;
    let (mut worker, first) = claimed(server, JobOptions::default()).await;
    let second = worker.claim_one().await;
    let outcome = |lease: &str, outcome| pb::OutcomeReport { lease: lease.into(), log_sequence: 0, outcome };
    let message = pb::ReportJobsRequest {
        outcomes: vec![
            outcome("nonsense", Some(completed("1"))),
            outcome(&first.lease, None),
            outcome(&second.lease, Some(completed("1"))),
        ],
        progress: vec![pb::ProgressReport { lease: first.lease.clone(), progress: Some(7.0), status: None }],
        ..Default::default()
    };
    let answers = worker.report(message).await;
    let acks: Vec<_> = answers.iter().flat_map(|answer| &answer.acks).collect();
    assert!(acks.iter().any(|ack| ack.lease == second.lease && ack.outcome_stored), "{answers:?}");
    assert_eq!(server.summary(second.job_id).await.state(), JobState::Completed);
    assert_eq!(server.summary(first.job_id).await.state(), JobState::Running);
    let on_first: Vec<_> =
        acks.iter().filter(|ack| ack.lease == first.lease).filter_map(|ack| ack.error.as_ref()).collect();
    assert!(on_first.iter().all(|error| error.code() == ReportErrorCode::Invalid), "{on_first:?}");
    assert!(on_first.iter().any(|error| error.field.starts_with("outcomes[1]")), "{on_first:?}");
    assert!(on_first.iter().any(|error| error.field.starts_with("progress[0]")), "{on_first:?}");
    assert!(answers.iter().flat_map(|answer| &answer.errors).any(|error| error.field == "outcomes[0].lease"));
}

/// As with grpcurl: register, claim, one ReportJobs message.
async fn a_worker_by_hand_needs_three_calls(server: &Server) {
    let stored = server.enqueue(command("work")).await;
    let mut workers = server.workers();
    let served = pb::ServedCommand { command: "work".into(), ..Default::default() };
    let register = pb::RegisterWorkerRequest {
        name: "me".into(),
        instance_id: "1".into(),
        commands: vec![served],
        ..Default::default()
    };
    let session_id = workers.register_worker(register).await.unwrap().into_inner().session_id;
    let claim = pb::ClaimJobRequest { session_id: session_id.clone(), sequence: 1, ..Default::default() };
    let jobs = workers.claim_job(claim).await.unwrap().into_inner().jobs;
    let outcome =
        pb::OutcomeReport { lease: jobs[0].lease.clone(), log_sequence: 0, outcome: Some(completed("1")) };
    let report = pb::ReportJobsRequest { session_id, outcomes: vec![outcome], ..Default::default() };
    let mut answers = workers.report_jobs(tokio_stream::iter([report])).await.unwrap().into_inner();
    let mut stored_outcomes = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        stored_outcomes += answer.acks.iter().filter(|ack| ack.outcome_stored).count();
    }
    assert_eq!(stored_outcomes, 1);
    assert_eq!(server.summary(stored.job_id).await.state(), JobState::Completed);
}
