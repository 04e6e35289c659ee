//! The client against the contract itself: every call of it has a method, of its name.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use haulier::proto as pb;
use haulier::{ApiCall, Client, JobFilter, LockKey, Payload, QueueLimits, RecurringTask, Schedule};
use prost::Message as _;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::service::Routes;
use tonic::transport::Server;

/// What only a worker speaks.
const OF_WORKERS: [&str; 4] = ["RegisterWorker", "ClaimJob", "ReportJobs", "UnregisterWorker"];

/// The method that makes a call of the contract: its name, where what is done to one job does not say `job`.
fn method_of(call: &str) -> String {
    match call {
        "EnqueueCommand" => return "enqueue".to_owned(),
        "GetJobByRefId" => return "get".to_owned(),
        "AcquireLock" => return "lock".to_owned(), // gives a lock that renews itself
        _ => {}
    }
    let mut words: Vec<String> = Vec::new();
    for letter in call.chars() {
        match words.last_mut() {
            Some(word) if !letter.is_uppercase() => word.push(letter),
            _ => words.push(letter.to_ascii_lowercase().to_string()),
        }
    }
    words.retain(|word| word != "job");
    words.join("_")
}

/// A server that refuses everything, and remembers what it was asked.
async fn refusing() -> (Client, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let remembered = asked.clone();
    let remember = move |request: http::Request<Body>| {
        let (_, call) = request.uri().path().rsplit_once('/').unwrap();
        remembered.lock().unwrap().push(call.to_owned());
        request
    };
    // Any other answer leaves open whether a lock is held now, which would be asked for once more.
    let refuse = |_| Status::invalid_argument("refused").into_http::<Body>();
    let layer = tower::ServiceBuilder::new().map_request(remember).map_response(refuse);
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let routes = Server::builder().layer(layer).add_routes(Routes::default());
    tokio::spawn(routes.serve_with_incoming(incoming));
    (Client::connect(address).await.unwrap(), asked)
}

#[tokio::test]
async fn every_call_of_the_contract_has_a_method_of_its_name() {
    let (client, asked) = refusing().await;
    let mut found = BTreeSet::new();
    macro_rules! calls {
        (@ await $call:expr) => { drop($call.await) };
        (@ read $call:expr) => { drop($call.next().await) };
        (@ pages $call:expr) => { drop($call.pages().next().await) };
        ($($way:ident $method:ident($($argument:expr),*);)+) => {$(
            calls!(@ $way client.$method($($argument),*));
            let [call] = &std::mem::take(&mut *asked.lock().unwrap())[..] else {
                panic!("{} made other calls than one", stringify!($method))
            };
            // As it is, of a command known by its name only, or with a payload as it is.
            let method = stringify!($method).trim_end_matches("_named").trim_end_matches("_payload");
            assert_eq!(method, method_of(call), "makes the call {call}");
            found.insert(call.clone());
        )+};
    }
    let task = || RecurringTask::named("work", (), Schedule::hourly());
    let key = LockKey { name: "n".to_owned(), owner_id: "o".to_owned(), fencing_token: 1 };
    let hour = Duration::from_secs(3600);
    calls! {
        await enqueue_named("work", ());
        await enqueue_payload("work", Payload::nothing());
        await enqueue_api(ApiCall::http("shop", "PUT", "/orders"), ());
        await enqueue_api_payload(ApiCall::grpc("shop", "shop.v1.Orders/Send"), Payload::nothing());
        await enqueue_batch();
        await run_command_named("work", ());
        await run_command_payload("work", Payload::nothing());
        await get(1);
        await get("ref");
        pages list_jobs(JobFilter::default());
        read watch(1);
        read watch_jobs(JobFilter::default());
        await cancel(1);
        await cancel_jobs(JobFilter::default());
        await requeue(1);
        await requeue_jobs(JobFilter::default());
        pages list_attempts(1);
        pages list_logs(1);
        await get_batch("batch");
        read list_deliveries(1, Vec::new());
        await replay_delivery(1);
        await explain(1);
        await put_recurring_task(task());
        await get_recurring_task("task");
        pages list_recurring_tasks();
        await delete_recurring_task("task");
        await pause_recurring_task("task", "why");
        await resume_recurring_task("task");
        await trigger_recurring_task("task");
        await preview_schedule(Schedule::hourly());
        await get_queue("mail");
        read list_queues();
        await pause_queue("mail", "why");
        await resume_queue("mail");
        await update_queue("mail", QueueLimits::new().concurrency_limit(1));
        await lock("n");
        await renew_lock(&key, hour);
        await release_lock(&key);
        read list_locks("");
        await break_lock("n");
        read list_workers(pb::ListWorkersRequest::default());
        await drain_worker(pb::DrainWorkerRequest::default());
        await get_overview(24);
        read list_commands("");
        read list_servers();
        read list_history_months();
        await export_history_month(pb::ExportHistoryMonthRequest::default());
        await drop_history_month(pb::DropHistoryMonthRequest::default());
    }
    let contract = prost_types::FileDescriptorSet::decode(haulier_proto::FILE_DESCRIPTOR_SET).unwrap();
    let services = contract.file.iter().flat_map(|file| &file.service);
    let all: BTreeSet<_> = services
        .flat_map(|service| &service.method)
        .map(|method| method.name().to_owned())
        .filter(|call| !OF_WORKERS.contains(&call.as_str()))
        .collect();
    assert_eq!(found, all);
}
