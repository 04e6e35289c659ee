use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::model::{AttemptEnd, ServedCommand, ServerId, SessionId, SessionState};

fn attempt_of(run: i32, epoch: i64) -> Attempt {
    Attempt {
        run: Run(run),
        attempt: 1,
        epoch: Epoch(epoch),
        session: SessionId([7; 16]),
        worker_process: "w".into(),
        start_time: Time(1),
        finish_time: None,
        end: AttemptEnd::Running,
        retry_time: None,
        error: None,
    }
}

fn session(name: &str, created: i64, queue: &str) -> (Session, i64) {
    let session = Session {
        id: SessionId([9; 16]),
        name: name.into(),
        instance_id: format!("{name}-{created}"),
        state: SessionState::Live,
        commands: vec![ServedCommand {
            command: "C".into(),
            worker: String::new(),
            version: String::new(),
            json_schema: String::new(),
        }],
        queues: vec![queue.into()],
        targets: Vec::new(),
        labels: BTreeMap::new(),
        sdk: String::new(),
        slots: 1,
        lease_time: Duration::from_secs(30),
        create_time: Time(created),
        expire_time: Time(created + 31_000_000),
        server: ServerId(1),
        completed: 0,
        failed: 0,
    };
    (session, 2)
}

#[test]
fn pages_of_attempts_follow_each_other_without_gap_or_repeat() {
    let all = [attempt_of(1, 10), attempt_of(1, 20), attempt_of(2, 30)];
    let mut asked = pb::ListJobAttemptsRequest { job_id: 5, page_size: 2, ..Default::default() };
    let first = attempts(&attempts_page(&asked).unwrap(), &all);
    asked.page_token = first.next_page_token.clone();
    let second = attempts(&attempts_page(&asked).unwrap(), &all);
    let epochs =
        |page: &pb::ListJobAttemptsResponse| page.attempts.iter().map(|one| one.epoch).collect::<Vec<_>>();
    assert_eq!((epochs(&first), epochs(&second)), (vec![10, 20], vec![30]));
    assert_eq!(second.next_page_token, "");
}

#[test]
fn attempts_of_one_run_are_shown_alone() {
    let asked = pb::ListJobAttemptsRequest { job_id: 5, run: 2, ..Default::default() };
    let page = attempts(&attempts_page(&asked).unwrap(), &[attempt_of(1, 10), attempt_of(2, 30)]);
    assert_eq!(page.attempts.len(), 1);
    assert_eq!(page.attempts[0].session_id, "07070707");
}

#[test]
fn a_token_of_another_query_is_refused() {
    let asked = pb::ListJobAttemptsRequest { job_id: 5, page_size: 1, ..Default::default() };
    let token =
        attempts(&attempts_page(&asked).unwrap(), &[attempt_of(1, 10), attempt_of(1, 20)]).next_page_token;
    for wrong in [
        pb::ListJobAttemptsRequest { job_id: 6, page_token: token.clone(), ..Default::default() },
        pb::ListJobAttemptsRequest { job_id: 5, run: 1, page_token: token, ..Default::default() },
        pb::ListJobAttemptsRequest { job_id: 5, page_token: "a1.nonsense".into(), ..Default::default() },
    ] {
        assert!(matches!(attempts_page(&wrong), Err(Error::BadToken { field: "page_token", .. })));
    }
}

#[test]
fn worker_processes_are_listed_by_name_and_start() {
    let all = vec![session("b", 1, "x"), session("a", 2, "x"), session("a", 1, "y"), session("a", 3, "x")];
    let mut asked = pb::ListWorkersRequest { queue: "x".into(), page_size: 2, ..Default::default() };
    let first = workers(&workers_page(asked.clone()).unwrap(), all.clone()).1;
    asked.page_token = first.next_page_token.clone();
    let second = workers(&workers_page(asked).unwrap(), all).1;
    let ids = |page: &pb::ListWorkersResponse| {
        page.workers.iter().map(|one| one.instance_id.clone()).collect::<Vec<_>>()
    };
    assert_eq!((ids(&first), ids(&second)), (vec!["a-2".into(), "a-3".into()], vec!["b-1".to_owned()]));
    assert_eq!(second.next_page_token, "");
    let shown = &first.workers[0];
    assert_eq!((shown.session_id.as_str(), shown.running_count), ("09090909", 2));
    assert_eq!(shown.heartbeat_time.unwrap().nanos, 1_000_002_000 % 1_000_000_000);
}

#[test]
fn a_worker_token_holds_the_longest_name() {
    let long = "ü".repeat(255);
    let all = vec![session(&long, 1, "x"), session(&long, 2, "x")];
    let mut asked = pb::ListWorkersRequest { page_size: 1, ..Default::default() };
    let first = workers(&workers_page(asked.clone()).unwrap(), all.clone()).1;
    asked.page_token = first.next_page_token;
    assert_eq!(workers(&workers_page(asked).unwrap(), all).1.workers[0].start_time.unwrap().nanos, 2_000);
}
