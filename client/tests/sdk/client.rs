//! The client against a server that loses answers and cuts streams.

use super::fake::Fake;
use futures::{StreamExt as _, TryStreamExt as _};
use haulier::proto as pb;
use haulier::{Client, Code, Error, JobEvent, Payload};
use pb::job_result::Record;
use pb::watch_job_response::Event;
use std::time::Duration;

fn event(token: &str, event: Event) -> pb::WatchJobResponse {
    pb::WatchJobResponse { resume_token: token.into(), event: Some(event) }
}

fn snapshot(state: pb::JobState, record: Record) -> Event {
    let summary = pb::JobSummary { id: 1, state: state.into(), attempt: 3, ..Default::default() };
    Event::Snapshot(pb::JobResult { summary: Some(summary), record: Some(record), ..Default::default() })
}

fn queued(token: &str) -> pb::WatchJobResponse {
    event(token, snapshot(pb::JobState::Queued, Record::Queued(Default::default())))
}

fn progress(token: &str) -> pb::WatchJobResponse {
    event(token, Event::Progress(pb::ProgressEvent::default()))
}

fn completed(token: &str, result: i32) -> pb::WatchJobResponse {
    let completed = pb::CompletedJob { result: Payload::json(&result).unwrap().into(), ..Default::default() };
    event(token, snapshot(pb::JobState::Completed, Record::Completed(completed)))
}

#[tokio::test]
async fn an_enqueue_whose_answer_was_lost_is_repeated_under_the_same_request_id() {
    let fake = Fake::start();
    fake.with(|state| state.faults.lose_enqueue_answers = 2);
    let client = fake.client().await;
    let job = client.enqueue_named("Greet", "Anna").tag("t").delay(Duration::from_secs(5)).await.unwrap();
    assert_eq!((job.id(), job.ref_id(), job.created()), (1, "job-1", true));
    client.enqueue_named("Greet", "Anna").await.unwrap();
    fake.with(|state| {
        let ids: Vec<_> = state.enqueued.iter().map(|request| request.request_id.as_str()).collect();
        assert_eq!(ids.len(), 4);
        assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{ids:?}");
        let request = &state.enqueued[0];
        assert_eq!(request.command, "Greet");
        assert_eq!(request.options.as_ref().unwrap().delay.unwrap().seconds, 5);
        assert_eq!(Payload::from(request.request.clone()).as_json(), Some("\"Anna\""));
    });
}

#[tokio::test]
async fn an_error_names_the_job_that_has_the_ref_id() {
    let fake = Fake::start();
    let error = fake.client().await.enqueue_named("Greet", ()).ref_id("taken").await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (Some(Code::AlreadyExists), Some("REF_ID_TAKEN")));
    assert_eq!(error.existing_job_id(), Some(77));
}

#[tokio::test]
async fn the_key_travels_as_a_bearer_token() {
    let fake = Fake::start();
    let client = Client::builder(&fake.address).api_key("hk_1").connect().await.unwrap();
    client.enqueue_named("Greet", ()).await.unwrap();
    assert_eq!(fake.with(|state| state.authorizations.clone()), ["Bearer hk_1"]);
    assert!(!format!("{client:?}").contains("hk_1"));
}

#[tokio::test]
async fn a_watch_comes_back_with_the_token_of_the_last_event() {
    let fake = Fake::start();
    fake.with(|state| {
        state.faults.watches =
            [vec![queued("a"), progress("b")], vec![], vec![progress("c")], vec![completed("d", 42)]].into();
    });
    let client = fake.client().await;
    let events: Vec<_> = client.watch(1).include_logs(false).try_collect().await.unwrap();
    let tokens: Vec<_> = events.iter().map(|event| event.resume_token.as_str()).collect();
    assert_eq!(tokens, ["a", "b", "c", "d"]);
    assert!(matches!(events[3].event, JobEvent::Snapshot(_)));
    fake.with(|state| {
        let tokens: Vec<_> = state.watches.iter().map(|request| request.resume_token.as_str()).collect();
        assert_eq!(tokens, ["", "b", "b", "c"]);
        assert!(state.watches.iter().all(|request| request.include_logs == Some(false)));
    });
}

#[tokio::test]
async fn a_watch_that_ends_without_an_outcome_comes_back_too() {
    let fake = Fake::start();
    fake.with(|state| {
        state.faults.end_watches_well = true;
        state.faults.watches = [vec![queued("a")], vec![completed("b", 1)]].into();
    });
    let events = fake.client().await.watch("job-1").try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(events.len(), 2);
}

#[tokio::test]
async fn a_result_is_waited_for_and_read() {
    let fake = Fake::start();
    let client = fake.client().await;
    let job = client.enqueue_named("Add", (40, 2)).await.unwrap();
    fake.with(|state| state.faults.watches = [vec![queued("a")], vec![completed("b", 42)]].into());
    assert_eq!(job.typed::<i32>().wait().await.unwrap(), 42);
}

#[tokio::test]
async fn a_job_of_elsewhere_is_waited_for_by_its_id() {
    let fake = Fake::start();
    let client = fake.client().await;
    let settle =
        || fake.with(|state| state.faults.watches = [vec![queued("a")], vec![completed("b", 42)]].into());
    settle();
    assert_eq!(client.wait::<i32>(1).await.unwrap(), 42);
    settle();
    assert!(matches!(client.settled("mine").await.unwrap().record, Some(Record::Completed(_))));
}

#[tokio::test]
async fn a_failed_job_says_why() {
    let fake = Fake::start();
    let error = pb::JobError {
        code: "MailError".into(),
        message: "no route".into(),
        reason: pb::FailureReason::Handler.into(),
        ..Default::default()
    };
    let failed = pb::FailedJob { error: Some(error), ..Default::default() };
    let last = event("a", snapshot(pb::JobState::Failed, Record::Failed(failed)));
    fake.with(|state| state.faults.watches = [vec![last]].into());
    let job = fake.client().await.enqueue_named("Mail", ()).await.unwrap();
    let error = job.wait().await.unwrap_err();
    let failed = error.job_failed().unwrap();
    assert_eq!((failed.job.as_str(), failed.code.as_str(), failed.attempts), ("1", "MailError", 3));
}

#[tokio::test]
async fn a_watch_of_no_job_ends_with_the_error() {
    let fake = Fake::start();
    let mut events = fake.client().await.watch(5);
    let error = events.next().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some("JOB_NOT_FOUND"));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_list_is_read_over_its_pages() {
    let fake = Fake::start();
    let client = fake.client().await;
    let filter = pb::JobFilter { tag: "t".into(), ..Default::default() };
    let ids: Vec<_> =
        client.list_jobs(filter).page_size(1).pages().map_ok(|job| job.id).try_collect().await.unwrap();
    assert_eq!(ids, [1, 2, 3]);
    fake.with(|state| assert!(state.lists.iter().all(|list| list.filter.as_ref().unwrap().tag == "t")));
    let page = client.list_jobs(Default::default()).pages().page("1").await.unwrap();
    assert_eq!((page.items[0].id, page.next_page_token.as_str()), (2, "2"));
}

#[tokio::test]
async fn connecting_waits_for_a_server_that_starts_later() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = tokio::spawn(Client::connect(format!("http://{address}")));
    tokio::time::sleep(Duration::from_millis(400)).await;
    let _fake = Fake::start_at(address);
    client.await.unwrap().unwrap().enqueue_named("Greet", ()).await.unwrap();
}

#[tokio::test]
async fn connecting_to_nobody_ends_with_the_deadline() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let builder = Client::builder(format!("http://{address}")).deadline(Duration::from_millis(300));
    let error = builder.connect().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
}
