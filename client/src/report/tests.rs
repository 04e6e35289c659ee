use super::*;
use tokio::time::advance;

const CREDIT: i64 = 1 << 20;

fn leased(name: &str) -> pb::LeasedJob {
    pb::LeasedJob { lease: name.into(), ..Default::default() }
}

/// A state with a session, a claim answered with these jobs, and a stream.
fn held(names: &[&str]) -> (ReportState, Vec<LeaseKey>, u64) {
    held_with_credit(names, CREDIT)
}

fn held_with_credit(names: &[&str], log_credit_bytes: i64) -> (ReportState, Vec<LeaseKey>, u64) {
    let mut state = ReportState::default();
    state.begin_session(&Registered {
        session_id: "session".into(),
        lease_time: Duration::from_secs(30),
        heartbeat_interval: Duration::from_secs(10),
        log_credit_bytes,
        at: Instant::now(),
    });
    let jobs: Vec<_> = names.iter().map(|name| leased(name)).collect();
    state.claim_sent(0, 1);
    let keys = state.claim_answered(0, 1, &jobs);
    let stream = state.open_stream();
    (state, keys, stream)
}

fn message(state: &mut ReportState, stream: u64) -> pb::ReportJobsRequest {
    match state.next_message(stream, Instant::now()) {
        Next::Message(message) => message,
        other => panic!("{other:?} in place of a message"),
    }
}

fn waits(state: &mut ReportState, stream: u64) -> Option<Duration> {
    match state.next_message(stream, Instant::now()) {
        Next::Wait(until) => until.map(|until| until - Instant::now()),
        other => panic!("{other:?} in place of a wait"),
    }
}

fn done() -> Outcome {
    Outcome::Complete(pb::CompleteOutcome::default())
}

fn line(text: &str) -> Line {
    Line::new(Instant::now(), pb::LogLevel::Info, text.to_owned(), HashMap::new())
}

fn ack(lease: &str) -> pb::ReportAck {
    pb::ReportAck { lease: lease.into(), ..Default::default() }
}

fn refused(lease: &str, code: ReportErrorCode, field: &str) -> pb::ReportAck {
    let error = pb::ReportError { code: code.into(), message: "no".into(), field: field.into() };
    pb::ReportAck { error: Some(error), ..ack(lease) }
}

fn answer(state: &mut ReportState, ack: pb::ReportAck) -> Vec<Event> {
    state.on_response(pb::ReportJobsResponse { acks: vec![ack], ..Default::default() }, Instant::now())
}

#[tokio::test(start_paused = true)]
async fn the_first_message_names_the_session_what_arrived_and_the_inventory() {
    let (mut state, _, stream) = held(&["a", "b"]);
    let first = message(&mut state, stream);
    assert_eq!(first.session_id, "session");
    assert_eq!(first.received, [pb::ReceivedReport { r#loop: 0, sequence: 1 }]);
    let beat = first.heartbeat.unwrap();
    assert_eq!(beat.beat, 1);
    assert_eq!(beat.loops, [pb::LoopState { r#loop: 0, received: 1, sent: 1, sent_open: false }]);
    assert_eq!(beat.leases.len(), 2);
    assert_eq!(waits(&mut state, stream), Some(Duration::from_secs(10)));
    assert_eq!(state.told_sequences()[0], 0, "a stream that is not accepted may take it along");
    state.on_accepted();
    assert_eq!(state.told_sequences()[0], 1);
    state.claim_sent(0, 2);
    state.claim_answered(0, 2, &[leased("c")]);
    assert_eq!(message(&mut state, stream).received[0].sequence, 2);
    assert_eq!(state.told_sequences()[0], 2);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_goes_every_interval_and_lists_leases_with_an_unacknowledged_outcome() {
    let (mut state, keys, stream) = held(&["a", "b"]);
    message(&mut state, stream);
    state.finish(keys[0], done());
    message(&mut state, stream);
    advance(Duration::from_secs(10)).await;
    let beat = message(&mut state, stream).heartbeat.unwrap();
    assert_eq!((beat.beat, beat.leases.len()), (2, 2));
    answer(&mut state, pb::ReportAck { outcome_stored: true, ..ack("a") });
    advance(Duration::from_secs(10)).await;
    assert_eq!(message(&mut state, stream).heartbeat.unwrap().leases, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn an_open_claim_is_said_to_be_open_until_it_is_closed() {
    let (mut state, _, stream) = held(&[]);
    message(&mut state, stream);
    state.claim_sent(0, 2);
    advance(Duration::from_secs(10)).await;
    let loops = message(&mut state, stream).heartbeat.unwrap().loops;
    assert_eq!(loops, [pb::LoopState { r#loop: 0, received: 1, sent: 2, sent_open: true }]);
    state.claims_closed(Instant::now());
    let loops = message(&mut state, stream).heartbeat.expect("at once").loops;
    assert_eq!(loops, [pb::LoopState { r#loop: 0, received: 1, sent: 2, sent_open: false }]);
}

#[tokio::test(start_paused = true)]
async fn outcomes_that_accumulate_go_in_one_message() {
    let (mut state, keys, stream) = held(&["a", "b", "c"]);
    message(&mut state, stream);
    for key in keys {
        state.finish(key, done());
    }
    assert_eq!(message(&mut state, stream).outcomes.len(), 3);
    assert!(waits(&mut state, stream).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_new_stream_is_told_again_what_was_not_acknowledged_and_nothing_else() {
    let (mut state, keys, stream) = held(&["a", "b"]);
    state.log(keys[1], line("one"));
    state.log(keys[1], line("two"));
    state.finish(keys[0], done());
    state.finish(keys[1], done());
    let first = message(&mut state, stream);
    assert_eq!(first.outcomes.len(), 2);
    answer(&mut state, pb::ReportAck { outcome_stored: true, ..ack("a") });
    answer(&mut state, pb::ReportAck { log_sequence: 1, ..ack("b") });
    let second = state.open_stream();
    assert!(
        matches!(state.next_message(stream, Instant::now()), Next::End),
        "the old stream is told nothing"
    );
    let again = message(&mut state, second);
    assert_eq!((again.outcomes.len(), again.outcomes[0].lease.as_str()), (1, "b"));
    assert_eq!(again.outcomes[0].log_sequence, 2);
    assert_eq!((again.logs[0].from_sequence, again.logs[0].lines[0].message.as_str()), (1, "two"));
    assert_eq!(again.received.len(), 1);
    assert_eq!(again.heartbeat.unwrap().beat, 2);
}

#[tokio::test(start_paused = true)]
async fn log_lines_keep_within_the_credit_and_outcomes_of_others_need_none() {
    let (mut state, keys, stream) = held_with_credit(&["a", "b"], 4_000);
    for _ in 0..10 {
        state.log(keys[0], line(&"x".repeat(1_000)));
    }
    let first = message(&mut state, stream);
    assert!(first.logs[0].encoded_len() <= 4_000);
    let sent = first.logs[0].lines.len();
    state.finish(keys[0], done());
    state.finish(keys[1], done());
    let second = message(&mut state, stream);
    assert!(second.logs.is_empty(), "no credit is left");
    assert_eq!(second.outcomes.len(), 1, "that of a waits for its lines");
    let grant = pb::ReportJobsResponse { log_credit_bytes: 50_000, ..Default::default() };
    state.on_response(grant, Instant::now());
    advance(FLIGHT_TIME).await;
    let third = message(&mut state, stream);
    assert_eq!((third.logs[0].from_sequence, third.logs[0].lines.len()), (sent as i64, 10 - sent));
    assert_eq!(third.outcomes[0].log_sequence, 10);
}

#[tokio::test(start_paused = true)]
async fn what_ends_while_outcomes_are_on_their_way_shares_the_next_message() {
    let (mut state, keys, stream) = held(&["a", "b", "c", "d", "e"]);
    state.finish(keys[0], done());
    assert_eq!(message(&mut state, stream).outcomes.len(), 1, "a lone outcome waits for nothing");
    state.finish(keys[1], done());
    state.finish(keys[2], done());
    assert!(state.holds_outcomes(Instant::now()));
    assert_eq!(waits(&mut state, stream).unwrap(), FLIGHT_TIME);
    state.log(keys[3], line("this is said at once"));
    let said = message(&mut state, stream);
    assert_eq!((said.logs.len(), said.outcomes.len()), (1, 0));
    answer(&mut state, pb::ReportAck { lease: "a".into(), outcome_stored: true, ..Default::default() });
    assert!(!state.holds_outcomes(Instant::now()));
    assert_eq!(message(&mut state, stream).outcomes.len(), 2, "the first is stored");
    state.finish(keys[4], done());
    advance(FLIGHT_TIME).await;
    assert_eq!(message(&mut state, stream).outcomes.len(), 1, "no answer is waited for any longer");
}

#[tokio::test(start_paused = true)]
async fn a_log_gap_sends_lines_and_outcome_again() {
    let (mut state, keys, stream) = held(&["a"]);
    for text in ["one", "two", "three"] {
        state.log(keys[0], line(text));
    }
    state.finish(keys[0], done());
    message(&mut state, stream);
    answer(&mut state, pb::ReportAck { log_sequence: 1, ..refused("a", ReportErrorCode::LogGap, "") });
    let again = message(&mut state, stream);
    assert_eq!((again.logs[0].from_sequence, again.logs[0].lines.len()), (1, 2));
    assert_eq!(again.outcomes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_stored_now_is_sent_again_later() {
    let (mut state, keys, stream) = held(&["a"]);
    state.finish(keys[0], done());
    message(&mut state, stream);
    answer(&mut state, refused("a", ReportErrorCode::Unavailable, ""));
    let wait = waits(&mut state, stream).unwrap();
    assert_eq!(wait, HOLD);
    advance(wait).await;
    assert_eq!(message(&mut state, stream).outcomes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_is_not_acknowledged_for_long_is_sent_again() {
    let (mut state, keys, stream) = held(&["a"]);
    state.finish(keys[0], done());
    message(&mut state, stream);
    let mut repeats = 0;
    for _ in 0..4 {
        advance(Duration::from_secs(10)).await;
        repeats += message(&mut state, stream).outcomes.len();
    }
    assert_eq!(repeats, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_result_becomes_a_failure() {
    let (mut state, keys, stream) = held(&["a"]);
    state.finish(keys[0], done());
    message(&mut state, stream);
    assert_eq!(answer(&mut state, refused("a", ReportErrorCode::Invalid, "outcomes[0].complete.result")), []);
    let outcome = message(&mut state, stream).outcomes.remove(0).outcome;
    assert!(
        matches!(outcome, Some(Outcome::Fail(fail)) if fail.reason() == pb::FailureReason::UnstorableResult)
    );
    for _ in 0..2 {
        let events = answer(&mut state, refused("a", ReportErrorCode::Invalid, "outcomes[0]"));
        if events.is_empty() {
            message(&mut state, stream);
            continue;
        }
        assert!(matches!(events[0], Event::GivenUp { .. }));
        assert!(!state.holds(keys[0]), "so that the next heartbeat gives it back");
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_no_message_can_carry_is_a_failure_at_once() {
    let (mut state, keys, stream) = held(&["a"]);
    let result = pb::Payload {
        kind: Some(pb::payload::Kind::Json("x".repeat(MESSAGE_BYTES_MAX))),
        ..Default::default()
    };
    state.finish(
        keys[0],
        Outcome::Complete(pb::CompleteOutcome { result: Some(result), ..Default::default() }),
    );
    let outcome = message(&mut state, stream).outcomes.remove(0).outcome;
    assert!(matches!(outcome, Some(Outcome::Fail(_))));
}

#[tokio::test(start_paused = true)]
async fn large_outcomes_go_in_several_messages_and_are_not_held_up_by_logs() {
    let (mut state, keys, stream) = held(&["a", "b", "c"]);
    let result =
        || pb::Payload { kind: Some(pb::payload::Kind::Json("x".repeat(2 << 20))), ..Default::default() };
    for key in &keys[..2] {
        let outcome = pb::CompleteOutcome { result: Some(result()), ..Default::default() };
        state.finish(*key, Outcome::Complete(outcome));
    }
    let first = message(&mut state, stream);
    assert!(first.encoded_len() < 4 << 20);
    assert_eq!(first.outcomes.len(), 1);
    for _ in 0..40 {
        state.log(keys[2], line(&"x".repeat(16_000)));
    }
    let second = message(&mut state, stream);
    assert_eq!((second.outcomes.len(), second.logs.len()), (1, 0));
    assert_eq!(message(&mut state, stream).logs.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_dropped_with_all_it_had_to_tell() {
    let (mut state, keys, stream) = held(&["a"]);
    message(&mut state, stream);
    state.log(keys[0], line("one"));
    let events = answer(&mut state, refused("a", ReportErrorCode::LeaseLost, ""));
    assert_eq!(events, [Event::LeaseLost { key: keys[0], reason: "no".into() }]);
    state.finish(keys[0], done());
    assert!(waits(&mut state, stream).is_some(), "nothing is told of it");
    assert!(state.is_flushed());
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_drops_what_has_no_outcome_and_the_next_one_tells_the_outcomes_but_lists_them_not() {
    let (mut state, keys, _) = held(&["a", "b"]);
    state.finish(keys[0], done());
    assert_eq!(state.lose_session(), [keys[1]]);
    let stream = state.open_stream();
    let flush = message(&mut state, stream);
    assert_eq!((flush.session_id.as_str(), flush.outcomes.len(), flush.heartbeat), ("session", 1, None));
    state.begin_session(&Registered {
        session_id: "next".into(),
        lease_time: Duration::from_secs(30),
        heartbeat_interval: Duration::from_secs(10),
        log_credit_bytes: CREDIT,
        at: Instant::now(),
    });
    let stream = state.open_stream();
    let first = message(&mut state, stream);
    assert_eq!((first.session_id.as_str(), first.outcomes.len()), ("next", 1));
    let beat = first.heartbeat.unwrap();
    assert_eq!((beat.beat, beat.leases.len(), beat.loops.len()), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn progress_is_told_at_most_twice_a_second_the_latest_wins() {
    let (mut state, keys, stream) = held(&["a"]);
    message(&mut state, stream);
    state.progress(keys[0], Some(0.1), Some("begin".into()));
    assert_eq!(message(&mut state, stream).progress[0].progress, Some(0.1));
    state.progress(keys[0], Some(0.2), None);
    state.progress(keys[0], Some(0.3), None);
    assert_eq!(waits(&mut state, stream), Some(Duration::from_millis(500)));
    advance(Duration::from_millis(500)).await;
    let progress = message(&mut state, stream).progress.remove(0);
    assert_eq!((progress.progress, progress.status.as_deref()), (Some(0.3), Some("begin")));
    state.progress(keys[0], Some(1.0), None);
    state.finish(keys[0], done());
    let last = message(&mut state, stream);
    assert_eq!(
        (last.progress[0].progress, last.outcomes.len()),
        (Some(1.0), 1),
        "the last one goes with the outcome"
    );
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_told_until_it_is_stored_and_the_latest_wins() {
    let (mut state, keys, stream) = held(&["a"]);
    message(&mut state, stream);
    let text = |text: &str| {
        Some(pb::Payload { kind: Some(pb::payload::Kind::Json(text.into())), ..Default::default() })
    };
    let first = state.checkpoint(keys[0], text("1")).unwrap();
    let second = state.checkpoint(keys[0], text("2")).unwrap();
    let report = message(&mut state, stream).checkpoints;
    assert_eq!((report.len(), report[0].sequence), (1, second));
    let stream = state.open_stream();
    assert_eq!(message(&mut state, stream).checkpoints[0].sequence, second);
    assert_eq!(state.checkpoint_state(keys[0], first), CheckpointState::Waiting);
    answer(&mut state, pb::ReportAck { checkpoint_sequence: second, ..ack("a") });
    assert_eq!(state.checkpoint_state(keys[0], first), CheckpointState::Stored);
    let third = state.checkpoint(keys[0], text("3")).unwrap();
    message(&mut state, stream);
    answer(&mut state, refused("a", ReportErrorCode::Invalid, "checkpoints[0].payload"));
    assert_eq!(state.checkpoint_state(keys[0], third), CheckpointState::Refused("no".into()));
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_larger_than_the_whole_credit_goes_when_nothing_else_is_on_its_way() {
    let (mut state, keys, stream) = held_with_credit(&["a"], 1_000);
    let large = pb::Payload { kind: Some(pb::payload::Kind::Json("x".repeat(2_000))), ..Default::default() };
    state.checkpoint(keys[0], Some(large));
    assert_eq!(message(&mut state, stream).checkpoints.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn directives_reach_the_handler_they_mean() {
    let (mut state, keys, _) = held(&["a"]);
    let cancel = pb::CancelDirective {
        lease: "a".into(),
        reason: "not needed".into(),
        grace: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
        kind: pb::CancelKind::Client.into(),
    };
    let directives = vec![
        pb::Directive { kind: Some(directive::Kind::Cancel(cancel)) },
        pb::Directive {
            kind: Some(directive::Kind::Drain(pb::Drain { reason: "deploy".into(), grace: None })),
        },
    ];
    let events =
        state.on_response(pb::ReportJobsResponse { directives, ..Default::default() }, Instant::now());
    let grace = Some(Duration::from_secs(5));
    assert_eq!(
        events,
        [
            Event::Stop { key: keys[0], reason: StopReason::Client, message: "not needed".into(), grace },
            Event::Drain { reason: "deploy".into(), grace: None },
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_closing_stream_ends_when_everything_is_told() {
    let (mut state, keys, stream) = held(&["a"]);
    state.finish(keys[0], done());
    state.close();
    assert_eq!(message(&mut state, stream).outcomes.len(), 1);
    assert!(matches!(state.next_message(stream, Instant::now()), Next::End));
}

#[tokio::test(start_paused = true)]
async fn no_more_jobs_are_claimed_than_outcomes_may_be_unacknowledged() {
    let (mut state, keys, _) = held(&["a", "b"]);
    assert_eq!(state.claimable(8), 8);
    assert_eq!(state.claimable(5_000), 1_000);
    state.finish(keys[0], done());
    assert_eq!(state.claimable(5_000), 999);
}
