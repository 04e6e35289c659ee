//! The outcome is told to a URL: see README.md.

use std::collections::{HashMap, HashSet};

use futures::TryStreamExt as _;
use haulier::options::{ReplyBody, ReplyMode};
use haulier::proto::{DeliveryState, JobState};
use haulier::{Client, Code, HandlerError, Job, NonRetryable};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::stage::{Notes, Result, ensure, expect, fields, notified, present, refusal, worker, working};

/// A request that was told.
#[derive(Debug, Clone)]
struct Told {
    method: String,
    path: String,
    headers: HashMap<String, String>,
    body: Value,
}

/// An HTTP server that keeps each request.
struct Listener {
    url: String,
    told: Notes<Told>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Listener {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let told = Notes::new();
        let notes = told.clone();
        let serving = tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await?;
                tokio::spawn(serve(connection, notes.clone()));
            }
        });
        Ok(Self { url, told, serving })
    }

    fn at(&self, path: &str) -> Vec<Told> {
        let mut told = self.told.all();
        told.retain(|one| one.path.starts_with(path));
        told
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(connection: TcpStream, notes: Notes<Told>) -> Result<()> {
    let mut connection = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        ensure!(connection.read_line(&mut head).await? > 0, "the request ended in its head");
    }
    let mut lines = head.trim_end().split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(Ok(0), |length| length.parse())?;
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
    let is_stubborn = path == "/stubborn" && !notes.all().iter().any(|told| told.path == path);
    let status = if is_stubborn { "500 Stubborn" } else { "204 No Content" };
    notes.add(Told { method, path, headers, body });
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    connection.write_all(answer.as_bytes()).await?;
    Ok(connection.shutdown().await?)
}

async fn doomed(_: Job, (): ()) -> Result<(), HandlerError> {
    Err(HandlerError::from(NonRetryable("doomed")).with_code("DOOMED"))
}

async fn carry(job: Job, (): ()) -> Result<String, HandlerError> {
    Ok(job.options().reply_to.clone())
}

pub(crate) async fn story(client: Client, queue: String) -> Result<()> {
    let listener = Listener::start().await?;
    let worker = worker(&client, &queue)
        .named("make", |_, (): ()| async { Ok(json!({ "made": 1 })) })
        .named("doomed", doomed)
        .named("carry", carry);
    working(worker, async {
        told_as_asked(&client, &queue, &listener).await?;
        told_as_an_envelope(&client, &queue, &listener).await?;

        let url = format!("{}/carried", listener.url);
        let job = client.enqueue_named("carry", ()).queue(&queue).reply_to(&url).reply_mode(ReplyMode::Carry);
        expect("what was carried", job.await?.wait().await?, url)?;

        told_again(&client, &queue, &listener).await?;
        expect("what was told of the carried", listener.at("/carried").len(), 0)?;

        let bad = client.enqueue_named("make", ()).queue(&queue).reply_to("ftp://127.0.0.1/x");
        let refused = refusal("a reply to ftp", Code::InvalidArgument, bad).await?;
        expect("its field", fields(&refused), ["options.reply_to"])
    })
    .await
}

async fn told_as_asked(client: &Client, queue: &str, listener: &Listener) -> Result<()> {
    let to = format!("PUT http.X-Key:open%20sesame@{}/done?job=1", listener.url);
    let job = client.enqueue_named("make", ()).queue(queue).reply_to(to).await?;
    let ended = present("the summary", notified(client, job.id()).await?.summary)?;
    let told = listener.told.all();
    ensure!(told.len() == 1, "expected one request, saw {told:?}");
    let Told { method, path, headers, body } = &told[0];
    expect("how the first was told", (method.as_str(), path.as_str()), ("PUT", "/done?job=1"))?;
    expect("its body", body, &json!({ "made": 1 }))?;
    expect("its header", headers.get("x-key").map(String::as_str), Some("open sesame"))?;
    for name in ["webhook-id", "webhook-timestamp"] {
        ensure!(headers.contains_key(name), "expected the header {name}, saw {headers:?}");
    }
    for what in [job.id().to_string(), job.ref_id().to_lowercase(), "completed".to_owned()] {
        let is_there = headers.values().any(|value| value.to_lowercase().contains(&what));
        ensure!(is_there, "expected {what} among the headers, saw {headers:?}");
    }
    expect("its state", ended.state(), JobState::Completed)?;
    ensure!(ended.notify_time.is_some(), "expected a notify time, saw none");
    Ok(())
}

async fn told_as_an_envelope(client: &Client, queue: &str, listener: &Listener) -> Result<()> {
    let to = format!("token@{}/failed", listener.url);
    let job = client.enqueue_named("doomed", ()).queue(queue).reply_to(to).reply_body(ReplyBody::Envelope);
    let job = job.await?;
    notified(client, job.id()).await?;
    let told = listener.at("/failed");
    ensure!(told.len() == 1, "expected one request for the failure, saw {told:?}");
    let Told { method, headers, body, .. } = &told[0];
    let authorization = headers.get("authorization").map(String::as_str);
    expect("how the failure was told", (method.as_str(), authorization), ("POST", Some("Bearer token")))?;
    expect("the id in its body", body["id"].to_string().trim_matches('"'), job.id().to_string().as_str())?;
    ensure!(body.to_string().contains(job.ref_id()), "expected the ref id in the body, saw {body}");
    let is_failed = body["state"].to_string().to_lowercase().contains("failed");
    ensure!(is_failed, "expected the state failed, saw {body}");
    expect("its error", &body["error"]["code"], &json!("DOOMED"))
}

async fn told_again(client: &Client, queue: &str, listener: &Listener) -> Result<()> {
    let to = format!("{}/stubborn", listener.url);
    let job = client.enqueue_named("make", ()).queue(queue).reply_to(to).await?;
    notified(client, job.id()).await?;
    let tries = listener.at("/stubborn");
    let ids: HashSet<_> = tries.iter().map(|told| told.headers.get("webhook-id")).collect();
    expect("the tries, which have one id", (tries.len(), ids.len()), (2, 1))?;
    let deliveries: Vec<_> = client.list_deliveries(job.id(), Vec::new()).try_collect().await?;
    let seen: Vec<_> = deliveries.iter().map(|one| (one.state(), one.attempt_count)).collect();
    expect("the delivery", seen, [(DeliveryState::Delivered, 2)])?;
    expect(
        "the status of its first try",
        deliveries[0].attempts.first().map(|one| one.http_status),
        Some(500),
    )
}
