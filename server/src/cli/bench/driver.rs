//! The bare driver: the fewest writes that keep the promise, one connection, whole batches. Two tables: jobs that wait or
//! run, and the history that a job is moved to when it ends.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};
use tokio::sync::{Mutex, mpsc};

use super::Settings;
use super::error::{Error, Result};
use super::figures::{Round, Spread};
use super::process::{self, Meter};
use super::scenarios::{Load, PAUSE};
use super::worker::request_text;

/// Most rows of one commit: more are not faster.
pub(super) const BATCH_ROWS: usize = 1_000;
/// Most rows of one statement. Sizes are powers of two, so that statements stay prepared.
const STATEMENT_ROWS: usize = 512;
/// What a SQLite connection waits for another's commit.
const BUSY_TIME: Duration = Duration::from_secs(30);
/// Programs that are a database server.
const DATABASE_PROGRAMS: [&str; 2] = ["mariadbd", "mysqld"];

const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS floor_job (id BIGINT NOT NULL PRIMARY KEY, command VARCHAR(128) NOT NULL, \
     request MEDIUMBLOB)",
    "CREATE TABLE IF NOT EXISTS floor_history (id BIGINT NOT NULL, run INT NOT NULL, ending INT NOT NULL, \
     command VARCHAR(128) NOT NULL, request MEDIUMBLOB, result MEDIUMBLOB, PRIMARY KEY (id, run))",
];

/// A job as the floor stores it.
pub(super) struct JobRow {
    pub(super) id: i64,
    pub(super) command: String,
    pub(super) request: Vec<u8>,
}

/// A job that ended, as the floor stores it.
pub(super) struct EndedRow {
    pub(super) job: JobRow,
    pub(super) result: Vec<u8>,
}

/// One connection.
pub(super) enum Bare {
    MySql(Box<sqlx::MySqlConnection>),
    Sqlite(Box<sqlx::SqliteConnection>),
}

/// The same words over either connection: the types differ, nothing else does.
macro_rules! on {
    ($bare:expr, $begin:ident, $connection:ident => $body:expr) => {
        match $bare {
            Bare::MySql($connection) => {
                const $begin: &str = "START TRANSACTION";
                $body
            }
            Bare::Sqlite($connection) => {
                const $begin: &str = "BEGIN IMMEDIATE";
                $body
            }
        }
    };
}

impl Bare {
    /// Connects as the server does: SQLite with WAL and `synchronous=FULL`.
    pub(super) async fn connect(url: &str) -> Result<Self> {
        if is_mysql(url) {
            let options = url.parse::<sqlx::mysql::MySqlConnectOptions>()?.statement_cache_capacity(128);
            return Ok(Bare::MySql(Box::new(options.disable_statement_logging().connect().await?)));
        }
        let options = url.parse::<sqlx::sqlite::SqliteConnectOptions>()?.create_if_missing(true);
        let options = options
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
            .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIME)
            .pragma("cache_size", "-8192")
            .disable_statement_logging();
        Ok(Bare::Sqlite(Box::new(options.connect().await?)))
    }

    /// Connects and makes the floor's tables.
    async fn open(url: &str) -> Result<Self> {
        let mut bare = Self::connect(url).await?;
        for table in TABLES {
            bare.execute(table).await?;
        }
        Ok(bare)
    }

    /// A connection for jobs and one for outcomes, which are one and the same on SQLite: it has one writer.
    pub(super) async fn open_pair(url: &str) -> Result<(Arc<Mutex<Self>>, Arc<Mutex<Self>>)> {
        let first = Arc::new(Mutex::new(Self::open(url).await?));
        let second =
            if is_mysql(url) { Arc::new(Mutex::new(Self::open(url).await?)) } else { Arc::clone(&first) };
        Ok((first, second))
    }

    /// Runs a statement that binds nothing.
    pub(super) async fn execute(&mut self, sql: &str) -> Result<()> {
        let sql = AssertSqlSafe(sql.to_owned());
        on!(self, _BEGIN, connection => connection.execute(sqlx::raw_sql(sql)).await.map(drop)?);
        Ok(())
    }

    /// One commit of new jobs.
    pub(super) async fn insert_jobs(&mut self, rows: &[JobRow]) -> Result<()> {
        on!(self, BEGIN, connection => {
            let mut transaction = connection.begin_with(BEGIN).await?;
            for part in parts(rows) {
                let mut query = sqlx::query(AssertSqlSafe(insert("floor_job", 3, part.len())));
                for row in part {
                    query = query.bind(row.id).bind(row.command.as_str()).bind(row.request.as_slice());
                }
                query.execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
        });
        Ok(())
    }

    /// One commit that moves jobs to the history.
    pub(super) async fn move_to_history(&mut self, rows: &[EndedRow]) -> Result<()> {
        on!(self, BEGIN, connection => {
            let mut transaction = connection.begin_with(BEGIN).await?;
            for part in parts(rows) {
                let mut delete = sqlx::query(AssertSqlSafe(delete("floor_job", part.len())));
                let mut insert = sqlx::query(AssertSqlSafe(insert("floor_history", 6, part.len())));
                for EndedRow { job, result } in part {
                    delete = delete.bind(job.id);
                    insert = insert.bind(job.id).bind(1).bind(2);
                    insert = insert.bind(job.command.as_str()).bind(job.request.as_slice());
                    insert = insert.bind(result.as_slice());
                }
                delete.execute(&mut *transaction).await?;
                insert.execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
        });
        Ok(())
    }

    /// Opens a snapshot and leaves it open, for as long as the connection lives.
    pub(super) async fn hold_snapshot(&mut self) -> Result<()> {
        if let Bare::MySql(_) = self {
            self.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
            return self.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT").await;
        }
        // Here it begins with the first read.
        self.execute("BEGIN").await?;
        self.execute("SELECT COUNT(*) FROM sqlite_schema").await
    }

    /// What speed and safety rest on.
    pub(super) async fn facts(&mut self) -> Result<DatabaseFacts> {
        let Bare::MySql(connection) = self else {
            let version = self.text("SELECT sqlite_version()").await?;
            let settings = vec![
                ("journal_mode".to_owned(), "wal".to_owned()),
                ("synchronous".to_owned(), "full".to_owned()),
            ];
            return Ok(DatabaseFacts {
                version: format!("SQLite {version}"),
                settings,
                unsafe_because: vec![],
                folder: None,
            });
        };
        let names = [
            "version",
            "innodb_flush_log_at_trx_commit",
            "log_bin",
            "sync_binlog",
            "innodb_flush_method",
            "innodb_buffer_pool_size",
            "datadir",
        ];
        let mut settings = Vec::new();
        for name in names {
            let sql = format!("SELECT CAST(@@GLOBAL.{name} AS CHAR)");
            let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
            settings.push((name.to_owned(), row.try_get::<Option<String>, _>(0)?.unwrap_or_default()));
        }
        let value = |name: &str| {
            settings
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        };
        let mut unsafe_because = Vec::new();
        if value("innodb_flush_log_at_trx_commit") != "1" {
            unsafe_because
                .push("innodb_flush_log_at_trx_commit is not 1: commits are not flushed".to_owned());
        }
        // MariaDB writes OFF, MySQL 0.
        let has_binlog = !matches!(value("log_bin").as_str(), "0" | "OFF");
        if has_binlog && value("sync_binlog") != "1" {
            unsafe_because.push("the binlog is on and sync_binlog is not 1".to_owned());
        }
        let (version, folder) = (value("version"), value("datadir"));
        let version = if version.contains("MariaDB") { version } else { format!("MySQL {version}") };
        settings.retain(|(name, _)| name != "version" && name != "datadir");
        Ok(DatabaseFacts { version, settings, unsafe_because, folder: Some(folder) })
    }

    /// The database server's process, if it runs on this machine.
    pub(super) async fn process(&mut self, url: &str) -> Option<u32> {
        let Bare::MySql(_) = self else { return None };
        let options = url.parse::<sqlx::mysql::MySqlConnectOptions>().ok()?;
        let is_here = options.get_socket().is_some()
            || matches!(options.get_host(), "localhost" | "127.0.0.1" | "::1" | "[::1]");
        if !is_here {
            return None;
        }
        let file = self.text("SELECT CAST(@@GLOBAL.pid_file AS CHAR)").await.ok()?;
        let folder = self.text("SELECT CAST(@@GLOBAL.datadir AS CHAR)").await.ok()?;
        let told = std::fs::read_to_string(std::path::Path::new(&folder).join(file)).ok();
        told.and_then(|pid| pid.trim().parse().ok())
            .filter(|pid| process::runs(*pid, &DATABASE_PROGRAMS))
            .or_else(|| process::listener(options.get_port(), &DATABASE_PROGRAMS))
    }

    async fn text(&mut self, sql: &str) -> Result<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        let text = on!(self, _BEGIN, connection => {
            connection.fetch_one(sqlx::raw_sql(sql)).await?.try_get::<Option<String>, _>(0)?
        });
        Ok(text.unwrap_or_default())
    }
}

/// What a database is, and what its promises rest on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DatabaseFacts {
    pub(super) version: String,
    pub(super) settings: Vec<(String, String)>,
    /// Why a commit may be lost with a loss of power; empty when it may not.
    pub(super) unsafe_because: Vec<String>,
    /// Where its files lie.
    #[serde(skip)]
    pub(super) folder: Option<String>,
}

/// Whether a URL names MySQL or MariaDB.
pub(super) fn is_mysql(url: &str) -> bool {
    url.starts_with("mysql:") || url.starts_with("mariadb:")
}

fn parts<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let size = 1 << rest.len().min(STATEMENT_ROWS).checked_ilog2()?;
        let (part, others) = rest.split_at(size);
        rest = others;
        Some(part)
    })
}

fn insert(table: &str, columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    format!("INSERT INTO {table} VALUES {}", vec![row; rows].join(", "))
}

fn delete(table: &str, rows: usize) -> String {
    format!("DELETE FROM {table} WHERE id IN ({})", vec!["?"; rows].join(", "))
}

/// The driver alone, without any service.
pub(super) struct Driver {
    jobs: Arc<Mutex<Bare>>,
    outcomes: Arc<Mutex<Bare>>,
    meter: Meter,
    next: i64,
}

impl Driver {
    pub(super) async fn open(url: &str, database: Option<u32>) -> Result<Self> {
        let (jobs, outcomes) = Bare::open_pair(url).await?;
        // SQLite is a part of this process.
        let server = (!is_mysql(url)).then(std::process::id);
        Ok(Self { jobs, outcomes, meter: Meter { server, database, worker: None }, next: 1 })
    }

    /// One round of what a load writes at the least.
    pub(super) async fn round(&mut self, load: Load, settings: &Settings) -> Result<Round> {
        if load == Load::Drain {
            self.fill(settings).await?;
        }
        let before = self.meter.read();
        let begin = tokio::time::Instant::now();
        let (jobs, times) = match load {
            Load::One => self.insert_for(1, Duration::ZERO, settings.short(), settings).await?,
            Load::Idle => self.insert_for(1, PAUSE, settings.short(), settings).await?,
            Load::Callers => {
                let rows = (settings.callers as usize).min(BATCH_ROWS);
                self.insert_for(rows, Duration::ZERO, settings.short(), settings).await?
            }
            Load::Batches => self.insert_for(BATCH_ROWS, Duration::ZERO, settings.short(), settings).await?,
            Load::Drain => self.end(settings).await?,
            Load::Together => self.insert_and_end(settings).await?,
        };
        let seconds = begin.elapsed().as_secs_f64();
        let cpu = self.meter.read().since(before, jobs);
        let spread = Spread::of(times).ok_or_else(|| Error::new("the driver made no commit in its time"))?;
        Ok(Round {
            jobs,
            completed: jobs,
            jobs_per_second: jobs as f64 / seconds,
            spread,
            cpu_seconds_per_1000: cpu,
        })
    }

    async fn insert_for(
        &mut self,
        rows: usize,
        pause: Duration,
        time: Duration,
        settings: &Settings,
    ) -> Result<(u64, Vec<f64>)> {
        let (begin, mut jobs, mut times) = (tokio::time::Instant::now(), 0, Vec::new());
        let mut bare = self.jobs.lock().await;
        while begin.elapsed() < time {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let batch = batch(self.next, rows, settings);
            self.next += rows as i64;
            let commit = tokio::time::Instant::now();
            bare.insert_jobs(&batch).await?;
            times.push(micros(commit.elapsed()));
            jobs += rows as u64;
        }
        Ok((jobs, times))
    }

    /// Stores the jobs that [`Driver::end`] moves.
    async fn fill(&mut self, settings: &Settings) -> Result<()> {
        let mut bare = self.jobs.lock().await;
        for rows in batches(settings.jobs) {
            bare.insert_jobs(&batch(self.next, rows, settings)).await?;
            self.next += rows as i64;
        }
        Ok(())
    }

    async fn end(&mut self, settings: &Settings) -> Result<(u64, Vec<f64>)> {
        let (mut first, mut times) = (self.next - settings.jobs as i64, Vec::new());
        let mut bare = self.outcomes.lock().await;
        for rows in batches(settings.jobs) {
            let batch = endings(first, rows, settings);
            first += rows as i64;
            let commit = tokio::time::Instant::now();
            bare.move_to_history(&batch).await?;
            times.push(micros(commit.elapsed()));
        }
        Ok((settings.jobs, times))
    }

    async fn insert_and_end(&mut self, settings: &Settings) -> Result<(u64, Vec<f64>)> {
        let (begin, time) = (tokio::time::Instant::now(), settings.long());
        let (tell, mut told) = mpsc::channel::<i64>(1);
        let (outcomes, of) = (Arc::clone(&self.outcomes), settings.clone());
        let ending = tokio::spawn(async move {
            let (mut jobs, mut times) = (0, Vec::new());
            while let Some(first) = told.recv().await {
                let batch = endings(first, BATCH_ROWS, &of);
                let mut bare = outcomes.lock().await;
                let commit = tokio::time::Instant::now();
                bare.move_to_history(&batch).await?;
                times.push(micros(commit.elapsed()));
                jobs += BATCH_ROWS as u64;
            }
            Ok::<_, Error>((jobs, times))
        });
        let mut failed = Ok(());
        while begin.elapsed() < time && failed.is_ok() {
            let (first, batch) = (self.next, batch(self.next, BATCH_ROWS, settings));
            self.next += BATCH_ROWS as i64;
            failed = self.jobs.lock().await.insert_jobs(&batch).await;
            if tell.send(first).await.is_err() {
                break;
            }
        }
        drop(tell);
        let ended = ending.await.map_err(Error::during("the driver's outcomes"))?;
        failed.and(ended)
    }
}

fn batch(first: i64, rows: usize, settings: &Settings) -> Vec<JobRow> {
    let request = request_text(settings.payload_bytes).into_bytes();
    let row = |id| JobRow { id, command: "bench".into(), request: request.clone() };
    (first..).take(rows).map(row).collect()
}

fn endings(first: i64, rows: usize, settings: &Settings) -> Vec<EndedRow> {
    let row = |job| EndedRow { job, result: super::worker::RESULT.as_bytes().to_vec() };
    batch(first, rows, settings).into_iter().map(row).collect()
}

/// The rows of each commit of so many.
fn batches(rows: u64) -> impl Iterator<Item = usize> {
    let (whole, rest) = (rows as usize / BATCH_ROWS, rows as usize % BATCH_ROWS);
    std::iter::repeat_n(BATCH_ROWS, whole).chain((rest > 0).then_some(rest))
}

/// A duration in microseconds.
pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_in_statements_of_powers_of_two() {
        let sizes = |rows: usize| parts(&vec![0; rows]).map(<[i32]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(1_000), [512, 256, 128, 64, 32, 8]);
        assert_eq!(sizes(1_025), [512, 512, 1]);
        assert!(sizes(0).is_empty());
        assert_eq!(insert("t", 2, 2), "INSERT INTO t VALUES (?, ?), (?, ?)");
    }

    #[tokio::test]
    async fn jobs_are_stored_and_moved_by_the_batch() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("floor.db").display());
        let (jobs, outcomes) = Bare::open_pair(&url).await.unwrap();
        let job = |id| JobRow { id, command: "c".into(), request: vec![1; 9] };
        let rows: Vec<JobRow> = (1..=100).map(job).collect();
        jobs.lock().await.insert_jobs(&rows).await.unwrap();
        let ended: Vec<EndedRow> = (1..=70).map(|id| EndedRow { job: job(id), result: vec![2; 3] }).collect();
        outcomes.lock().await.move_to_history(&ended).await.unwrap();
        let mut bare = jobs.lock().await;
        let counted = "SELECT CAST((SELECT COUNT(*) FROM floor_job) AS TEXT) || ' ' || \
                       CAST((SELECT COUNT(*) FROM floor_history) AS TEXT)";
        assert_eq!(bare.text(counted).await.unwrap(), "30 70");
        assert!(bare.insert_jobs(&rows[70..]).await.is_err(), "a second row of one id is refused");
    }
}
