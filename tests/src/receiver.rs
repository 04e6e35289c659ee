//! A real HTTP server in the test's own process, for the server under test to call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response as HttpResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::time::until;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its method.
    pub method: String,
    /// Its path with its query.
    pub path: String,
    /// Its headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Received {
    /// A header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How to answer a request.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status; 0 is 200.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// How long to wait before.
    pub delay: Duration,
}

impl Response {
    /// An answer without a body.
    pub fn status(status: u16) -> Response {
        Response { status, ..Response::default() }
    }

    /// An answer of JSON.
    pub fn json(body: &str) -> Response {
        let headers = vec![("content-type".into(), "application/json".into())];
        Response { status: 200, headers, body: body.into(), delay: Duration::ZERO }
    }
}

type Answer = Box<dyn Fn(usize, &Received) -> Response + Send + Sync>;

struct Shared {
    answer: Answer,
    received: Mutex<Vec<Received>>,
    abandoned: Notify,
}

/// An HTTP server that answers as it is told, and keeps what it was sent.
pub struct Receiver {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Answers the nth request, from 0, by what `answer` says.
    pub async fn start(answer: impl Fn(usize, &Received) -> Response + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            received: Mutex::default(),
            abandoned: Notify::new(),
        });
        let router = Router::new().fallback(answer_one).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Receiver { port, shared, task }
    }

    /// Answers everything with 200.
    pub async fn willing() -> Receiver {
        Receiver::start(|_, _| Response::default()).await
    }

    /// Its URL with a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What came so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `count` requests have come; answers all.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        until(&format!("{count} requests come"), || async {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
        .await
    }

    /// Waits until a caller goes away before it was answered.
    pub async fn abandoned(&self) {
        self.shared.abandoned.notified().await;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Rings when the answer was not given: the caller went away.
struct Unanswered(Option<Arc<Shared>>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.abandoned.notify_one();
        }
    }
}

async fn answer_one(State(shared): State<Arc<Shared>>, request: Request) -> HttpResponse {
    let (parts, body) = request.into_parts();
    let headers = parts.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let received = Received {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: headers.collect(),
        body: to_bytes(body, 16 << 20).await.map(|bytes| bytes.to_vec()).unwrap_or_default(),
    };
    let answer = {
        let mut all = shared.received.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(received.clone());
        (shared.answer)(all.len() - 1, &received)
    };
    let mut unanswered = Unanswered(Some(Arc::clone(&shared)));
    tokio::time::sleep(answer.delay).await;
    unanswered.0 = None;
    let mut response = HttpResponse::new(Body::from(answer.body));
    *response.status_mut() = match answer.status {
        0 => StatusCode::OK,
        status => StatusCode::from_u16(status).expect("a status"),
    };
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name).expect("a header name");
        response.headers_mut().insert(name, HeaderValue::try_from(value).expect("a header value"));
    }
    response
}

/// The signature that a notification must carry for this key, `whsec_..`, as the Standard Webhooks specification has it.
pub fn signature(key: &str, received: &Received) -> String {
    let key = STANDARD.decode(key.trim_start_matches("whsec_")).expect("a key in base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length of key");
    mac.update(received.header("webhook-id").as_bytes());
    mac.update(b".");
    mac.update(received.header("webhook-timestamp").as_bytes());
    mac.update(b".");
    mac.update(&received.body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}
