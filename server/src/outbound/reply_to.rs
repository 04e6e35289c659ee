//! Where an outcome is told: `[METHOD ][credentials@]URL`, read by one pure function. The credentials of a target in the
//! configuration are written the same way.
//!
//! A value that begins with `$` names a secret. A literal dollar is written `%24`: names are looked for before the parts
//! are URL-decoded.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

/// Bytes of a whole `reply_to`.
const BYTES_MAX: usize = 2_048;

/// Headers that credentials must not be put into: they steer the exchange, or are ours.
const HEADERS_KEPT: [&str; 13] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// An HTTP method that may be used on the way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// GET: carries no body.
    Get,
    /// POST, the default.
    #[default]
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

impl Method {
    const ALL: [Method; 5] = [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete];

    /// The method of this name, in capitals or not.
    pub fn read(text: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.name().eq_ignore_ascii_case(text))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

/// A value that is written out, or the name of a secret that stands for it.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// The value itself.
    Literal(String),
    /// The name of a secret, without its `$`.
    Secret(String),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Debug ends in logs.
            Value::Literal(_) => f.write_str("Literal(..)"),
            Value::Secret(name) => write!(f, "Secret({name})"),
        }
    }
}

/// How a request proves who sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Basic authentication.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Value,
    },
    /// A header of its own.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: Value,
    },
    /// A bearer token.
    Bearer(Value),
}

impl Credentials {
    /// Reads `user:password`, `http.NAME:value` or `token`.
    pub fn read(text: &str) -> Result<Credentials, String> {
        if let Some(header) = text.strip_prefix("http.") {
            let (name, value) = header
                .split_once(':')
                .ok_or("has a header without a value: write it like http.X-Api-Key:value@https://..")?;
            let name = decode("header name", name)?;
            check_header_name(&name)?;
            return Ok(Credentials::Header { name, value: value_of("header value", value)? });
        }
        if let Some((user, password)) = text.split_once(':') {
            let user = decode("user", user)?;
            if user.is_empty() || user.contains(':') || user.starts_with('$') {
                return Err(
                    "has a user that is empty, begins with `$` or has a colon in it: only the password may \
                            name a secret"
                        .into(),
                );
            }
            return Ok(Credentials::Basic { user, password: value_of("password", password)? });
        }
        Ok(Credentials::Bearer(value_of("token", text)?))
    }

    /// The secret that it names, if it names one.
    pub fn secret(&self) -> Option<&str> {
        let (Credentials::Basic { password: value, .. }
        | Credentials::Header { value, .. }
        | Credentials::Bearer(value)) = self;
        match value {
            Value::Secret(name) => Some(name),
            Value::Literal(_) => None,
        }
    }
}

/// A `reply_to`, read.
#[derive(Clone, Debug)]
pub struct ReplyTo {
    /// The method.
    pub method: Method,
    /// How the server proves who it is.
    pub credentials: Option<Credentials>,
    /// Where it goes; without user info.
    pub url: Url,
    shown: String,
    written_credentials: String,
}

impl ReplyTo {
    /// Reads a `reply_to`; says what is wrong with it and what to do, without repeating any of its credentials.
    pub fn read(text: &str) -> Result<ReplyTo, String> {
        if text.len() > BYTES_MAX {
            return Err(format!("has {} bytes, at most {BYTES_MAX} are allowed: shorten it", text.len()));
        }
        if text.chars().any(|c| c.is_control() || (c.is_whitespace() && c != ' ')) {
            return Err("has a control character or a line break in it: URL-encode it".into());
        }
        let (method, rest) = match text.split_once(' ') {
            Some((name, rest)) => (Some(read_method(name)?), rest),
            None => (None, text),
        };
        if rest.contains(' ') {
            return Err("has a second space in it: write a space as %20".into());
        }
        let (credentials, address) = split_credentials(rest);
        let url = read_url(address)?;
        let shown = match method {
            Some(method) => format!("{} {address}", method.name()),
            None => address.to_owned(),
        };
        Ok(ReplyTo {
            method: method.unwrap_or_default(),
            credentials: credentials.map(Credentials::read).transpose()?,
            url,
            shown,
            written_credentials: credentials.unwrap_or_default().to_owned(),
        })
    }

    /// It as it may be shown: without credentials.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Its credentials as they were written, secrets by name; empty for none.
    pub fn written_credentials(&self) -> &str {
        &self.written_credentials
    }
}

fn read_method(name: &str) -> Result<Method, String> {
    Method::read(name)
        .ok_or_else(|| "has a word before its first space that is not GET, POST, PUT, PATCH or DELETE".into())
}

/// What stands before the first `@http://` or `@https://`; an `@` that comes later is plain, and so is every `@` of a text
/// that begins with its address.
fn split_credentials(text: &str) -> (Option<&str>, &str) {
    if is_address(text) {
        return (None, text);
    }
    let ends = ["@http://", "@https://"].into_iter().filter_map(|mark| text.find(mark));
    match ends.min() {
        Some(at) => (Some(&text[..at]), &text[at + 1..]),
        None => (None, text),
    }
}

fn read_url(text: &str) -> Result<Url, String> {
    const HINT: &str = "write it like https://example.org/path";
    if !is_address(text) {
        return Err(format!("has no https:// or http:// where its address begins: {HINT}"));
    }
    let url = Url::parse(text).map_err(|error| format!("has an address that is none ({error}): {HINT}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user in its address: put the credentials before the address, as in \
                    user:password@https://example.org/"
            .into());
    }
    if url.fragment().is_some() {
        return Err("has a fragment (#..), which is never sent: leave it out, or write # as %23".into());
    }
    Ok(url)
}

fn is_address(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn value_of(what: &str, text: &str) -> Result<Value, String> {
    if let Some(name) = text.strip_prefix('$') {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        return if !name.is_empty() && name.chars().all(fits) {
            Ok(Value::Secret(name.to_owned()))
        } else {
            Err(format!(
                "has a {what} that begins with `$` and is no name of a secret (A-Z, a-z, 0-9 and _): write a \
                 literal dollar as %24"
            ))
        };
    }
    let value = decode(what, text)?;
    if value.is_empty() {
        return Err(format!("has an empty {what} before its @"));
    }
    Ok(Value::Literal(value))
}

fn decode(what: &str, text: &str) -> Result<String, String> {
    let decoded =
        percent_decode_str(text).decode_utf8().map_err(|_| format!("has a {what} that is not UTF-8"))?;
    if decoded.chars().any(char::is_control) {
        return Err(format!("has a control character in its {what}"));
    }
    Ok(decoded.into_owned())
}

fn check_header_name(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(fits) {
        return Err("has a header name with characters that a header name cannot have".into());
    }
    let lower = name.to_ascii_lowercase();
    if HEADERS_KEPT.contains(&lower.as_str())
        || lower.starts_with("webhook-")
        || lower.starts_with("haulier-")
        || lower.starts_with("grpc-")
    {
        return Err(format!("has the header {lower}, which is set by the server itself: choose another"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(token: &str) -> Option<Credentials> {
        Some(Credentials::Bearer(Value::Literal(token.into())))
    }

    fn basic(user: &str, password: Value) -> Option<Credentials> {
        Some(Credentials::Basic { user: user.into(), password })
    }

    fn header(name: &str, value: Value) -> Option<Credentials> {
        Some(Credentials::Header { name: name.into(), value })
    }

    fn literal(text: &str) -> Value {
        Value::Literal(text.into())
    }

    #[test]
    fn each_part_is_read_as_the_rules_say() {
        let secret = |name: &str| Value::Secret(name.into());
        let table = [
            ("https://a.example/x", Method::Post, None, "https://a.example/x"),
            ("PUT https://a.example", Method::Put, None, "https://a.example/"),
            ("get http://a.example/?q=1", Method::Get, None, "http://a.example/?q=1"),
            ("PATCH t@https://a.example/", Method::Patch, bearer("t"), "https://a.example/"),
            ("DELETE u:p@https://a.example/", Method::Delete, basic("u", literal("p")), "https://a.example/"),
            ("u:p@https://a.example/", Method::Post, basic("u", literal("p")), "https://a.example/"),
            // A colon in the password stays: the first one divides.
            ("u:p:q@https://a.example/", Method::Post, basic("u", literal("p:q")), "https://a.example/"),
            ("u%3Av:p%40q@https://a.example/", Method::Post, None, ""),
            (
                "u:p%40q%20r@https://a.example/",
                Method::Post,
                basic("u", literal("p@q r")),
                "https://a.example/",
            ),
            // An `@` that is not before a scheme belongs to what it stands in.
            ("a@b:p@https://a.example/", Method::Post, basic("a@b", literal("p")), "https://a.example/"),
            ("https://a.example/@b@c", Method::Post, None, "https://a.example/@b@c"),
            // Only the first end of credentials counts.
            (
                "t@https://a.example/?u=x@http://b",
                Method::Post,
                bearer("t"),
                "https://a.example/?u=x@http://b",
            ),
            ("t@http://a.example/@https://b", Method::Post, bearer("t"), "http://a.example/@https://b"),
            ("https://a.example/?u=x@http://b", Method::Post, None, "https://a.example/?u=x@http://b"),
            // `http.` wins over `:`, `:` over bearer.
            (
                "http.X-Key:v:w@https://a.example/",
                Method::Post,
                header("X-Key", literal("v:w")),
                "https://a.example/",
            ),
            (
                "https.x:v@https://a.example/",
                Method::Post,
                basic("https.x", literal("v")),
                "https://a.example/",
            ),
            (
                "$TOKEN@https://a.example/",
                Method::Post,
                Some(Credentials::Bearer(secret("TOKEN"))),
                "https://a.example/",
            ),
            ("u:$PW@https://a.example/", Method::Post, basic("u", secret("PW")), "https://a.example/"),
            ("http.X:$K@https://a.example/", Method::Post, header("X", secret("K")), "https://a.example/"),
            // A literal dollar is URL-encoded; one that is not in front is plain.
            ("%24TOKEN@https://a.example/", Method::Post, bearer("$TOKEN"), "https://a.example/"),
            ("a$b@https://a.example/", Method::Post, bearer("a$b"), "https://a.example/"),
            ("https://A.Example:443/b/../c", Method::Post, None, "https://a.example/c"),
            ("http://[::1]:8080/", Method::Post, None, "http://[::1]:8080/"),
        ];
        for (text, method, credentials, url) in table {
            if url.is_empty() {
                assert!(ReplyTo::read(text).is_err(), "{text}");
                continue;
            }
            let read = ReplyTo::read(text).unwrap_or_else(|message| panic!("{text}: {message}"));
            assert_eq!(
                (read.method, &read.credentials, read.url.as_str()),
                (method, &credentials, url),
                "{text}"
            );
        }
    }

    #[test]
    fn it_is_shown_without_credentials_and_made_whole_again() {
        for (text, shown, credentials) in [
            ("https://a.example/x", "https://a.example/x", ""),
            ("put u:p@https://a.example/x?y=1", "PUT https://a.example/x?y=1", "u:p"),
            ("$T@https://a.example", "https://a.example", "$T"),
        ] {
            let read = ReplyTo::read(text).unwrap();
            assert_eq!((read.shown(), read.written_credentials()), (shown, credentials));
            assert!(!format!("{read:?}").contains("Literal(\""), "{read:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_mend() {
        let long = format!("https://a.example/{}", "x".repeat(2_100));
        for (text, part) in [
            ("", "https://"),
            ("example.org/x", "https://"),
            ("ftp://a.example/", "https://"),
            ("t@ftp://a.example/", "https://"),
            ("t@HTTPS://a.example/", "https://"),
            ("FETCH https://a.example/", "GET, POST"),
            ("POST  https://a.example/", "%20"),
            ("POST https://a.example/a b", "%20"),
            (" https://a.example/", "GET, POST"),
            ("https://", "address"),
            ("https://u@a.example/", "user in its address"),
            ("https://u:p@a.example/", "user in its address"),
            ("t@https://u:p@a.example/", "user in its address"),
            ("https://a.example/#x", "fragment"),
            ("@https://a.example/", "empty token"),
            ("u:@https://a.example/", "empty password"),
            (":p@https://a.example/", "user"),
            ("$U:p@https://a.example/", "user"),
            ("http.X@https://a.example/", "http.X-Api-Key:value"),
            ("http.:v@https://a.example/", "header name"),
            ("http.X%20Y:v@https://a.example/", "header name"),
            ("http.Host:v@https://a.example/", "host"),
            ("http.Webhook-Id:v@https://a.example/", "webhook-id"),
            ("http.X:%0d%0aY@https://a.example/", "control character"),
            ("%ff@https://a.example/", "UTF-8"),
            ("$@https://a.example/", "%24"),
            ("$A-B@https://a.example/", "%24"),
            ("https://a.example/\n", "control character"),
            ("https://a.example/\u{2003}", "line break"),
            (&long, "2048"),
        ] {
            let message = ReplyTo::read(text).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn a_refusal_repeats_no_credentials() {
        for text in
            ["hunter2:@https://a.example/", "http.hunter2@https://a.example/", "$hunter2!@https://a.example/"]
        {
            assert!(!ReplyTo::read(text).unwrap_err().contains("hunter2"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_text_is_read_or_refused_but_never_panics(text in ".*") {
            let _ = ReplyTo::read(&text);
        }

        #[test]
        fn any_text_near_the_syntax_is_read_or_refused(
            text in "((GET|POST|PUT|X)? ?)?[a-z.:$%@/ -]{0,12}(@?https?://)?[a-z0-9.:@\\[\\]%/#? -]{0,20}(@https?://)?[a-z%]{0,6}"
        ) {
            if let Ok(read) = ReplyTo::read(&text) {
                prop_assert!(matches!(read.url.scheme(), "http" | "https"));
                prop_assert!(read.url.username().is_empty() && read.url.password().is_none());
                prop_assert!(read.url.has_host());
                // What is shown reads as the same address without credentials.
                let again = ReplyTo::read(read.shown()).unwrap();
                prop_assert_eq!((again.method, again.url.as_str(), again.credentials), (read.method, read.url.as_str(), None));
            }
        }

        #[test]
        fn credentials_that_are_encoded_come_back(user in "[^\\p{Cc}:$]{1,10}", password in "[^\\p{Cc}]{1,10}") {
            let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
            let text = format!("POST {}:{}@https://a.example/", encode(&user), encode(&password));
            // `http.` would begin a header; the dot is encoded, so it cannot.
            let read = ReplyTo::read(&text).unwrap();
            prop_assert_eq!(read.credentials, Some(Credentials::Basic { user, password: Value::Literal(password) }));
        }
    }
}
