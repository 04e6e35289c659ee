//! The checker's own test: a good history passes, and one that is bad in one way is found for that way.

use super::*;
use crate::history::{Cancelled, Event, Fault};

const SECOND: u64 = 1_000_000_000;

fn at(second: u64, actor: &str, event: Event) -> Record {
    Record { at: second * SECOND, actor: actor.into(), event }
}

fn attempt(epoch: i64, worker: &str, end: AttemptEnd, from: i64, to: i64) -> FinalAttempt {
    FinalAttempt { run: 1, attempt: 1, epoch, worker: worker.into(), end, start: from, finish: Some(to) }
}

fn line(epoch: i64, sequence: i64) -> FinalLine {
    FinalLine { run: 1, epoch, sequence, text: format!("{epoch} line {sequence}") }
}

/// Job 1 for `a` is enqueued twice, runs at w1, which is killed, runs again at w2 and completes. Job 2 is cancelled.
fn good() -> Evidence {
    let a = || String::from("a");
    let records = vec![
        at(1, "client", Event::EnqueueCalled { key: a() }),
        at(2, "client", Event::EnqueueCalled { key: a() }),
        at(2, "client", Event::EnqueueAccepted { key: a(), job: 1, created: false }),
        at(2, "client", Event::EnqueueCalled { key: "b".into() }),
        at(2, "client", Event::EnqueueAccepted { key: "b".into(), job: 2, created: true }),
        at(3, "client", Event::CancelAnswered { job: 2, run: 1, cancelled: Cancelled::AtOnce }),
        at(3, "w1", Event::Started { job: 1, run: 1, attempt: 1, epoch: 10 }),
        at(4, "chaos", Event::Broken { fault: Fault::WorkerKilled, target: "w1".into() }),
        at(5, "chaos", Event::Healed { fault: Fault::WorkerKilled, target: "w1".into() }),
        at(10, "w2", Event::Started { job: 1, run: 1, attempt: 1, epoch: 20 }),
        at(11, "w2", Event::Returned { job: 1, epoch: 20, well: true }),
    ];
    let done = FinalRun { run: 1, ending: Ending::Completed, epoch: 20, result_epoch: Some(20) };
    let cancelled = FinalRun { run: 1, ending: Ending::Cancelled, epoch: 0, result_epoch: None };
    let attempts =
        vec![attempt(10, "w1", AttemptEnd::Crashed, 3, 9), attempt(20, "w2", AttemptEnd::Completed, 10, 11)];
    let lines = vec![line(10, 1), line(20, 1), line(20, 2)];
    Evidence {
        records,
        jobs: vec![
            FinalJob { id: 1, key: a(), runs: vec![done], attempts, lines },
            FinalJob { id: 2, key: "b".into(), runs: vec![cancelled], attempts: vec![], lines: vec![] },
        ],
        left_over: vec![],
        lease: Duration::from_secs(5),
        tick: Duration::from_secs(2),
    }
}

/// Spoils the good history; the promise that is then broken must be found, and no other.
#[track_caller]
fn found(guarantee: u8, spoil: impl FnOnce(&mut Evidence)) {
    let mut evidence = good();
    spoil(&mut evidence);
    let findings = check(&evidence).findings;
    assert!(!findings.is_empty(), "nothing was found");
    assert!(
        findings.iter().all(|finding| finding.guarantee == guarantee),
        "wanted G{guarantee}, got {findings:#?}"
    );
}

#[test]
fn a_good_history_passes() {
    let verdict = check(&good());
    assert_eq!(verdict.findings, []);
    assert!(verdict.figures.iter().any(|figure| figure.contains("longest 6s")), "{:?}", verdict.figures);
}

#[test]
fn an_accepted_job_that_is_gone_is_found() {
    found(1, |evidence| {
        evidence.records.push(at(12, "client", Event::EnqueueCalled { key: "c".into() }));
        evidence.records.push(at(
            12,
            "client",
            Event::EnqueueAccepted { key: "c".into(), job: 3, created: true },
        ));
    });
}

#[test]
fn a_job_that_holds_the_request_of_another_is_found() {
    found(1, |evidence| {
        evidence.records.push(at(12, "client", Event::EnqueueCalled { key: "c".into() }));
        evidence.jobs[0].key = "c".into();
    });
}

#[test]
fn a_job_that_nobody_asked_for_is_found() {
    found(1, |evidence| {
        let job = FinalJob { id: 9, key: "z".into(), ..evidence.jobs[1].clone() };
        evidence.jobs.push(job);
    });
}

#[test]
fn a_requeued_run_that_is_gone_is_found() {
    found(1, |evidence| {
        evidence.records.push(at(12, "client", Event::RequeueAnswered { job: 2, run: 1, created: true }));
    });
}

#[test]
fn a_run_that_never_ended_is_found() {
    found(2, |evidence| {
        evidence.jobs[0].runs[0] = FinalRun { run: 1, ending: Ending::Live, epoch: 20, result_epoch: None };
    });
}

#[test]
fn a_lease_that_nobody_works_on_is_found() {
    found(2, |evidence| evidence.jobs[0].attempts[1].end = AttemptEnd::Running);
}

#[test]
fn a_row_that_is_left_over_is_found() {
    found(2, |evidence| evidence.left_over.push("job_lease: 1".into()));
}

#[test]
fn a_job_that_completed_without_a_start_is_found() {
    found(3, |evidence| {
        evidence.records.retain(|record| !matches!(record.event, Event::Started { epoch: 20, .. }))
    });
}

#[test]
fn an_attempt_that_started_twice_is_found() {
    found(3, |evidence| {
        evidence.records.push(at(10, "w3", Event::Started { job: 1, run: 1, attempt: 1, epoch: 20 }));
    });
}

#[test]
fn an_attempt_that_started_again_without_a_revocation_is_found() {
    found(3, |evidence| evidence.jobs[0].attempts[0].end = AttemptEnd::Cancelled);
}

#[test]
fn a_start_without_a_record_is_explained_by_the_silence_of_its_holder_only() {
    let unrecorded = |evidence: &mut Evidence| {
        evidence.jobs[0].attempts.remove(0);
        evidence.jobs[0].lines.remove(0);
    };
    let mut evidence = good();
    unrecorded(&mut evidence);
    assert_eq!(check(&evidence).findings, []);
    found(3, |evidence| {
        unrecorded(evidence);
        evidence
            .records
            .retain(|record| !matches!(record.event, Event::Broken { .. } | Event::Healed { .. }));
    });
}

#[test]
fn a_second_outcome_of_a_run_is_found() {
    found(4, |evidence| {
        let again = evidence.jobs[0].runs[0];
        evidence.jobs[0].runs.push(again);
    });
}

#[test]
fn a_run_that_completed_in_two_attempts_is_found() {
    let mut evidence = good();
    evidence.jobs[0].attempts[0].end = AttemptEnd::Completed;
    assert!(check(&evidence).findings.iter().any(|finding| finding.guarantee == 4));
}

#[test]
fn a_fencing_token_that_falls_is_found() {
    found(5, |evidence| {
        evidence.jobs[0].attempts[0].epoch = 30;
        for record in &mut evidence.records {
            if let Event::Started { epoch, .. } = &mut record.event
                && *epoch == 10
            {
                *epoch = 30;
            }
        }
        evidence.jobs[0].lines.remove(0);
        evidence.jobs[0].attempts[1].attempt = 2;
        evidence.records.retain(|record| !matches!(record.event, Event::Started { epoch: 30, .. }));
    });
}

#[test]
fn two_holders_at_once_are_found() {
    found(5, |evidence| evidence.jobs[0].attempts[0].finish = Some(11));
}

#[test]
fn a_result_of_a_revoked_holder_is_found() {
    found(5, |evidence| evidence.jobs[0].runs[0].result_epoch = Some(10));
}

#[test]
fn an_outcome_that_no_handler_returned_is_found() {
    found(5, |evidence| evidence.records.retain(|record| !matches!(record.event, Event::Returned { .. })));
}

#[test]
fn a_line_of_another_writer_is_found() {
    found(5, |evidence| evidence.jobs[0].lines[1].text = "10 late".into());
}

#[test]
fn a_line_that_is_missing_is_found() {
    found(5, |evidence| {
        evidence.jobs[0].lines.remove(1);
    });
}

#[test]
fn a_line_that_is_stored_twice_is_found() {
    found(5, |evidence| {
        let again = evidence.jobs[0].lines[1].clone();
        evidence.jobs[0].lines.insert(2, again);
    });
}

#[test]
fn two_jobs_for_one_intent_are_found() {
    found(6, |evidence| {
        let mut again = evidence.jobs[1].clone();
        again.id = 3;
        evidence.jobs.push(again);
    });
}

#[test]
fn an_intent_that_was_stored_twice_is_found() {
    found(6, |evidence| {
        evidence.records.push(at(
            12,
            "client",
            Event::EnqueueAccepted { key: "b".into(), job: 2, created: true },
        ));
    });
}

#[test]
fn a_run_that_was_requeued_twice_is_found() {
    found(6, |evidence| {
        let next = FinalRun { run: 2, ending: Ending::Cancelled, epoch: 0, result_epoch: None };
        evidence.jobs[1].runs.push(next);
        for second in [12, 13] {
            evidence.records.push(at(
                second,
                "client",
                Event::RequeueAnswered { job: 2, run: 1, created: true },
            ));
        }
    });
}

#[test]
fn a_lease_taken_from_a_worker_that_lived_is_found() {
    found(7, |evidence| {
        evidence
            .records
            .retain(|record| !matches!(record.event, Event::Broken { .. } | Event::Healed { .. }));
    });
}

#[test]
fn a_lease_taken_from_a_worker_before_it_was_killed_is_found() {
    found(7, |evidence| {
        for record in &mut evidence.records {
            if matches!(record.event, Event::Broken { .. } | Event::Healed { .. }) {
                record.at += 8 * SECOND;
            }
        }
    });
}

#[test]
fn a_worker_that_the_machine_did_not_let_run_may_lose_its_leases() {
    let mut evidence = good();
    evidence.records.retain(|record| !matches!(record.event, Event::Broken { .. } | Event::Healed { .. }));
    evidence.records.push(at(8, "w1", Event::Stalled { millis: 5_000 }));
    assert_eq!(check(&evidence).findings, []);
}

#[test]
fn a_late_recovery_is_found_unless_there_was_an_outage() {
    let late = |evidence: &mut Evidence| {
        for record in evidence.records.iter_mut().filter(|record| record.actor == "w2") {
            record.at += 40 * SECOND;
        }
    };
    found(8, late);
    let mut evidence = good();
    late(&mut evidence);
    let broken = Event::Broken { fault: Fault::DatabaseKilled, target: "database".into() };
    let healed = Event::Healed { fault: Fault::DatabaseKilled, target: "database".into() };
    evidence.records.extend([at(5, "chaos", broken), at(40, "chaos", healed)]);
    assert_eq!(check(&evidence).findings, []);
}

#[test]
fn a_cancelled_job_that_started_is_found() {
    found(11, |evidence| {
        evidence.records.push(at(12, "w2", Event::Started { job: 2, run: 1, attempt: 1, epoch: 5 }));
    });
}

#[test]
fn a_cancelled_job_that_ended_otherwise_is_found() {
    found(11, |evidence| evidence.jobs[1].runs[0].ending = Ending::Failed);
}
