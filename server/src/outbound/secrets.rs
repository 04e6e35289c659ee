//! Secrets: values with a name, each bound to the hosts it may be sent to. They are looked up when a request is sent, so
//! that a file that was rotated counts at once, and are never part of anything that is stored, shown or logged.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a secret's value is.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// Here.
    Value(String),
    /// In a file, read at each use; one line break at its end is no part of it.
    File(PathBuf),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Value(_) => f.write_str("Value(..)"),
            Source::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

impl Source {
    /// The value now; says what is wrong, never what it is.
    pub(super) fn resolve(&self) -> Result<String, String> {
        let value = match self {
            Source::Value(value) => value.clone(),
            Source::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("its file {} cannot be read: {error}", path.display()))?;
                let line = text.strip_suffix('\n').unwrap_or(&text);
                line.strip_suffix('\r').unwrap_or(line).to_owned()
            }
        };
        if value.is_empty() || value.chars().any(char::is_control) {
            return Err("its value is empty or has a control character in it".into());
        }
        Ok(value)
    }
}

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Where its value is.
    pub source: Source,
    /// The hosts that it may be sent to: names, addresses, or `*.example.org` for every name below one.
    pub hosts: Vec<String>,
}

/// Every secret by its name.
#[derive(Debug, Default)]
pub(super) struct Secrets(BTreeMap<String, Secret>);

impl Secrets {
    pub(super) fn new(secrets: BTreeMap<String, Secret>) -> Self {
        Self(secrets)
    }

    /// Can each be read now? Names the first that cannot, and says why.
    pub(super) fn check_all(&self) -> Result<(), (String, String)> {
        let read = |(name, secret): (&String, &Secret)| match secret.source.resolve() {
            Ok(_) => Ok(()),
            Err(why) => Err((name.clone(), why)),
        };
        self.0.iter().try_for_each(read)
    }

    /// May the secret of this name be sent to this host?
    pub(super) fn check(&self, name: &str, host: &str) -> Result<&Secret, String> {
        let secret = self.0.get(name).ok_or_else(|| {
            format!("names the secret ${name}, which the server's configuration does not have")
        })?;
        if secret.hosts.iter().any(|allowed| host_matches(allowed, host)) {
            Ok(secret)
        } else {
            Err(format!(
                "sends the secret ${name} to {host}, which is not among the hosts that it is bound to"
            ))
        }
    }

    /// Its value, for this host.
    pub(super) fn resolve(&self, name: &str, host: &str) -> Result<String, String> {
        let secret = self.check(name, host)?;
        secret.source.resolve().map_err(|why| format!("the secret ${name} cannot be used: {why}"))
    }
}

/// Names are compared without case and without the dot of the root.
fn host_matches(allowed: &str, host: &str) -> bool {
    let plain = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    let (allowed, host) = (plain(allowed), plain(host));
    match allowed.strip_prefix("*.") {
        Some(parent) => {
            host.strip_suffix(parent).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
        }
        None => allowed == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_goes_to_its_hosts_only() {
        for (allowed, host, is) in [
            ("a.example", "a.example", true),
            ("a.example", "A.Example.", true),
            ("a.example", "b.a.example", false),
            ("a.example", "a.example.evil", false),
            ("*.example.org", "a.example.org", true),
            ("*.example.org", "a.b.example.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", ".example.org", false),
            ("*.example.org", "badexample.org", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("[::1]", "[::1]", true),
        ] {
            assert_eq!(host_matches(allowed, host), is, "{allowed} {host}");
        }
    }

    #[test]
    fn a_secret_is_read_from_its_file_each_time_and_never_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let secret = Secret { source: Source::File(file.path().to_owned()), hosts: vec!["a".into()] };
        let secrets = Secrets::new([("K".to_owned(), secret)].into());
        for value in ["one", "two"] {
            std::fs::write(file.path(), format!("{value}\r\n")).unwrap();
            assert_eq!(secrets.resolve("K", "a").unwrap(), value);
        }
        std::fs::write(file.path(), "hunter2\nmore").unwrap();
        let message = secrets.resolve("K", "a").unwrap_err();
        assert!(message.contains("$K") && !message.contains("hunter2"), "{message}");
        assert!(secrets.resolve("K", "b").unwrap_err().contains("bound to"));
        assert!(secrets.resolve("L", "a").unwrap_err().contains("configuration"));
        assert_eq!(format!("{:?}", Source::Value("hunter2".into())), "Value(..)");
    }
}
