//! The settings that have names of their own and stand in the file only: targets, secrets, the way out, the pool.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, read_duration};

/// For one try of a reply, all phases together.
const DEADLINE: Duration = Duration::from_secs(30);
const DEADLINE_MAX: Duration = Duration::from_secs(300);
/// Waits between the tries of a reply: about a day in all.
const DELIVERY_RETRIES: [u64; 11] = [5, 30, 120, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 28_800];
const DELIVERY_RETRIES_MAX: usize = 100;
const DELIVERY_RETRY_MAX: Duration = Duration::from_secs(7 * 86_400);
/// API calls and replies that a server makes at a time.
const SLOTS: i32 = 16;
const SLOTS_MAX: i32 = 1_000;
/// Names of targets and secrets.
const NAME_BYTES_MAX: usize = 128;

/// `[pool]`: the server's own worker pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Whether this server makes API calls and sends replies.
    pub enabled: bool,
    /// API calls at a time.
    pub slots: i32,
    /// Replies at a time.
    pub delivery_slots: i32,
}

impl Default for Pool {
    fn default() -> Self {
        Self { enabled: true, slots: SLOTS, delivery_slots: SLOTS }
    }
}

/// `[outbound]`: what may leave the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Private addresses that replies may go to, as networks.
    pub allow: Vec<String>,
    /// Whether replies may go out without TLS.
    pub allow_http: bool,
    /// For one try of a reply, all phases together.
    pub deadline: Duration,
    /// Waits between the tries of a reply.
    pub delivery_retries: Vec<Duration>,
    /// What replies are signed with: the key in use, and the one that follows or went before.
    pub signing_keys: Vec<SecretSource>,
    /// Certificates that receivers of replies may have beside those of the system.
    pub ca_file: Option<PathBuf>,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            allow_http: false,
            deadline: DEADLINE,
            delivery_retries: DELIVERY_RETRIES.iter().copied().map(Duration::from_secs).collect(),
            signing_keys: Vec::new(),
            ca_file: None,
        }
    }
}

/// Where a secret's value is.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// Here, or in a variable of the environment.
    Value(String),
    /// In a file, read at each use.
    File(PathBuf),
}

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Debug ends in logs.
        match self {
            SecretSource::Value(_) => f.write_str("Value(..)"),
            SecretSource::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// `[secrets.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Where its value is.
    pub source: SecretSource,
    /// The hosts that it may be sent to.
    pub hosts: Vec<String>,
}

/// What a target speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// HTTP.
    Http,
}

/// `[targets.NAME]`: an API that jobs may call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its base URL.
    pub url: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// What jobs may call of it.
    pub allowed: Vec<String>,
    /// Credentials by the name of a secret: `$NAME`, `user:$NAME` or `http.HEADER:$NAME`; empty for none.
    #[serde(default)]
    pub auth: String,
    /// Statuses that are worth another attempt; unset: the default of the protocol.
    pub retry: Option<Vec<String>>,
    /// Certificates to trust beside the usual ones.
    pub ca_file: Option<PathBuf>,
    /// gRPC: a descriptor set to read in place of the target's reflection.
    pub descriptor_set: Option<PathBuf>,
}

/// The tables of a settings file as they are written.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolTable {
    enabled: Option<bool>,
    slots: Option<i32>,
    delivery_slots: Option<i32>,
}

/// `[outbound]` as it is written.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboundTable {
    allow: Option<Vec<String>>,
    allow_http: Option<bool>,
    deadline: Option<String>,
    delivery_retries: Option<Vec<String>>,
    signing_keys: Option<Vec<SourceTable>>,
    ca_file: Option<PathBuf>,
}

/// A value, the file that has it, or the variable that has it.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceTable {
    value: Option<String>,
    file: Option<PathBuf>,
    env: Option<String>,
}

/// `[secrets.NAME]` as it is written.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretTable {
    value: Option<String>,
    file: Option<PathBuf>,
    env: Option<String>,
    #[serde(default)]
    hosts: Vec<String>,
}

type Result<T> = std::result::Result<T, ConfigError>;

impl PoolTable {
    /// The pool; the command line wins.
    pub(super) fn read(self, no_pool: Option<bool>, slots: Option<i32>) -> Pool {
        let default = Pool::default();
        Pool {
            enabled: no_pool.map_or(self.enabled.unwrap_or(default.enabled), |off| !off),
            slots: slots.or(self.slots).unwrap_or(default.slots),
            delivery_slots: self.delivery_slots.unwrap_or(default.delivery_slots),
        }
    }
}

impl OutboundTable {
    pub(super) fn read(self, variable: &impl Fn(&str) -> Option<String>) -> Result<Outbound> {
        let default = Outbound::default();
        let duration = |key: &'static str, text: &String| {
            read_duration(text).map_err(|message| ConfigError::wrong(key, message))
        };
        let waits = self.delivery_retries.map(|waits| {
            waits.iter().map(|wait| duration("outbound.delivery_retries", wait)).collect::<Result<Vec<_>>>()
        });
        let keys = self.signing_keys.unwrap_or_default();
        let keys =
            keys.into_iter().map(|key| key.read("outbound.signing_keys", variable)).collect::<Result<_>>()?;
        Ok(Outbound {
            allow: self.allow.unwrap_or_default(),
            allow_http: self.allow_http.unwrap_or_default(),
            deadline: self
                .deadline
                .map_or(Ok(default.deadline), |text| duration("outbound.deadline", &text))?,
            delivery_retries: waits.unwrap_or(Ok(default.delivery_retries))?,
            signing_keys: keys,
            ca_file: self.ca_file,
        })
    }
}

impl SourceTable {
    fn read(
        self,
        key: impl Into<Cow<'static, str>>,
        variable: &impl Fn(&str) -> Option<String>,
    ) -> Result<SecretSource> {
        match (self.value, self.file, self.env) {
            (Some(value), None, None) => Ok(SecretSource::Value(value)),
            (None, Some(file), None) => Ok(SecretSource::File(file)),
            (None, None, Some(name)) => {
                variable(&name).filter(|value| !value.is_empty()).map(SecretSource::Value).ok_or_else(|| {
                    ConfigError::wrong(
                        key,
                        format!(
                            "the variable {name} is not in the environment or empty: set it, or name a `file`"
                        ),
                    )
                })
            }
            _ => Err(ConfigError::wrong(key.into(), "needs exactly one of `value`, `file` and `env`")),
        }
    }
}

/// Reads `[secrets.*]`.
pub(super) fn read_secrets(
    tables: BTreeMap<String, SecretTable>,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, Secret>> {
    let read = |(name, table): (String, SecretTable)| {
        let SecretTable { value, file, env, hosts } = table;
        let source = SourceTable { value, file, env }.read(format!("secrets.{name}"), variable)?;
        Ok((name, Secret { source, hosts }))
    };
    tables.into_iter().map(read).collect()
}

impl Pool {
    pub(super) fn check(&self) -> Result<()> {
        for (key, slots) in [("pool.slots", self.slots), ("pool.delivery_slots", self.delivery_slots)] {
            if !(1..=SLOTS_MAX).contains(&slots) {
                let message = format!("must be 1 to {SLOTS_MAX}; to make no calls at all say --no-pool");
                return Err(ConfigError::wrong(key, message));
            }
        }
        Ok(())
    }
}

impl Outbound {
    pub(super) fn check(&self) -> Result<()> {
        if self.deadline.is_zero() || self.deadline > DEADLINE_MAX {
            let message = format!("must be more than 0s and at most {}s", DEADLINE_MAX.as_secs());
            return Err(ConfigError::wrong("outbound.deadline", message));
        }
        if self.delivery_retries.len() > DELIVERY_RETRIES_MAX {
            let message = format!("has more than {DELIVERY_RETRIES_MAX} waits: leave some out");
            return Err(ConfigError::wrong("outbound.delivery_retries", message));
        }
        if self.delivery_retries.iter().any(|wait| wait.is_zero() || *wait > DELIVERY_RETRY_MAX) {
            let days = DELIVERY_RETRY_MAX.as_secs() / 86_400;
            let message = format!("has a wait that is 0s or more than {days}d");
            return Err(ConfigError::wrong("outbound.delivery_retries", message));
        }
        Ok(())
    }
}

/// Names of targets are those of the contract; names of secrets stand after a `$`.
pub(super) fn check_names(
    targets: &BTreeMap<String, Target>,
    secrets: &BTreeMap<String, Secret>,
) -> Result<()> {
    let fits = |name: &str, more: &[u8]| {
        (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || more.contains(&byte))
    };
    if let Some(name) = targets.keys().find(|name| !fits(name, b".:/-")) {
        let message = format!("the name must be 1 to {NAME_BYTES_MAX} characters of A-Z, a-z, 0-9 and ._:/-");
        return Err(ConfigError::wrong(format!("targets.{name:?}"), message));
    }
    if let Some(name) = secrets.keys().find(|name| !fits(name, b"")) {
        let message = format!("the name must be 1 to {NAME_BYTES_MAX} characters of A-Z, a-z, 0-9 and _");
        return Err(ConfigError::wrong(format!("secrets.{name:?}"), message));
    }
    if let Some((name, _)) = secrets.iter().find(|(_, secret)| secret.hosts.is_empty()) {
        let message = "is empty or not there: name the hosts that the secret may be sent to, as in hosts = [\"api.example.org\"]";
        return Err(ConfigError::wrong(format!("secrets.{name}.hosts"), message));
    }
    Ok(())
}
