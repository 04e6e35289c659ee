//! Opening a database: which one a URL names, its tables, its settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::caches::GivenOut;
use super::connection::Pools;
use super::dialect::Dialect;
use super::fault::Try;
use super::migrate::migrate as bring_up;
use super::sql_store::SqlStore;
use super::sqlite::FileLock;
use super::statement::{Place, Sql, Texts};
use super::tallies::Tallies;
use super::unit::{Engine, Unit, read};
use super::value::{key, values};
use super::verbs::REAPER;
use super::{Check, Result, Severity, Store, StoreError, mysql, sqlite};
use crate::clock::SteadyClock;
use crate::model::Time;

/// How to open a database.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// What every table's name begins with: up to 32 of `a-z0-9_`; may be empty.
    pub table_prefix: String,
    /// Refuse to open when a setting may cost accepted jobs after a loss of power.
    pub require_durable: bool,
    /// Who opens it.
    pub purpose: Purpose,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { table_prefix: String::new(), require_durable: false, purpose: Purpose::Serve }
    }
}

/// What a database is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// For a server: makes the tables, takes the lock of a SQLite file, refuses settings that cannot work.
    Serve,
    /// For a look, such as `haulier doctor`, beside a server that may run: changes and refuses nothing.
    Inspect,
}

/// Opens the database of a URL: `mysql://..`, `mariadb://..`, `sqlite:path`, or the path of a SQLite file.
pub async fn open(url: &str, options: OpenOptions) -> Result<Arc<dyn Store>> {
    Ok(open_store(url, options).await?)
}

/// Brings the tables of a database to this version and closes it again.
pub async fn migrate(url: &str, options: OpenOptions) -> Result<()> {
    let store = open_store(url, OpenOptions { purpose: Purpose::Serve, ..options }).await?;
    store.engine.pools.close().await;
    Ok(())
}

/// As [`open`], for tests that look behind the trait.
pub(crate) async fn open_store(url: &str, options: OpenOptions) -> Result<Arc<SqlStore>> {
    check_prefix(&options.table_prefix)?;
    let serves = options.purpose == Purpose::Serve;
    let (mut engine, path, lock) = match sqlite_path(url) {
        None => (mysql_engine(url, &options)?, None, None),
        Some(path) => {
            let lock = serves.then(|| FileLock::take(&path)).transpose()?;
            (sqlite_engine(&path, &options), Some(path), lock)
        }
    };
    if serves {
        bring_up(&engine).await?;
        engine.takes_several |= is_mariadb(&engine).await?;
    }
    if engine.clock.is_some() {
        let last = read!(engine, |unit| last_tick(unit)).unwrap_or(Time(0));
        engine.clock = Some(SteadyClock::starting_no_earlier_than(last));
    }
    let store = Arc::new(SqlStore::new(engine, path, lock));
    if serves {
        store.complete_months().await?;
        judge(&store.check().await?, options.require_durable)?;
    }
    Ok(store)
}

fn check_prefix(prefix: &str) -> Result<()> {
    let fits =
        prefix.len() <= 32 && prefix.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if fits {
        return Ok(());
    }
    Err(StoreError::Other(format!(
        "table prefix {prefix:?}: at most 32 characters of a-z, 0-9 and _ are allowed"
    )))
}

/// The file, if the URL names one.
fn sqlite_path(url: &str) -> Option<PathBuf> {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    match scheme {
        "mysql" | "mariadb" => None,
        "sqlite" => Some(Path::new(rest.strip_prefix("//").unwrap_or(rest)).to_owned()),
        _ => Some(Path::new(url).to_owned()),
    }
}

fn mysql_engine(url: &str, options: &OpenOptions) -> Result<Engine> {
    let pools = Pools::mysql(mysql::options(url)?);
    Ok(Engine {
        pools,
        texts: Texts::new(Dialect::MySql, &options.table_prefix),
        takes_several: false,
        clock: None,
        tallies: Tallies::default(),
        given_out: GivenOut::default(),
    })
}

fn sqlite_engine(path: &Path, options: &OpenOptions) -> Engine {
    let create = options.purpose == Purpose::Serve;
    let pools = Pools::sqlite(sqlite::options(path, create));
    let texts = Texts::new(Dialect::Sqlite, &options.table_prefix);
    Engine {
        pools,
        texts,
        takes_several: true,
        clock: Some(SteadyClock::starting_no_earlier_than(Time(0))),
        tallies: Tallies::default(),
        given_out: GivenOut::default(),
    }
}

async fn is_mariadb(engine: &Engine) -> Result<bool> {
    let ask = "SELECT VERSION()";
    let version = match engine.dialect() {
        Dialect::MySql => read!(engine, |unit| unit.lent.connection.look_up(ask))?,
        Dialect::Sqlite => return Ok(false),
    };
    Ok(version.iter().flatten().any(|version| mysql::is_mariadb(version)))
}

async fn last_tick(unit: &mut Unit<'_>) -> Try<Time> {
    let row = unit.fetch_one(Sql::ReadUpkeep, Place::Fixed, values![key(REAPER)]).await?;
    row.map_or(Ok(Time(0)), |mut row| Ok(Time(row.int()?)))
}

/// Refuses settings that cannot work, or that may lose jobs if that is not wanted; warns of the others.
fn judge(checks: &[Check], require_durable: bool) -> Result<()> {
    for check in checks {
        let Some(problem) = &check.problem else { continue };
        let what = format!("{} is {}: {}", check.name, check.value, problem.remedy);
        match problem.severity {
            Severity::Fatal => return Err(StoreError::Other(what)),
            Severity::Durability if require_durable => return Err(StoreError::Other(what)),
            Severity::Durability => tracing::warn!("accepted jobs are not safe: {what}"),
            Severity::Advice => tracing::info!("advice: {what}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_server_or_a_file() {
        assert_eq!(sqlite_path("mysql://root@localhost/x"), None);
        assert_eq!(sqlite_path("mariadb://root@localhost/x"), None);
        assert_eq!(sqlite_path("sqlite:a/b.db"), Some("a/b.db".into()));
        assert_eq!(sqlite_path("sqlite:///tmp/b.db"), Some("/tmp/b.db".into()));
        assert_eq!(sqlite_path("/tmp/b.db"), Some("/tmp/b.db".into()));
    }

    #[test]
    fn a_prefix_that_is_no_name_is_refused() {
        assert!(check_prefix("haulier_").is_ok());
        assert!(check_prefix("a; DROP").is_err());
        assert!(check_prefix(&"a".repeat(33)).is_err());
    }
}
