//! HTTP on the way out: no redirects, no proxy, no retry by the library, one deadline over all phases, and an answer that
//! is bounded before it is read.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, redirect};
use url::Url;

use super::guard::{Guard, GuardedResolver, Refused, refusal_in};
use super::reply_to::{Credentials, Method, Value};
use super::secrets::Secrets;

/// Connections kept for the next request to a host.
const IDLE_PER_HOST_MAX: usize = 4;
const IDLE_MAX: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!("haulier/", env!("CARGO_PKG_VERSION"));
/// Longest `Retry-After` that is listened to.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// A request about to be sent.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// For the whole exchange: name, connection, TLS, request, answer.
    pub(super) time: Duration,
    /// Bytes of the answer's body.
    pub(super) answer_bytes_max: usize,
}

/// What came back.
pub(super) struct Incoming {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

/// Why nothing came back.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The guard refused the address.
    Refused(Refused),
    /// The deadline was over.
    Late,
    /// The answer was larger than it may be.
    TooLarge { status: u16 },
    /// No connection, or one that broke.
    Broken(String),
}

/// A client; with a guard it looks names up through it.
pub(super) fn client(guard: Option<&Arc<Guard>>, roots: Vec<Certificate>) -> Result<Client, String> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .pool_idle_timeout(IDLE_MAX)
        .user_agent(USER_AGENT);
    if let Some(guard) = guard {
        builder = builder.dns_resolver(GuardedResolver(Arc::clone(guard)));
    }
    if !roots.is_empty() {
        builder = builder.tls_certs_merge(roots);
    }
    builder.build().map_err(|error| causes(&error.without_url()))
}

/// The certificates of a file in PEM.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    match Certificate::from_pem_bundle(pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err("has no certificate in PEM (-----BEGIN CERTIFICATE-----)".into()),
    }
}

/// Sends a request and reads its answer, all within its time. Dropping the future ends the exchange.
pub(super) async fn exchange(client: &Client, request: Outgoing) -> Result<Incoming, NoAnswer> {
    let time = request.time;
    tokio::time::timeout(time, send(client, request)).await.unwrap_or(Err(NoAnswer::Late))
}

async fn send(client: &Client, request: Outgoing) -> Result<Incoming, NoAnswer> {
    let method = match request.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    };
    let mut builder = client.request(method, request.url).headers(request.headers);
    if request.method != Method::Get {
        builder = builder.body(request.body);
    }
    let mut answer = builder.send().await.map_err(no_answer)?;
    let status = answer.status().as_u16();
    let text = |name| {
        answer
            .headers()
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let (content_type, retry_after) = (text(CONTENT_TYPE), seconds(&text(RETRY_AFTER)));
    let too_large = NoAnswer::TooLarge { status };
    if answer.content_length().is_some_and(|bytes| bytes > request.answer_bytes_max as u64) {
        return Err(too_large);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(no_answer)? {
        if body.len() + chunk.len() > request.answer_bytes_max {
            return Err(too_large);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Incoming { status, content_type, retry_after, body: body.freeze() })
}

/// The header that proves who sends a request to this host; secrets are looked up now.
pub(super) fn authorization(
    credentials: &Credentials,
    secrets: &Secrets,
    host: &str,
) -> Result<(HeaderName, HeaderValue), String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let resolve = |value: &Value| match value {
        Value::Literal(text) => Ok(text.clone()),
        Value::Secret(name) => secrets.resolve(name, host),
    };
    let (name, text) = match credentials {
        Credentials::Basic { user, password } => {
            let pair = format!("{user}:{}", resolve(password)?);
            (AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)))
        }
        Credentials::Bearer(token) => (AUTHORIZATION, format!("Bearer {}", resolve(token)?)),
        Credentials::Header { name, value } => {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| "has a header name that is none".to_owned())?;
            (name, resolve(value)?)
        }
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| "has credentials that a header cannot carry: use ASCII".to_owned())?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// Only the form in seconds: the other one needs a clock that agrees with the receiver's.
fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs).map(|wait: Duration| wait.min(RETRY_AFTER_MAX))
}

fn no_answer(error: reqwest::Error) -> NoAnswer {
    match refusal_in(&error) {
        Some(refused) => NoAnswer::Refused(refused.clone()),
        // The URL may hold what only its receiver should know.
        None => NoAnswer::Broken(causes(&error.without_url())),
    }
}

/// An error with its causes, each once.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoAnswer::Refused(refused) => refused.fmt(f),
            NoAnswer::Late => f.write_str("no whole answer came in time"),
            NoAnswer::TooLarge { status } => write!(f, "the answer (HTTP {status}) is larger than it may be"),
            NoAnswer::Broken(why) => f.write_str(why),
        }
    }
}
