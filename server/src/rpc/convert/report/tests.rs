use std::collections::HashMap;

use super::*;
use crate::model::{Epoch, JobId, State};
use crate::rpc::convert::tests::SETTINGS;

const FENCE: Fence = Fence { job: JobId(7), epoch: Epoch(8), nonce: 9 };

fn lease() -> String {
    LeaseToken(FENCE).write()
}

fn outcome(outcome: pb::outcome_report::Outcome) -> pb::ReportJobsRequest {
    let outcome = pb::OutcomeReport { lease: lease(), log_sequence: 0, outcome: Some(outcome) };
    pb::ReportJobsRequest { outcomes: vec![outcome], ..Default::default() }
}

fn fail(set: impl FnOnce(&mut pb::FailOutcome)) -> pb::ReportJobsRequest {
    let mut fail = pb::FailOutcome::default();
    set(&mut fail);
    outcome(pb::outcome_report::Outcome::Fail(fail))
}

fn complete(bytes: usize) -> pb::ReportJobsRequest {
    let result =
        pb::Payload { kind: Some(pb::payload::Kind::Data(vec![0; bytes].into())), ..Default::default() };
    outcome(pb::outcome_report::Outcome::Complete(pb::CompleteOutcome {
        result: Some(result),
        enqueue: Vec::new(),
    }))
}

fn logs(set: impl FnOnce(&mut pb::LogReport)) -> pb::ReportJobsRequest {
    let mut logs = pb::LogReport { lease: lease(), ..Default::default() };
    set(&mut logs);
    pb::ReportJobsRequest { logs: vec![logs], ..Default::default() }
}

fn line(message: usize, fields: usize) -> pb::LogEntry {
    let fields = (0..fields).map(|index| (format!("{index:02}"), String::new())).collect();
    pb::LogEntry { message: "x".repeat(message), fields, ..Default::default() }
}

fn heartbeat(set: impl FnOnce(&mut pb::Heartbeat)) -> pb::ReportJobsRequest {
    let mut heartbeat = pb::Heartbeat { beat: 1, ..Default::default() };
    set(&mut heartbeat);
    pb::ReportJobsRequest { heartbeat: Some(heartbeat), ..Default::default() }
}

fn progress(progress: Option<f64>, status: usize) -> pb::ReportJobsRequest {
    let report = pb::ProgressReport { lease: lease(), progress, status: Some("x".repeat(status)) };
    pb::ReportJobsRequest { progress: vec![report], ..Default::default() }
}

fn checkpoint(sequence: i64, bytes: usize) -> pb::ReportJobsRequest {
    let payload =
        pb::Payload { kind: Some(pb::payload::Kind::Data(vec![0; bytes].into())), ..Default::default() };
    let checkpoint = pb::CheckpointReport { lease: lease(), sequence, payload: Some(payload) };
    pb::ReportJobsRequest { checkpoints: vec![checkpoint], ..Default::default() }
}

fn released(reason: usize) -> pb::ReportJobsRequest {
    outcome(pb::outcome_report::Outcome::Release(pb::ReleaseOutcome { reason: "x".repeat(reason) }))
}

fn cancelled(reason: usize) -> pb::ReportJobsRequest {
    outcome(pb::outcome_report::Outcome::Cancelled(pb::CancelledOutcome { reason: "x".repeat(reason) }))
}

/// The one error of an answer, wherever it stands.
fn error_of(taken: Taken) -> pb::ReportError {
    let refused = taken.refused.expect("nothing was refused");
    let of_leases = refused.acks.into_iter().filter_map(|ack| ack.error);
    let mut errors: Vec<_> = of_leases.chain(refused.errors).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

#[test]
fn every_field_of_a_report_has_a_limit() {
    let x = |count: usize| "x".repeat(count);
    let delay = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let retry = |seconds| fail(|fail| fail.retry_delay = delay(seconds));
    let lines = |count, bytes| logs(|logs| logs.lines = vec![line(bytes, 0); count]);
    let one_line = |message, fields| logs(|logs| logs.lines = vec![line(message, fields)]);
    let beat = |beat| heartbeat(|heartbeat| heartbeat.beat = beat);
    let leases = |count| heartbeat(|heartbeat| heartbeat.leases = vec![lease(); count]);
    let loops = |count| heartbeat(|heartbeat| heartbeat.loops = vec![pb::LoopState::default(); count]);
    let cases = [
        ("outcomes[0].complete.result", "1 MiB", complete(1 << 20), complete((1 << 20) + 1)),
        ("outcomes[0].fail.code", "255", fail(|f| f.code = x(255)), fail(|f| f.code = x(256))),
        ("outcomes[0].fail.message", "4096", fail(|f| f.message = x(4_096)), fail(|f| f.message = x(4_097))),
        ("outcomes[0].fail.stack", "32768", fail(|f| f.stack = x(32_768)), fail(|f| f.stack = x(32_769))),
        ("outcomes[0].fail.retry_delay", "30 days", retry(30 * 86_400), retry(30 * 86_400 + 1)),
        ("outcomes[0].fail.retry_delay", "negative", retry(0), retry(-1)),
        ("outcomes[0].release.reason", "4096", released(4_096), released(4_097)),
        ("outcomes[0].cancelled.reason", "4096", cancelled(4_096), cancelled(4_097)),
        ("logs[0].lines", "1000", lines(1_000, 1), lines(1_001, 1)),
        ("logs[0].lines[0].message", "16384", one_line(16_384, 0), one_line(16_385, 0)),
        ("logs[0].lines[0].message", "16384", one_line(16_380, 2), one_line(16_381, 2)),
        ("logs[0].lines[0].fields", "64", one_line(1, 64), one_line(1, 65)),
        ("logs[0].from_sequence", "0 to", logs(|l| l.from_sequence = 0), logs(|l| l.from_sequence = -1)),
        ("progress[0].progress", "0 to 1", progress(Some(1.0), 0), progress(Some(1.1), 0)),
        ("progress[0].progress", "0 to 1", progress(Some(0.0), 0), progress(Some(f64::NAN), 0)),
        ("progress[0].status", "4096", progress(None, 4_096), progress(None, 4_097)),
        ("checkpoints[0].sequence", "1 to", checkpoint(1, 0), checkpoint(0, 0)),
        ("checkpoints[0].payload", "1 MiB", checkpoint(1, 1 << 20), checkpoint(1, (1 << 20) + 1)),
        ("heartbeat.beat", "1 to", beat(1), beat(0)),
        ("heartbeat.leases", "10000", leases(10_000), leases(10_001)),
        ("heartbeat.loops", "256", loops(256), loops(257)),
    ];
    for (field, limit, at, above) in cases {
        let at = report(at, &SETTINGS, Time(0));
        assert_eq!(at.refused, None, "{field} at its limit");
        let error = error_of(report(above, &SETTINGS, Time(0)));
        assert_eq!((error.field.as_str(), error.code()), (field, pb::ReportErrorCode::Invalid));
        assert!(error.message.contains(limit), "{field}: {:?} does not name {limit}", error.message);
    }
}

#[test]
fn too_many_parts_in_one_message_are_refused_together() {
    let many = |count| pb::ReportJobsRequest {
        progress: vec![pb::ProgressReport { lease: lease(), ..Default::default() }; count],
        ..Default::default()
    };
    assert_eq!(report(many(1_000), &SETTINGS, Time(0)).report.progress.len(), 1_000);
    let taken = report(many(1_001), &SETTINGS, Time(0));
    assert!(taken.report.progress.is_empty());
    let error = error_of(taken);
    assert_eq!((error.field.as_str(), error.code()), ("progress", pb::ReportErrorCode::ResourceExhausted));
}

#[test]
fn a_lease_that_cannot_be_read_spoils_only_its_own_part() {
    let mut given = fail(|_| ());
    given.outcomes.insert(0, pb::OutcomeReport { lease: "nonsense".into(), ..Default::default() });
    let taken = report(given, &SETTINGS, Time(0));
    assert_eq!(taken.report.outcomes.len(), 1);
    let refused = taken.refused.unwrap();
    assert_eq!(refused.errors[0].field, "outcomes[0].lease");
    assert!(refused.acks.is_empty());
}

#[test]
fn a_bad_outcome_is_refused_by_its_lease_so_that_another_can_be_sent() {
    let refused = report(complete((1 << 20) + 1), &SETTINGS, Time(0)).refused.unwrap();
    let ack = &refused.acks[0];
    assert_eq!((ack.lease.as_str(), ack.outcome_stored), (lease().as_str(), false));
    let nothing = pb::OutcomeReport { lease: lease(), ..Default::default() };
    let given = pb::ReportJobsRequest { outcomes: vec![nothing], ..Default::default() };
    assert_eq!(error_of(report(given, &SETTINGS, Time(0))).field, "outcomes[0].outcome");
}

#[test]
fn the_credit_of_refused_lines_is_given_back() {
    let given = logs(|logs| logs.lines = vec![line(16_385, 0)]);
    let cost = given.logs[0].encoded_len() as i64;
    assert_eq!(report(given, &SETTINGS, Time(0)).refused.unwrap().log_credit_bytes, cost);
    let taken = report(logs(|logs| logs.lines = vec![line(10, 0)]), &SETTINGS, Time(0));
    assert!(taken.refused.is_none() && taken.report.logs[0].bytes > 10);
}

#[test]
fn a_bad_job_that_comes_with_an_outcome_is_named() {
    let complete = pb::CompleteOutcome { result: None, enqueue: vec![pb::EnqueueItem::default()] };
    let error =
        error_of(report(outcome(pb::outcome_report::Outcome::Complete(complete)), &SETTINGS, Time(0)));
    assert_eq!(
        (error.field.as_str(), error.code()),
        ("outcomes[0].complete.enqueue[0].work", pb::ReportErrorCode::Invalid)
    );
}

#[test]
fn a_heartbeat_with_a_lease_that_cannot_be_read_is_not_taken_in_part() {
    let taken = report(heartbeat(|beat| beat.leases = vec![lease(), "x".into()]), &SETTINGS, Time(0));
    assert!(taken.report.heartbeat.is_none());
    assert_eq!(error_of(taken).field, "heartbeat.leases[1]");
}

#[test]
fn a_worker_process_tells_only_failures_that_it_can_know() {
    let reason =
        |reason: pb::FailureReason| report(fail(|fail| fail.reason = reason.into()), &SETTINGS, Time(0));
    let ended = |taken: Taken| match &taken.report.outcomes[0].ended {
        Ended::Failed { error, retryable, .. } => (error.reason, *retryable),
        other => panic!("{other:?}"),
    };
    assert_eq!(ended(reason(pb::FailureReason::Unspecified)), (FailureReason::Handler, None));
    assert_eq!(ended(reason(pb::FailureReason::Timeout)), (FailureReason::Timeout, None));
    let unreadable = (FailureReason::UnreadableRequest, Some(false));
    assert_eq!(ended(reason(pb::FailureReason::UnreadableRequest)), unreadable);
    assert_eq!(error_of(reason(pb::FailureReason::Poison)).field, "outcomes[0].fail.reason");
}

#[test]
fn fields_of_a_line_are_stored_as_json_and_shown_as_they_came() {
    let fields = HashMap::from([("k\"".to_owned(), "v\n".to_owned())]);
    let given = logs(|logs| logs.lines = vec![pb::LogEntry { fields: fields.clone(), ..line(1, 0) }]);
    let (_, level, message, stored) = report(given, &SETTINGS, Time(0)).report.logs.remove(0).lines.remove(0);
    assert_eq!((level, message.as_str()), (Level::Info, "x"));
    let shown = crate::rpc::convert::log_line(&crate::model::LogLine {
        sequence: 1,
        run: crate::model::Run(1),
        epoch: Epoch(1),
        time: crate::model::Time(0),
        level,
        message,
        fields: stored,
    });
    assert_eq!(shown.fields, fields);
}

#[test]
fn answers_are_gathered_into_one_message() {
    let mut answers = Answers::default();
    let ack = |outcome, refused| Ack {
        fence: FENCE,
        outcome,
        log_sequence: Some(3),
        checkpoint_sequence: None,
        refused,
    };
    answers.add(Down::Acks(vec![ack(Some(State::Completed), None), ack(None, Some(Refusal::LogGap))]));
    answers.add(Down::Credit(10));
    answers.add(Down::Credit(20));
    answers.add(Down::Beat { beat: 4, lease_time: Duration::from_secs(30) });
    answers.add(Down::SessionLost);
    answers.add(Down::Cancel {
        fence: FENCE,
        reason: "r".into(),
        grace: Duration::from_secs(1),
        who: crate::engine::Stop::Client,
    });
    let message = answers.into_message();
    assert_eq!(message.acks[0].state(), pb::JobState::Completed);
    assert!(message.acks[0].outcome_stored && !message.acks[1].outcome_stored);
    assert_eq!(message.acks[1].error.as_ref().unwrap().code(), pb::ReportErrorCode::LogGap);
    assert_eq!((message.log_credit_bytes, message.heartbeat.unwrap().beat), (30, 4));
    assert_eq!(message.errors[0].code(), pb::ReportErrorCode::SessionLost);
    assert_eq!(message.directives.len(), 1);
}
