//! Settings as plain data: what the file says, over it the environment, over it the command line; what nobody says has a
//! default. Nothing here reads the clock, opens a socket or knows the other rooms.

mod read;
mod retention;
mod retry;
mod tables;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use read::read_duration;
use read::{read_listen, read_size};
use retention::read_retention;
pub use retention::{KeepFor, RetentionSettings};
pub use retry::{BackoffName, RetryProfile, RetrySettings};
use retry::{check_profiles, read_profiles};
use serde::Deserialize;

pub use tables::{Outbound, Pool, Protocol, Secret, SecretSource, Target};
use tables::{OutboundTable, PoolTable, SecretTable};

/// Where a server listens unless told otherwise, as SDKs expect it.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4285);
/// A file in the working directory: no database to set up.
const DATABASE_URL: &str = "sqlite:haulier.db";
const TABLE_PREFIX: &str = "haulier_";
const TABLE_PREFIX_CHARS_MAX: usize = 32;
const DATABASE_WAIT: Duration = Duration::from_secs(60);

/// The command line's part: where the file is, and settings that win over it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// Settings file in TOML; its keys are the long names of these options, with `_` for `-`
    #[arg(long, env = "HAULIER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Settings that win over the file's.
    #[command(flatten)]
    pub settings: Settings,
}

/// What a file, the environment or the command line says; all of it may be left out.
#[derive(Clone, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Address and port to listen on [default: 127.0.0.1:4285]
    #[arg(long, env = "HAULIER_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Database: mysql://user:password@host/name, or sqlite:path; else DATABASE_URL [default: sqlite:haulier.db]
    #[arg(long, env = "HAULIER_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// File that holds the database URL, to keep its password out of sight
    #[arg(long, env = "HAULIER_DATABASE_URL_FILE", value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// How long to wait at the start for a database that is down [default: 60s]
    #[arg(long, env = "HAULIER_DATABASE_WAIT", value_name = "DURATION")]
    pub database_wait: Option<String>,
    /// What the name of every table begins with [default: haulier_]
    #[arg(long, env = "HAULIER_TABLE_PREFIX", value_name = "PREFIX")]
    pub table_prefix: Option<String>,
    /// Refuse a database whose settings may lose accepted jobs with a loss of power
    #[arg(long, env = "HAULIER_REQUIRE_DURABLE", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new(), value_name = "BOOL")]
    pub require_durable: Option<bool>,
    /// Listen on an address that others can reach without authentication and TLS
    #[arg(long, env = "HAULIER_INSECURE", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new(), value_name = "BOOL")]
    pub insecure: Option<bool>,
    /// Largest request or result of a job, at most 3MiB [default: 1MiB]
    #[arg(long, env = "HAULIER_PAYLOAD_LIMIT", value_name = "SIZE")]
    pub payload_limit: Option<String>,
    /// Timeout of an attempt of a job that sets none [default: 10m]
    #[arg(long, env = "HAULIER_TIMEOUT", value_name = "DURATION")]
    pub timeout: Option<String>,
    /// Retries of a job that sets none, in the retry profile `default` [default: 2]
    #[arg(long, env = "HAULIER_RETRY_LIMIT", value_name = "NUMBER")]
    pub retry_limit: Option<i32>,
    /// Jobs of one batch at most, up to 10000 [default: 1000]
    #[arg(long, env = "HAULIER_BATCH_LIMIT", value_name = "NUMBER")]
    pub batch_limit: Option<usize>,
    /// Retry profile of a job that names none: `default`, `abp`, `none`, or one of the file [default: default]
    #[arg(long, env = "HAULIER_RETRY_PROFILE", value_name = "NAME")]
    pub retry_profile: Option<String>,
    /// How long a transient run waits for a worker process that serves its command [default: 2s]
    #[arg(long, env = "HAULIER_RUN_WAIT", value_name = "DURATION")]
    pub run_wait: Option<String>,
    /// What this server is called in lists of servers [default: the name of the host]
    #[arg(long, env = "HAULIER_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// How the log is written to stderr [default: text]
    #[arg(long, env = "HAULIER_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Retry profiles by name: only the file describes them.
    #[arg(skip)]
    #[serde(default)]
    pub retry: BTreeMap<String, RetrySettings>,
    /// How long what has ended is kept: only the file says so.
    #[arg(skip)]
    #[serde(default)]
    pub retention: RetentionSettings,
    /// Make no API calls and send no replies: another server does
    #[arg(long, env = "HAULIER_NO_POOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new(), value_name = "BOOL")]
    #[serde(skip)]
    pub no_pool: Option<bool>,
    /// API calls that this server makes at a time [default: 16]
    #[arg(long, env = "HAULIER_POOL_SLOTS", value_name = "NUMBER")]
    #[serde(skip)]
    pub pool_slots: Option<i32>,
    /// `[pool]`.
    #[arg(skip)]
    #[serde(default)]
    pub pool: PoolTable,
    /// `[outbound]`.
    #[arg(skip)]
    #[serde(default)]
    pub outbound: OutboundTable,
    /// `[secrets.*]`.
    #[arg(skip)]
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretTable>,
    /// `[targets.*]`.
    #[arg(skip)]
    #[serde(default)]
    pub targets: BTreeMap<String, Target>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A database URL holds a password, and Debug ends in logs.
        f.write_str("Settings(..)")
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Every setting, complete but for those whose default is a limit of the server.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where to listen; port 0 is any that is free.
    pub listen: SocketAddr,
    /// Which database.
    pub database_url: DatabaseUrl,
    /// How long to wait at the start for a database that is down.
    pub database_wait: Duration,
    /// What the name of every table begins with.
    pub table_prefix: String,
    /// Refuse a database whose settings may lose accepted jobs.
    pub require_durable: bool,
    /// Listen where others can reach it without authentication and TLS.
    pub insecure: bool,
    /// Largest request or result of a job, bytes; unset: the server's default.
    pub payload_bytes_max: Option<usize>,
    /// Timeout of a job that sets none; unset: the server's default.
    pub timeout: Option<Duration>,
    /// Retry limit of the profile `default`; unset: the server's default.
    pub retry_limit: Option<i32>,
    /// Jobs of one batch at most; unset: the server's default.
    pub batch_jobs_max: Option<usize>,
    /// Retry profile of a job that names none; unset: `default`.
    pub retry_profile: Option<String>,
    /// Retry profiles by name.
    pub retry: BTreeMap<String, RetryProfile>,
    /// How long what has ended is kept.
    pub retention: KeepFor,
    /// How long a transient run waits for a worker process that serves its command; unset: the server's default.
    pub run_wait: Option<Duration>,
    /// What this server is called in lists of servers; unset: the name of the host.
    pub name: Option<String>,
    /// How the log is written.
    pub log_format: LogFormat,
    /// The server's own worker pool.
    pub pool: Pool,
    /// What may leave the server.
    pub outbound: Outbound,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Secret>,
    /// APIs that jobs may call, by name.
    pub targets: BTreeMap<String, Target>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: LISTEN,
            database_url: DatabaseUrl(DATABASE_URL.into()),
            database_wait: DATABASE_WAIT,
            table_prefix: TABLE_PREFIX.into(),
            require_durable: false,
            insecure: false,
            payload_bytes_max: None,
            timeout: None,
            retry_limit: None,
            batch_jobs_max: None,
            retry_profile: None,
            retry: BTreeMap::new(),
            retention: KeepFor::default(),
            run_wait: None,
            name: None,
            log_format: LogFormat::default(),
            pool: Pool::default(),
            outbound: Outbound::default(),
            secrets: BTreeMap::new(),
            targets: BTreeMap::new(),
        }
    }
}

/// A database URL; what is shown of it leaves the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(pub String);

impl std::fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.0.split_once("://").and_then(|(scheme, rest)| {
            let (credentials, place) = rest.rsplit_once('@')?;
            let user = credentials.split_once(':').map_or(credentials, |(user, _)| user);
            let place = place.split_once('?').map_or(place, |(place, _)| place);
            Some(format!("{scheme}://{user}@{place}"))
        });
        f.write_str(shown.as_deref().unwrap_or(&self.0))
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// The most that settings may be: limits of the server, handed in.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of `payload_limit`, bytes.
    pub payload_bytes_max: usize,
    /// Of `timeout`.
    pub timeout_max: Duration,
    /// Of `retry_limit`, also of a profile.
    pub retry_limit_max: i32,
    /// Of `batch_limit`.
    pub batch_jobs_max: usize,
    /// Of `run_wait`.
    pub run_wait_max: Duration,
    /// Of `crash_limit` of a profile.
    pub crash_limit_max: i32,
    /// Of `first` and `max` of a profile.
    pub retry_delay_max: Duration,
    /// Of `factor` of a profile.
    pub retry_factor_max: f64,
    /// Of `give_up` of a profile.
    pub give_up_max: Duration,
    /// Profiles in all.
    pub retry_profiles_max: usize,
}

/// Why there are no settings to start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{what} {path} cannot be read: {error}", path = path.display())]
    Unreadable {
        /// Which file it is.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The settings file is not what it should be.
    #[error("settings file {path}: {message}", path = path.display())]
    Malformed {
        /// Where it is.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A setting is not what it may be.
    #[error("{key}: {message}")]
    Wrong {
        /// The setting's name.
        key: Cow<'static, str>,
        /// What is wrong with it and how to mend it.
        message: String,
    },
}

impl ConfigError {
    pub(crate) fn wrong(key: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        ConfigError::Wrong { key: key.into(), message: message.into() }
    }
}

impl Config {
    /// The settings: `flags` (which have the `HAULIER_*` variables in them already) over the file they name; of other
    /// variables, `DATABASE_URL` counts when neither says which database.
    pub fn load(flags: Flags, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let file = flags.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let settings = flags.settings.over(file);
        let defaults = Config::default();
        let read = |key, text: Option<String>, read: fn(&str) -> Result<Duration, String>| {
            text.map(|text| read(&text).map_err(|message| ConfigError::wrong(key, message))).transpose()
        };
        let size =
            |text: String| read_size(&text).map_err(|message| ConfigError::wrong("payload_limit", message));
        let listen =
            |text: String| read_listen(&text).map_err(|message| ConfigError::wrong("listen", message));
        Ok(Config {
            database_url: database_url(settings.database_url, settings.database_url_file, &variable)?,
            listen: settings.listen.map(listen).transpose()?.unwrap_or(defaults.listen),
            database_wait: read("database_wait", settings.database_wait, read_duration)?
                .unwrap_or(DATABASE_WAIT),
            table_prefix: settings.table_prefix.unwrap_or(defaults.table_prefix),
            require_durable: settings.require_durable.unwrap_or_default(),
            insecure: settings.insecure.unwrap_or_default(),
            payload_bytes_max: settings.payload_limit.map(size).transpose()?,
            timeout: read("timeout", settings.timeout, read_duration)?,
            retry_limit: settings.retry_limit,
            batch_jobs_max: settings.batch_limit,
            retry_profile: settings.retry_profile,
            retry: read_profiles(settings.retry)?,
            retention: read_retention(settings.retention)?,
            run_wait: read("run_wait", settings.run_wait, read_duration)?,
            name: settings.name,
            log_format: settings.log_format.unwrap_or_default(),
            pool: settings.pool.read(settings.no_pool, settings.pool_slots),
            outbound: settings.outbound.read(&variable)?,
            secrets: tables::read_secrets(settings.secrets, &variable)?,
            targets: settings.targets,
        })
    }

    /// Checks what can be checked without starting; names the setting and what to do.
    pub fn validate(&self, bounds: &Bounds) -> Result<(), ConfigError> {
        self.check_listen()?;
        self.check_table_prefix()?;
        self.pool.check()?;
        self.outbound.check()?;
        tables::check_names(&self.targets, &self.secrets)?;
        check_profiles(&self.retry, bounds)?;
        if self.run_wait.is_some_and(|wait| wait > bounds.run_wait_max) {
            let most = bounds.run_wait_max.as_secs();
            return Err(ConfigError::wrong("run_wait", format!("must be at most {most}s")));
        }
        let Bounds { payload_bytes_max, timeout_max, retry_limit_max, batch_jobs_max, .. } = *bounds;
        if self.payload_bytes_max.is_some_and(|bytes| bytes == 0 || bytes > payload_bytes_max) {
            let most = payload_bytes_max >> 20;
            return Err(ConfigError::wrong("payload_limit", format!("must be 1B to {most}MiB")));
        }
        if self.timeout.is_some_and(|timeout| timeout.is_zero() || timeout > timeout_max) {
            let days = timeout_max.as_secs() / 86_400;
            return Err(ConfigError::wrong("timeout", format!("must be more than 0s and at most {days}d")));
        }
        if self.retry_limit.is_some_and(|limit| !(0..=retry_limit_max).contains(&limit)) {
            return Err(ConfigError::wrong("retry_limit", format!("must be 0 to {retry_limit_max}")));
        }
        if self.batch_jobs_max.is_some_and(|jobs| !(1..=batch_jobs_max).contains(&jobs)) {
            return Err(ConfigError::wrong("batch_limit", format!("must be 1 to {batch_jobs_max}")));
        }
        Ok(())
    }

    /// Can others than this machine reach it?
    pub fn is_exposed(&self) -> bool {
        !self.listen.ip().to_canonical().is_loopback()
    }

    fn check_listen(&self) -> Result<(), ConfigError> {
        if !self.is_exposed() || self.insecure {
            return Ok(());
        }
        let message = format!(
            "{} can be reached by others, and there is no authentication and no TLS: listen on 127.0.0.1 (put a proxy \
             with both in front), or say --insecure if everyone who can reach it may do everything",
            self.listen
        );
        Err(ConfigError::wrong("listen", message))
    }

    fn check_table_prefix(&self) -> Result<(), ConfigError> {
        let prefix = &self.table_prefix;
        let fits = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        if prefix.len() <= TABLE_PREFIX_CHARS_MAX && prefix.bytes().all(fits) {
            return Ok(());
        }
        let message =
            format!("{prefix:?} must be at most {TABLE_PREFIX_CHARS_MAX} characters of a-z, 0-9 and _");
        Err(ConfigError::wrong("table_prefix", message))
    }
}

impl Settings {
    /// These settings, and `under` where they say nothing.
    fn over(self, under: Settings) -> Settings {
        let names_database = self.database_url.is_some() || self.database_url_file.is_some();
        let (url, file) = if names_database {
            (self.database_url, self.database_url_file)
        } else {
            (under.database_url, under.database_url_file)
        };
        Settings {
            listen: self.listen.or(under.listen),
            database_url: url,
            database_url_file: file,
            database_wait: self.database_wait.or(under.database_wait),
            table_prefix: self.table_prefix.or(under.table_prefix),
            require_durable: self.require_durable.or(under.require_durable),
            insecure: self.insecure.or(under.insecure),
            payload_limit: self.payload_limit.or(under.payload_limit),
            timeout: self.timeout.or(under.timeout),
            retry_limit: self.retry_limit.or(under.retry_limit),
            batch_limit: self.batch_limit.or(under.batch_limit),
            retry_profile: self.retry_profile.or(under.retry_profile),
            retry: under.retry,
            retention: under.retention,
            run_wait: self.run_wait.or(under.run_wait),
            name: self.name.or(under.name),
            log_format: self.log_format.or(under.log_format),
            no_pool: self.no_pool.or(under.no_pool),
            pool_slots: self.pool_slots.or(under.pool_slots),
            pool: under.pool,
            outbound: under.outbound,
            secrets: under.secrets,
            targets: under.targets,
        }
    }
}

fn read_file(path: &Path) -> Result<Settings, ConfigError> {
    let text = read_text("settings file", path)?;
    // The message of the error names line and key; what it quotes of the file may be a password.
    toml::from_str(&text).map_err(|error| {
        let line =
            error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        ConfigError::Malformed { path: path.to_owned(), message: format!("line {line}: {}", error.message()) }
    })
}

fn read_text(what: &'static str, path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
        what,
        path: path.to_owned(),
        error,
    })
}

fn database_url(
    url: Option<String>,
    file: Option<PathBuf>,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<DatabaseUrl, ConfigError> {
    let url = match (url, file) {
        (Some(_), Some(_)) => {
            let message = "is set together with database_url_file: set one of them";
            return Err(ConfigError::wrong("database_url", message));
        }
        (Some(url), None) => url,
        (None, Some(file)) => read_text("database_url_file", &file)?.trim().to_owned(),
        (None, None) => {
            variable("DATABASE_URL").filter(|url| !url.is_empty()).unwrap_or_else(|| DATABASE_URL.into())
        }
    };
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    if matches!(scheme, "postgres" | "postgresql" | "mssql" | "mongodb" | "http" | "https" | "file")
        || url.is_empty()
    {
        let message = "names a database that Haulier does not speak: use mysql://, mariadb:// or sqlite:path";
        return Err(ConfigError::wrong("database_url", message));
    }
    Ok(DatabaseUrl(url))
}

#[cfg(test)]
mod tests;
