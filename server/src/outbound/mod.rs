//! The only way out of the process: API calls to targets that the configuration names, and replies to URLs that callers
//! name, each with its limits.
//!
//! - A caller's URL is judged when the connection is made, by the very address that is connected to ([`guard`]); a target
//!   is the operator's own word and is not.
//! - No redirect is followed, no proxy is used, one deadline covers all phases, an answer is bounded before it is read.
//! - Secrets are looked up when a request is sent ([`secrets`]), and replies are signed ([`signing`]).
//!
//! Nothing here knows jobs, the database or the time: what a request carries is handed in.

mod grpc;
mod guard;
mod http;
mod reflection;
mod reply_to;
mod secrets;
mod signing;
mod targets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client};
use tonic::metadata::MetadataMap;

pub use reply_to::{Credentials, Method, ReplyTo, Value};
pub use secrets::{Secret, Source};
pub use targets::{Endpoint, Protocol, TargetSettings};

use grpc::{GrpcTarget, UnaryCall};
use guard::Guard;
use http::{NoAnswer, Outgoing};
use secrets::Secrets;
use signing::Signer;
use targets::Target;

/// Bytes of a receiver's answer to a reply: nobody reads it.
const REPLY_ANSWER_BYTES_MAX: usize = 64 << 10;
/// Bytes of a failed API call's answer that are told.
const ERROR_BODY_BYTES: usize = 1_024;

/// What the configuration says about the way out.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Addresses that replies may go to though they are private.
    pub allow: Vec<String>,
    /// Whether replies may go out without TLS.
    pub allow_http: bool,
    /// For one try of a reply, all phases together.
    pub deadline: Duration,
    /// What replies are signed with; at most two.
    pub signing_keys: Vec<Source>,
    /// Certificates that receivers of replies may have beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Secret>,
    /// Targets by name.
    pub targets: BTreeMap<String, TargetSettings>,
}

/// A setting that is not what it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Its key.
    pub key: String,
    /// What is wrong with it and how to mend it.
    pub message: String,
}

impl Mistake {
    fn new(key: &str, message: impl Into<String>) -> Self {
        Self { key: key.to_owned(), message: message.into() }
    }
}

/// A body that goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its media type; empty for none.
    pub content_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// A call of a target.
#[derive(Debug)]
pub struct Call<'a> {
    /// The target's name.
    pub target: &'a str,
    /// What of it is called.
    pub endpoint: &'a Endpoint,
    /// The request; none for nothing.
    pub body: Option<Body>,
    /// What goes with it: names in lower case, values in visible ASCII.
    pub headers: Vec<(&'static str, String)>,
    /// For the whole call.
    pub time: Duration,
    /// Bytes of the answer.
    pub answer_bytes_max: usize,
}

/// What a call answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// JSON text.
    Json(Bytes),
    /// Bytes of another type.
    Data(Body),
    /// Nothing.
    Nothing,
}

/// The kind of a call's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The API answered an error, or could not be reached.
    Api,
    /// The request is not what the API takes.
    Unreadable,
    /// The answer is larger than it may be.
    TooLarge,
    /// The time was over.
    Late,
    /// The configuration does not let the call through any more.
    NotAllowed,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// The kind.
    pub kind: Trouble,
    /// The status, as in `HTTP_503` or `UNAVAILABLE`.
    pub code: String,
    /// What happened.
    pub message: String,
    /// When the API wants to be called again.
    pub retry_after: Option<Duration>,
}

impl CallError {
    fn too_large(most: usize) -> Self {
        let most = if most == 0 { String::new() } else { format!(": at most {most} bytes are kept") };
        let message = format!("the answer is larger than a result may be{most}");
        Self { kind: Trouble::TooLarge, code: "ANSWER_TOO_LARGE".into(), message, retry_after: None }
    }

    fn not_allowed(message: String) -> Self {
        Self { kind: Trouble::NotAllowed, code: "NOT_ALLOWED".into(), message, retry_after: None }
    }
}

/// A reply about to be sent.
#[derive(Debug)]
pub struct Reply<'a> {
    /// Where to, credentials included.
    pub to: &'a ReplyTo,
    /// Its id, the same over all tries.
    pub id: &'a str,
    /// Seconds since 1970.
    pub timestamp: i64,
    /// What is told; none for nothing.
    pub body: Option<Body>,
    /// What goes with it: names in lower case, values in visible ASCII.
    pub headers: Vec<(&'static str, String)>,
}

/// What became of one try of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The receiver took it.
    Taken {
        /// The status, 2xx.
        status: u16,
    },
    /// It did not, or not this time.
    Refused {
        /// The status; 0 when no answer came.
        status: u16,
        /// What went wrong.
        error: String,
        /// When the receiver wants to be tried again.
        retry_after: Option<Duration>,
        /// Whether no later try can end otherwise.
        is_final: bool,
    },
}

/// Why something cannot leave, told at enqueue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// The target is not in the configuration.
    Target(String),
    /// What is called is not there, or not allowed.
    Endpoint(String),
    /// The request cannot be sent there.
    Request(String),
}

/// The way out.
#[derive(Debug)]
pub struct Outbound {
    guard: Arc<Guard>,
    allow_http: bool,
    deadline: Duration,
    signer: Signer,
    secrets: Secrets,
    replies: Client,
    targets: BTreeMap<String, Line>,
}

/// A target with the means to call it.
#[derive(Debug)]
struct Line {
    target: Target,
    means: Means,
}

#[derive(Debug)]
enum Means {
    Http(Client),
    Grpc(Box<GrpcTarget>),
}

impl Outbound {
    /// Checks the settings; a mistake names its key and the mend. Nothing is called.
    pub fn new(settings: Settings) -> Result<Outbound, Mistake> {
        let secrets = Secrets::new(settings.secrets);
        let signer = Signer::new(settings.signing_keys.clone());
        if settings.signing_keys.len() > signing::KEYS_MAX {
            let message = format!(
                "has more than {} keys: the one in use and the one that follows it",
                signing::KEYS_MAX
            );
            return Err(Mistake::new("outbound.signing_keys", message));
        }
        signer.check().map_err(|message| Mistake::new("outbound.signing_keys", message))?;
        let guard = Arc::new(Guard::new(read_nets(&settings.allow)?));
        let roots = roots("outbound.ca_file", settings.ca_file.as_deref())?;
        let replies =
            http::client(Some(&guard), roots).map_err(|message| Mistake::new("outbound", message))?;
        let mut targets = BTreeMap::new();
        for (name, target) in &settings.targets {
            targets.insert(name.clone(), Line::new(name, target, &secrets)?);
        }
        let Settings { allow_http, deadline, .. } = settings;
        Ok(Outbound { guard, allow_http, deadline, signer, secrets, replies, targets })
    }

    /// The names of all targets.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.targets.keys().map(String::as_str)
    }

    /// Are replies signed?
    pub fn signs(&self) -> bool {
        self.signer.has_keys()
    }

    /// Can every secret be read now? Says which cannot.
    pub fn check_secrets(&self) -> Result<(), Mistake> {
        self.secrets
            .check_all()
            .map_err(|(name, message)| Mistake { key: format!("secrets.{name}"), message })
    }

    /// Reads a `reply_to` and checks all of it that can be checked before it is sent.
    pub fn check_reply_to(&self, text: &str) -> Result<ReplyTo, String> {
        let read = ReplyTo::read(text)?;
        if read.url.scheme() != "https" && !self.allow_http {
            return Err("is not https: its operator may allow http by `[outbound] allow_http`".into());
        }
        self.guard.check_url(&read.url).map_err(|refused| format!("cannot be called: {refused}"))?;
        if let Some(name) = read.credentials.as_ref().and_then(Credentials::secret) {
            self.secrets.check(name, read.url.host_str().unwrap_or_default())?;
        }
        Ok(read)
    }

    /// Checks a call that is to be made later.
    pub fn check_call(&self, target: &str, endpoint: &Endpoint, body: Option<&Body>) -> Result<(), NoWay> {
        let line = self.targets.get(target).ok_or_else(|| {
            let known: Vec<&str> = self.targets().collect();
            let known = if known.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has {}", known.join(", "))
            };
            NoWay::Target(format!(
                "is not a target of this server's configuration ({known}): add `[targets.NAME]` there"
            ))
        })?;
        line.target.check(endpoint).map_err(NoWay::Endpoint)?;
        match (&line.means, endpoint) {
            (Means::Grpc(grpc), Endpoint::Grpc(method)) => {
                grpc.check(method).map_err(NoWay::Endpoint)?;
                if body.is_some_and(|body| body.content_type != "application/json") {
                    return Err(NoWay::Request(
                        "is not JSON: a gRPC method is called with its message as JSON".into(),
                    ));
                }
            }
            (_, Endpoint::Http(Method::Get, _)) if body.is_some() => {
                let message = "cannot be sent with GET, which carries no body: put it into the query of the path, or leave it out";
                return Err(NoWay::Request(message.into()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Is another attempt worth while after this failure of a call?
    pub fn retries(&self, target: &str, error: &CallError) -> bool {
        match error.kind {
            Trouble::Api => match error.code.strip_prefix("HTTP_") {
                Some(status) => self.targets.get(target).is_some_and(|line| line.target.retries(status)),
                None if error.code == NO_ANSWER => true,
                None => self.targets.get(target).is_some_and(|line| line.target.retries(&error.code)),
            },
            Trouble::Late => true,
            Trouble::Unreadable | Trouble::TooLarge | Trouble::NotAllowed => false,
        }
    }

    /// Makes a call. Dropping the future cancels it.
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, CallError> {
        self.check_call(call.target, call.endpoint, call.body.as_ref()).map_err(|no_way| {
            let (NoWay::Target(why) | NoWay::Endpoint(why) | NoWay::Request(why)) = no_way;
            CallError::not_allowed(format!("{} {}: {why}", call.target, call.endpoint.text()))
        })?;
        let Some(line) = self.targets.get(call.target) else {
            return Err(CallError::not_allowed(call.target.into()));
        };
        let time = call.time;
        tokio::time::timeout(time, line.call(call, &self.secrets)).await.unwrap_or_else(|_| {
            let message = format!("the call took longer than the {time:?} it had");
            Err(CallError { kind: Trouble::Late, code: "TIMEOUT".into(), message, retry_after: None })
        })
    }

    /// Tries to send a reply once.
    pub async fn reply(&self, reply: Reply<'_>) -> Sent {
        let refused =
            |status, error: String, is_final| Sent::Refused { status, error, retry_after: None, is_final };
        let request = match self.reply_request(reply) {
            Ok(request) => request,
            Err((error, is_final)) => return refused(0, error, is_final),
        };
        match http::exchange(&self.replies, request).await {
            Ok(answer) => judge_answer(answer.status, answer.retry_after),
            Err(NoAnswer::TooLarge { status }) => judge_answer(status, None),
            Err(error @ NoAnswer::Refused(_)) => refused(0, error.to_string(), true),
            Err(NoAnswer::Late) => refused(0, format!("no answer came within {:?}", self.deadline), false),
            Err(error) => refused(0, error.to_string(), false),
        }
    }

    /// The request of a reply; else why there is none, and whether there never will be.
    fn reply_request(&self, reply: Reply<'_>) -> Result<Outgoing, (String, bool)> {
        let Reply { to, id, timestamp, body, headers } = reply;
        if to.url.scheme() != "https" && !self.allow_http {
            return Err((
                "the address is not https, which `[outbound] allow_http` does not allow".into(),
                true,
            ));
        }
        self.guard.check_url(&to.url).map_err(|refused| (refused.to_string(), true))?;
        // A secret or a key that cannot be read now may be there again later.
        let later = |why: String| (why, false);
        let body = body.filter(|_| to.method != Method::Get);
        let bytes = body.as_ref().map(|body| body.bytes.clone()).unwrap_or_default();
        let mut all = header_map(headers).map_err(later)?;
        let mut put = |name: &'static str, value: String| -> Result<(), (String, bool)> {
            let value = HeaderValue::try_from(value)
                .map_err(|_| later(format!("{name} has a value that no header carries")))?;
            all.insert(HeaderName::from_static(name), value);
            Ok(())
        };
        if let Some(body) = body.filter(|body| !body.content_type.is_empty()) {
            put("content-type", body.content_type)?;
        }
        put("webhook-id", id.to_owned())?;
        put("webhook-timestamp", timestamp.to_string())?;
        if let Some(signature) = self.signer.sign(id, timestamp, &bytes).map_err(later)? {
            put("webhook-signature", signature)?;
        }
        if let Some(credentials) = &to.credentials {
            let host = to.url.host_str().unwrap_or_default();
            let (name, value) = http::authorization(credentials, &self.secrets, host).map_err(later)?;
            all.insert(name, value);
        }
        Ok(Outgoing {
            method: to.method,
            url: to.url.clone(),
            headers: all,
            body: bytes,
            time: self.deadline,
            answer_bytes_max: REPLY_ANSWER_BYTES_MAX,
        })
    }
}

/// The code of a call that got no answer.
const NO_ANSWER: &str = "NO_ANSWER";

/// 2xx is taken; 410 says that nobody will ever listen there; a redirect is not followed, and a later try may meet none.
fn judge_answer(status: u16, retry_after: Option<Duration>) -> Sent {
    let error = match status {
        200..=299 => return Sent::Taken { status },
        300..=399 => format!(
            "the receiver answered HTTP {status}, a redirect, which is not followed: name the final address"
        ),
        410 => "the receiver answered HTTP 410: it is gone for good".to_owned(),
        status => format!("the receiver answered HTTP {status}"),
    };
    Sent::Refused { status, error, retry_after, is_final: status == 410 }
}

impl Line {
    fn new(name: &str, settings: &TargetSettings, secrets: &Secrets) -> Result<Line, Mistake> {
        let target = Target::new(name, settings, secrets)?;
        let key = |field: &str| format!("targets.{name}.{field}");
        let means = match settings.protocol {
            Protocol::Http => {
                if settings.descriptor_set.is_some() {
                    return Err(Mistake::new(
                        &key("descriptor_set"),
                        "is for gRPC: leave it out, or set protocol = \"grpc\"",
                    ));
                }
                let roots = roots(&key("ca_file"), settings.ca_file.as_deref())?;
                Means::Http(http::client(None, roots).map_err(|message| Mistake::new(&key("url"), message))?)
            }
            Protocol::Grpc => {
                let ca =
                    settings.ca_file.as_deref().map(|path| read_file(&key("ca_file"), path)).transpose()?;
                let set = settings
                    .descriptor_set
                    .as_deref()
                    .map(|path| read_file(&key("descriptor_set"), path))
                    .transpose()?;
                let field = if set.is_some() { "descriptor_set" } else { "url" };
                let url = target.url.as_str();
                let grpc = GrpcTarget::new(url, ca.as_deref(), set.as_deref());
                Means::Grpc(Box::new(grpc.map_err(|message| Mistake::new(&key(field), message))?))
            }
        };
        Ok(Line { target, means })
    }

    async fn call(&self, call: Call<'_>, secrets: &Secrets) -> Result<Answer, CallError> {
        let auth = self
            .target
            .credentials
            .as_ref()
            .map(|auth| http::authorization(auth, secrets, self.target.host()));
        // A secret that cannot be read now may be there again for the next attempt.
        let unusable =
            |message| CallError { kind: Trouble::Api, code: NO_ANSWER.into(), message, retry_after: None };
        let auth = auth.transpose().map_err(unusable)?;
        match (&self.means, call.endpoint) {
            (Means::Http(client), Endpoint::Http(method, path)) => {
                self.call_http(client, *method, path, &call, auth).await
            }
            (Means::Grpc(grpc), Endpoint::Grpc(method)) => call_grpc(grpc, method, &call, auth).await,
            _ => Err(CallError::not_allowed("the target speaks another protocol".into())),
        }
    }

    async fn call_http(
        &self,
        client: &Client,
        method: Method,
        path: &str,
        call: &Call<'_>,
        auth: Option<(HeaderName, HeaderValue)>,
    ) -> Result<Answer, CallError> {
        let failed = |code: &str, message| CallError {
            kind: Trouble::Api,
            code: code.into(),
            message,
            retry_after: None,
        };
        let url = self.target.url_of(path).map_err(CallError::not_allowed)?;
        let mut headers = header_map(call.headers.clone()).map_err(|why| failed(NO_ANSWER, why))?;
        if let Some(body) = call.body.as_ref().filter(|body| !body.content_type.is_empty()) {
            let value = HeaderValue::from_str(&body.content_type).map_err(|_| {
                CallError::not_allowed("the request's content type is no header value".into())
            })?;
            headers.insert(CONTENT_TYPE, value);
        }
        if let Some((name, value)) = auth {
            headers.insert(name, value);
        }
        let body = call.body.as_ref().map(|body| body.bytes.clone()).unwrap_or_default();
        let request =
            Outgoing { method, url, headers, body, time: call.time, answer_bytes_max: call.answer_bytes_max };
        let answer = http::exchange(client, request).await.map_err(|error| match error {
            NoAnswer::TooLarge { status: 200..=299 } => CallError::too_large(call.answer_bytes_max),
            NoAnswer::TooLarge { status } => {
                failed(&format!("HTTP_{status}"), format!("{} answered HTTP {status}", call.target))
            }
            NoAnswer::Late => CallError { kind: Trouble::Late, ..failed("TIMEOUT", error.to_string()) },
            error => failed(NO_ANSWER, format!("{} could not be reached: {error}", call.target)),
        })?;
        if (200..=299).contains(&answer.status) {
            return Ok(read_answer(answer.content_type, answer.body));
        }
        let text =
            String::from_utf8_lossy(&answer.body[..answer.body.len().min(ERROR_BODY_BYTES)]).into_owned();
        let text = text.trim();
        let what =
            if (300..=399).contains(&answer.status) { ", a redirect, which is not followed" } else { "" };
        let more = if text.is_empty() { String::new() } else { format!(": {text}") };
        let message = format!("{} answered HTTP {}{what}{more}", call.target, answer.status);
        Err(CallError {
            retry_after: answer.retry_after,
            ..failed(&format!("HTTP_{}", answer.status), message)
        })
    }
}

async fn call_grpc(
    grpc: &GrpcTarget,
    method: &str,
    call: &Call<'_>,
    auth: Option<(HeaderName, HeaderValue)>,
) -> Result<Answer, CallError> {
    let mut metadata = MetadataMap::new();
    let mut put = |name: &str, value: &[u8], is_sensitive| {
        grpc::add_metadata(&mut metadata, name, value, is_sensitive).map_err(|message| CallError {
            kind: Trouble::Api,
            code: NO_ANSWER.into(),
            message,
            retry_after: None,
        })
    };
    for (name, value) in &call.headers {
        put(name, value.as_bytes(), false)?;
    }
    if let Some((name, value)) = &auth {
        put(name.as_str(), value.as_bytes(), true)?;
    }
    let json = call.body.as_ref().map(|body| body.bytes.clone()).unwrap_or_default();
    let time = call.time;
    grpc.call(UnaryCall { method, json: &json, metadata, time, answer_bytes_max: call.answer_bytes_max })
        .await
}

/// What says that it is JSON and is, is JSON; anything else is kept as it came.
fn read_answer(content_type: String, bytes: Bytes) -> Answer {
    if bytes.is_empty() {
        return Answer::Nothing;
    }
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let says_json = media == "application/json" || media.ends_with("+json");
    if says_json
        && serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok()
        && std::str::from_utf8(&bytes).is_ok()
    {
        return Answer::Json(bytes);
    }
    let fits = content_type.chars().count() <= 255 && !content_type.chars().any(char::is_control);
    let content_type = if fits { content_type } else { String::new() };
    Answer::Data(Body { content_type, bytes })
}

fn header_map(headers: Vec<(&'static str, String)>) -> Result<HeaderMap, String> {
    let read = |(name, value): (&'static str, String)| {
        let value =
            HeaderValue::try_from(value).map_err(|_| format!("{name} has a value that no header carries"))?;
        Ok((HeaderName::from_static(name), value))
    };
    headers.into_iter().map(read).collect()
}

fn read_nets(texts: &[String]) -> Result<Vec<IpNet>, Mistake> {
    let read = |text: &String| {
        text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from)).map_err(|_| {
            Mistake::new(
                "outbound.allow",
                format!("{text:?} is no network: write it like 10.1.0.0/16 or fd00::/8"),
            )
        })
    };
    texts.iter().map(read).collect()
}

fn roots(key: &str, file: Option<&Path>) -> Result<Vec<Certificate>, Mistake> {
    let Some(path) = file else { return Ok(Vec::new()) };
    http::certificates(&read_file(key, path)?).map_err(|message| Mistake::new(key, message))
}

fn read_file(key: &str, path: &Path) -> Result<Vec<u8>, Mistake> {
    std::fs::read(path)
        .map_err(|error| Mistake::new(key, format!("{} cannot be read: {error}", path.display())))
}
