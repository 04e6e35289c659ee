//! Targets: the APIs that jobs may call, named in the configuration with what is allowed of each.

use std::path::PathBuf;

use url::Url;

use super::Mistake;
use super::reply_to::{Credentials, Method};
use super::secrets::Secrets;

/// Bytes of an HTTP path with its query.
const PATH_BYTES_MAX: usize = 2_048;
/// Characters of a gRPC method's full name.
const GRPC_METHOD_CHARS_MAX: usize = 255;
/// Statuses that are worth another attempt when the configuration names none.
const RETRIED_HTTP: [&str; 4] = ["408", "425", "429", "5xx"];
const RETRIED_GRPC: [&str; 7] =
    ["ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNKNOWN"];
const GRPC_CODES: [&str; 16] = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The name of a gRPC status, as the contract writes it.
pub(super) fn grpc_code(code: i32) -> &'static str {
    match usize::try_from(code) {
        Ok(0) => "OK",
        Ok(code) => GRPC_CODES.get(code - 1).copied().unwrap_or("UNKNOWN"),
        Err(_) => "UNKNOWN",
    }
}

/// What a target speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC: unary methods.
    Grpc,
    /// HTTP: a method and a path.
    Http,
}

/// A target as the configuration has it.
#[derive(Clone, Debug)]
pub struct TargetSettings {
    /// Its base URL.
    pub url: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// What may be called: `pkg.Service/Method`, `pkg.Service/*` or `*`; for HTTP `POST /path`, where the method or a part
    /// of the path may be `*`, and `**` at the end stands for any rest.
    pub allowed: Vec<String>,
    /// Credentials as in a `reply_to`; empty for none.
    pub auth: String,
    /// Statuses that are worth another attempt; none for the default.
    pub retry: Option<Vec<String>>,
    /// Certificates to trust beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// gRPC: a descriptor set to read in place of the target's reflection.
    pub descriptor_set: Option<PathBuf>,
}

/// What of a target is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A unary gRPC method, as in `shop.v1.OrderService/SendReceipt`.
    Grpc(String),
    /// An HTTP method and a path below the base URL, with its query.
    Http(Method, String),
}

impl Endpoint {
    /// Reads the form that is stored: `METHOD /path`, or a gRPC method.
    pub fn read(text: &str) -> Option<Endpoint> {
        match text.split_once(' ') {
            Some((method, path)) => Some(Endpoint::Http(Method::read(method)?, path.to_owned())),
            None => Some(Endpoint::Grpc(text.to_owned())),
        }
    }

    /// The form that is stored.
    pub fn text(&self) -> String {
        match self {
            Endpoint::Grpc(method) => method.clone(),
            Endpoint::Http(method, path) => format!("{} {path}", method.name()),
        }
    }
}

/// A target that can be called.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) url: Url,
    pub(super) protocol: Protocol,
    pub(super) credentials: Option<Credentials>,
    allowed: Vec<Pattern>,
    retried: Vec<String>,
}

/// What a part of `allowed` lets through.
#[derive(Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    Service(String),
    Method(String),
    Path(Option<Method>, Vec<String>),
}

impl Target {
    /// Reads a target; a mistake names its key.
    pub(super) fn new(name: &str, settings: &TargetSettings, secrets: &Secrets) -> Result<Target, Mistake> {
        let wrong = |key: &str, message: String| Mistake { key: format!("targets.{name}.{key}"), message };
        let protocol = settings.protocol;
        let url = base_url(&settings.url, protocol).map_err(|message| wrong("url", message))?;
        if settings.allowed.is_empty() {
            let message = "is empty: name what jobs may call, as in [\"POST /v1/invoices\"] or [\"shop.v1.Orders/Send\"]";
            return Err(wrong("allowed", message.into()));
        }
        let allowed =
            settings.allowed.iter().map(|text| Pattern::read(text, protocol)).collect::<Result<_, _>>();
        let credentials = match settings.auth.as_str() {
            "" => None,
            auth => Some(read_auth(auth, &url, secrets).map_err(|message| wrong("auth", message))?),
        };
        let retried = match &settings.retry {
            Some(codes) => codes.iter().map(|code| read_code(code, protocol)).collect::<Result<_, _>>(),
            None => Ok(default_codes(protocol).iter().map(|code| (*code).to_owned()).collect()),
        };
        Ok(Target {
            name: name.to_owned(),
            url,
            protocol,
            credentials,
            allowed: allowed.map_err(|message| wrong("allowed", message))?,
            retried: retried.map_err(|message| wrong("retry", message))?,
        })
    }

    /// May this be called? Says what is wrong with it.
    pub(super) fn check(&self, endpoint: &Endpoint) -> Result<(), String> {
        match (self.protocol, endpoint) {
            (Protocol::Grpc, Endpoint::Grpc(method)) => check_grpc_method(method)?,
            (Protocol::Http, Endpoint::Http(_, path)) => check_path(path)?,
            (Protocol::Grpc, _) => {
                return Err(format!("is an HTTP endpoint: the target {} speaks gRPC", self.name));
            }
            (Protocol::Http, _) => {
                return Err(format!("is a gRPC method: the target {} speaks HTTP", self.name));
            }
        }
        if self.allowed.iter().any(|pattern| pattern.lets_through(endpoint)) {
            return Ok(());
        }
        let name = &self.name;
        Err(format!(
            "is not among what the target {name} allows: add it to `[targets.{name}] allowed`, or call another"
        ))
    }

    /// The URL of an HTTP path that [`Target::check`] let through.
    pub(super) fn url_of(&self, path: &str) -> Result<Url, String> {
        let base = self.url.as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}{path}"))
            .map_err(|error| format!("has a path that is none: {error}"))?;
        let is_below = path.starts_with('/')
            && url.origin() == self.url.origin()
            && url.path().starts_with(self.url.path().trim_end_matches('/'))
            && url.username().is_empty();
        if is_below { Ok(url) } else { Err("has a path that leads out of its target".into()) }
    }

    /// Is another attempt worth while after this status?
    pub(super) fn retries(&self, code: &str) -> bool {
        let class = |retried: &str| {
            retried.strip_suffix("xx").is_some_and(|class| code.len() == 3 && code.starts_with(class))
        };
        self.retried.iter().any(|retried| retried == code || class(retried))
    }

    /// The host that it is bound to.
    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

fn base_url(text: &str, protocol: Protocol) -> Result<Url, String> {
    let hint = "write it like https://billing.internal:8443";
    let url = Url::parse(text).map_err(|error| format!("{text:?} is not a URL ({error}): {hint}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("must begin with https:// or http://: {hint}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user in it: name credentials by `auth`".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment: only a path may follow the host".into());
    }
    if protocol == Protocol::Grpc && url.path() != "/" {
        return Err("has a path, which gRPC has no use for: leave it out".into());
    }
    Ok(url)
}

fn read_auth(text: &str, url: &Url, secrets: &Secrets) -> Result<Credentials, String> {
    let credentials = Credentials::read(text)?;
    let name = credentials.secret().ok_or(
        "has its value written out: name a secret, as in \"$BILLING\" (bearer), \"user:$BILLING\" (basic) or \
         \"http.X-Api-Key:$BILLING\" (header), and give it in `[secrets.BILLING]`",
    )?;
    secrets.check(name, url.host_str().unwrap_or_default())?;
    Ok(credentials)
}

fn default_codes(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Grpc => &RETRIED_GRPC,
        Protocol::Http => &RETRIED_HTTP,
    }
}

fn read_code(text: &str, protocol: Protocol) -> Result<String, String> {
    match protocol {
        Protocol::Grpc if GRPC_CODES.contains(&text) => Ok(text.to_owned()),
        Protocol::Grpc => Err(format!("{text:?} is not a gRPC status: write it like UNAVAILABLE")),
        Protocol::Http => {
            let is_class = matches!(text, "3xx" | "4xx" | "5xx");
            let is_status =
                text.len() == 3 && text.parse().is_ok_and(|status: u16| (300..600).contains(&status));
            if is_class || is_status {
                Ok(text.to_owned())
            } else {
                Err(format!("{text:?} is not an HTTP status from 300 on: write it like 503 or 5xx"))
            }
        }
    }
}

/// The service and the method of a full name, with one slash between them.
pub(super) fn split_grpc_method(method: &str) -> Option<(&str, &str)> {
    let (service, name) = method.split_once('/')?;
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    (service.split('.').all(is_name) && is_name(name)).then_some((service, name))
}

fn check_grpc_method(method: &str) -> Result<(), String> {
    if method.len() > GRPC_METHOD_CHARS_MAX {
        return Err(format!("has {} characters, at most {GRPC_METHOD_CHARS_MAX} are allowed", method.len()));
    }
    split_grpc_method(method).map(drop).ok_or_else(|| {
        "is not the full name of a method: write it like shop.v1.OrderService/SendReceipt".into()
    })
}

/// What a URL parser would rewrite could pass what is allowed and then call something else.
fn check_path(path: &str) -> Result<(), String> {
    if path.len() > PATH_BYTES_MAX {
        return Err(format!("has {} bytes, at most {PATH_BYTES_MAX} are allowed: shorten it", path.len()));
    }
    if !path.starts_with('/') {
        return Err("does not begin with `/`: it is put after the target's URL".into());
    }
    let is_plain = |byte: u8| {
        matches!(byte, b'!'..=b'~')
            && !matches!(byte, b'#' | b'\\' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'^')
    };
    if !path.bytes().all(is_plain) {
        return Err("has a character that must be URL-encoded, or a fragment, which is never sent".into());
    }
    let front = path.split('?').next().unwrap_or_default();
    let is_dots = |part: &str| {
        let part = part.to_ascii_lowercase().replace("%2e", ".");
        part == "." || part == ".."
    };
    let lower = front.to_ascii_lowercase();
    if front.split('/').any(is_dots) || lower.contains("%2f") || lower.contains("%5c") {
        return Err("has `.` or `..` among its parts, or an encoded slash: write the path out".into());
    }
    if front[1..].split('/').rev().skip(1).any(str::is_empty) {
        return Err("has an empty part (`//`): write the path out".into());
    }
    Ok(())
}

impl Pattern {
    fn read(text: &str, protocol: Protocol) -> Result<Pattern, String> {
        if text == "*" {
            return Ok(Pattern::Any);
        }
        match protocol {
            Protocol::Grpc => {
                if let Some(service) = text.strip_suffix("/*")
                    && split_grpc_method(&format!("{service}/M")).is_some()
                {
                    return Ok(Pattern::Service(service.to_owned()));
                }
                if split_grpc_method(text).is_some() {
                    return Ok(Pattern::Method(text.to_owned()));
                }
                Err(format!("{text:?} is no gRPC method: write pkg.Service/Method, pkg.Service/* or *"))
            }
            Protocol::Http => {
                let hint = || {
                    format!(
                        "{text:?} is no endpoint: write \"POST /v1/invoices\", \"* /v1/*/pay\", \"GET /v1/**\" or \"*\""
                    )
                };
                let (method, path) = text.split_once(' ').ok_or_else(hint)?;
                let method = if method == "*" { None } else { Some(Method::read(method).ok_or_else(hint)?) };
                let parts: Vec<String> =
                    path.strip_prefix('/').ok_or_else(hint)?.split('/').map(str::to_owned).collect();
                let is_odd = |(at, part): (usize, &String)| {
                    part.contains("**") && (part != "**" || at + 1 != parts.len())
                };
                if path.contains(['?', '#', ' ']) || parts.iter().enumerate().any(is_odd) {
                    return Err(hint());
                }
                Ok(Pattern::Path(method, parts))
            }
        }
    }

    fn lets_through(&self, endpoint: &Endpoint) -> bool {
        match (self, endpoint) {
            (Pattern::Any, _) => true,
            (Pattern::Service(service), Endpoint::Grpc(method)) => {
                split_grpc_method(method).is_some_and(|(called, _)| called == service)
            }
            (Pattern::Method(allowed), Endpoint::Grpc(method)) => allowed == method,
            (Pattern::Path(allowed, parts), Endpoint::Http(method, path)) => {
                allowed.is_none_or(|allowed| allowed == *method) && path_matches(parts, path)
            }
            _ => false,
        }
    }
}

/// Does a path match, its query left out? `*` is one part that is not empty, `**` any rest.
fn path_matches(pattern: &[String], path: &str) -> bool {
    let front = path.split('?').next().unwrap_or_default();
    let mut parts = front.strip_prefix('/').unwrap_or(front).split('/');
    for wanted in pattern {
        if wanted == "**" {
            return parts.next().is_some();
        }
        match parts.next() {
            Some(part) if (wanted == "*" && !part.is_empty()) || wanted == part => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::secrets::{Secret, Source};
    use super::*;

    fn settings(protocol: Protocol, allowed: &[&str]) -> TargetSettings {
        TargetSettings {
            url: "https://a.example".into(),
            protocol,
            allowed: allowed.iter().map(|text| (*text).to_owned()).collect(),
            auth: String::new(),
            retry: None,
            ca_file: None,
            descriptor_set: None,
        }
    }

    fn secrets() -> Secrets {
        let secret = Secret { source: Source::Value("v".into()), hosts: vec!["a.example".into()] };
        Secrets::new(BTreeMap::from([("K".to_owned(), secret)]))
    }

    fn target(settings: &TargetSettings) -> Target {
        Target::new("billing", settings, &secrets()).unwrap()
    }

    fn mistake(settings: &TargetSettings) -> String {
        let Mistake { key, message } = Target::new("billing", settings, &secrets()).unwrap_err();
        format!("{key}: {message}")
    }

    fn post(path: &str) -> Endpoint {
        Endpoint::Http(Method::Post, path.into())
    }

    #[test]
    fn only_what_is_allowed_passes() {
        let http = target(&settings(
            Protocol::Http,
            &["POST /v1/invoices", "GET /v1/invoices/*", "* /v2/**", "DELETE /v1/*/x"],
        ));
        for (endpoint, is) in [
            ("POST /v1/invoices", true),
            ("POST /v1/invoices?x=1", true),
            ("POST /v1/invoices/", false),
            ("POST /v1/invoices/7", false),
            ("GET /v1/invoices/7", true),
            ("GET /v1/invoices/", false),
            ("GET /v1/invoices/7/8", false),
            ("PATCH /v2/a/b/c", true),
            ("GET /v2", false),
            ("DELETE /v1/a/x", true),
            ("GET /admin", false),
            ("GET /v1/invoices/..", false),
            ("GET /v2/../admin", false),
            ("GET /v2/%2e%2E/admin", false),
            ("GET /v2/.%2e/admin", false),
            ("GET /v2/..%2fadmin", false),
            ("GET /v2/\\..\\admin", false),
            ("GET /v2//a", false),
            ("GET /v2/a#b", false),
            ("GET /v2/a b", false),
            ("GET /v2/a\tb", false),
            ("GET /v2/\u{e9}", false),
            ("GET v2/a", false),
            ("shop.v1.Orders/Send", false),
        ] {
            let read = Endpoint::read(endpoint).unwrap();
            assert_eq!(http.check(&read).is_ok(), is, "{endpoint}");
            assert_eq!(read.text(), endpoint);
        }
        let grpc = target(&settings(Protocol::Grpc, &["shop.v1.Orders/Send", "shop.v1.Mail/*"]));
        for (endpoint, is) in [
            ("shop.v1.Orders/Send", true),
            ("shop.v1.Orders/Drop", false),
            ("shop.v1.Mail/Any", true),
            ("shop.v1.MailX/Any", false),
            ("/shop.v1.Mail/Any", false),
            ("shop.v1.Mail/Any/x", false),
            ("shop.v1.Mail", false),
            ("shop..Mail/x", false),
            ("POST /x", false),
        ] {
            assert_eq!(grpc.check(&Endpoint::read(endpoint).unwrap()).is_ok(), is, "{endpoint}");
        }
        assert!(
            grpc.check(&Endpoint::Grpc("a.B/C".into())).unwrap_err().contains("[targets.billing] allowed")
        );
        assert!(target(&settings(Protocol::Http, &["*"])).check(&post("/anything")).is_ok());
    }

    #[test]
    fn a_path_stays_below_the_url_of_its_target() {
        let base =
            TargetSettings { url: "https://a.example/api/".into(), ..settings(Protocol::Http, &["*"]) };
        let target = target(&base);
        assert_eq!(target.url_of("/v1?x=1").unwrap().as_str(), "https://a.example/api/v1?x=1");
        assert!(target.url_of("/../admin").is_err());
        assert!(target.url_of("@evil.example/").is_err());
    }

    #[test]
    fn statuses_worth_another_attempt_are_stated() {
        let http = target(&settings(Protocol::Http, &["*"]));
        let grpc = target(&settings(Protocol::Grpc, &["*"]));
        for (code, is) in
            [("500", true), ("503", true), ("429", true), ("404", false), ("301", false), ("409", false)]
        {
            assert_eq!(http.retries(code), is, "{code}");
        }
        for (code, is) in
            [("UNAVAILABLE", true), ("INTERNAL", true), ("INVALID_ARGUMENT", false), ("NOT_FOUND", false)]
        {
            assert_eq!(grpc.retries(code), is, "{code}");
        }
        let own = TargetSettings {
            retry: Some(vec!["409".into(), "4xx".into()]),
            ..settings(Protocol::Http, &["*"])
        };
        assert!(target(&own).retries("404") && !target(&own).retries("500"));
        assert_eq!((grpc_code(14), grpc_code(0), grpc_code(99)), ("UNAVAILABLE", "OK", "UNKNOWN"));
    }

    #[test]
    fn a_mistake_names_its_key_and_the_mend() {
        let http = |allowed: &[&str]| settings(Protocol::Http, allowed);
        let grpc = |allowed: &[&str]| settings(Protocol::Grpc, allowed);
        let with_url = |url: &str| TargetSettings { url: url.into(), ..http(&["*"]) };
        let with_auth = |auth: &str| TargetSettings { auth: auth.into(), ..http(&["*"]) };
        let with_retry =
            |of: TargetSettings, code: &str| TargetSettings { retry: Some(vec![code.into()]), ..of };
        for (settings, key, part) in [
            (http(&[]), "allowed", "POST /v1/invoices"),
            (http(&["/v1"]), "allowed", "POST /v1/invoices"),
            (http(&["FETCH /v1"]), "allowed", "POST /v1/invoices"),
            (http(&["GET /**/x"]), "allowed", "GET /v1/**"),
            (http(&["GET /x?y"]), "allowed", "GET /v1/**"),
            (grpc(&["Send"]), "allowed", "pkg.Service/Method"),
            (with_url("billing"), "url", "https://"),
            (with_url("ftp://a"), "url", "https://"),
            (with_url("https://u:p@a.example"), "url", "auth"),
            (with_url("https://a.example?x"), "url", "query"),
            (TargetSettings { url: "https://a.example/x".into(), ..grpc(&["*"]) }, "url", "path"),
            (with_auth("hunter2"), "auth", "name a secret"),
            (with_auth("$NONE"), "auth", "$NONE"),
            (TargetSettings { url: "https://b.example".into(), ..with_auth("$K") }, "auth", "bound to"),
            (with_retry(http(&["*"]), "200"), "retry", "503"),
            (with_retry(grpc(&["*"]), "503"), "retry", "UNAVAILABLE"),
        ] {
            let text = mistake(&settings);
            assert!(text.starts_with(&format!("targets.billing.{key}: ")) && text.contains(part), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert!(target(&with_auth("u:$K")).credentials.is_some());
    }

    proptest! {
        #[test]
        fn what_passes_is_called_as_it_was_written(path in "/[a-z%./?0-9@:&=]{0,30}") {
            let base = TargetSettings { url: "https://a.example/api".into(), ..settings(Protocol::Http, &["*"]) };
            let target = target(&base);
            if target.check(&post(&path)).is_ok() {
                let url = target.url_of(&path).unwrap();
                prop_assert_eq!(url.as_str(), format!("https://a.example/api{path}"));
            }
        }
    }
}
