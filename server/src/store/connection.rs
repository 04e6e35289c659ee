//! Connections of either database, and the pools that lend them.
//!
//! The statements differ in a few words between the databases, so that the verbs are written once over this thin
//! layer. The pools are our own: a connection comes back only when its borrower says that it is clean, and one that
//! is dropped half-way is closed. With sqlx's pool a dropped future can hand a connection back inside an open
//! transaction, and its ping at each return keeps SQLite's one writer from working.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use sqlx::mysql::{
    MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlQueryResult, MySqlRow, MySqlValueRef,
};
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteQueryResult, SqliteRow, SqliteValueRef,
};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, Database, Decode, Either, Executor as _, MySql, Row as _,
    Sqlite, TypeInfo as _, ValueRef as _,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fault::{Fault, Try};
use super::value::Value;
use super::{StoreError, mysql, sqlite};
use crate::clock;

/// How long a borrower waits for a free connection.
const LEND_TIME: Duration = Duration::from_secs(10);
/// How long a statement may take before its connection is given up: a database that is frozen must not freeze us.
const STATEMENT_TIME: Duration = Duration::from_secs(60);
/// A MySQL connection that was idle for longer may have been closed by its server, which waits 30 s.
const IDLE_TIME: Duration = Duration::from_secs(20);

/// A MySQL connection that was idle for longer is asked for a sign of life before work is put on it.
const WARM_TIME: Duration = Duration::from_secs(1);

/// A connection of either database.
pub(crate) enum Connection {
    /// MySQL or MariaDB.
    MySql(Box<MySqlConnection>),
    /// SQLite.
    Sqlite(Box<SqliteConnection>),
}

/// Commits.
pub(crate) const COMMIT: &str = "COMMIT";

/// A statement, with so many others before it in the same text that were held back until now.
#[derive(Clone, Copy)]
pub(crate) struct Text {
    pub(crate) sql: &'static str,
    pub(crate) before: usize,
    /// How many rows those store.
    pub(crate) rows_before: u64,
}

impl From<&'static str> for Text {
    fn from(sql: &'static str) -> Text {
        Text { sql, before: 0, rows_before: 0 }
    }
}

/// The names of a statement's columns, for errors.
pub(crate) type Names = Arc<[String]>;

/// Rows with the names of their columns.
pub(crate) struct Rows {
    pub(crate) names: Names,
    pub(crate) rows: Vec<Vec<Value>>,
    /// How many rows the statement found or changed, if it answers none.
    changed: u64,
}

impl Connection {
    /// Runs a statement; answers how many rows it found or changed.
    pub(crate) async fn execute(&mut self, text: Text, values: Vec<Value>) -> Try<u64> {
        Ok(self.fetch(text, values, None).await?.changed)
    }

    /// Runs a statement; answers its rows, with the names of their columns if they are not known yet.
    pub(crate) async fn fetch(&mut self, text: Text, values: Vec<Value>, names: Option<Names>) -> Try<Rows> {
        let Text { sql, before, rows_before } = text;
        match self {
            Connection::MySql(connection) => {
                let answers = connection.fetch_many(sqlx::query_with(sql, mysql_arguments(values)?));
                let rows = in_time(mysql_rows(answers, before, names)).await??;
                Ok(Rows { changed: rows.changed.saturating_sub(rows_before), ..rows })
            }
            Connection::Sqlite(connection) => {
                let answers = connection.fetch_many(sqlx::query_with(sql, sqlite_arguments(values)?));
                sqlite_rows(answers, before, names).await
            }
        }
    }

    /// Begins a transaction, with the intention to write.
    pub(crate) async fn begin(&mut self) -> Try<()> {
        match self {
            Connection::MySql(_) => self.run(mysql::WORDS.begin.into()).await,
            // Prepared once: parsing it takes longer than doing it.
            Connection::Sqlite(_) => self.execute(sqlite::WORDS.begin.into(), Vec::new()).await.map(drop),
        }
    }

    /// Commits.
    pub(crate) async fn commit(&mut self) -> Try<()> {
        match self {
            Connection::MySql(_) => self.run(COMMIT.into()).await,
            Connection::Sqlite(_) => self.execute(COMMIT.into(), Vec::new()).await.map(drop),
        }
    }

    /// Runs a text without values and without preparing it: ROLLBACK, DDL, ATTACH; on MySQL BEGIN and COMMIT too.
    pub(crate) async fn run(&mut self, sql: String) -> Try<()> {
        match self {
            Connection::MySql(connection) => {
                let query = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **connection);
                in_time(query).await?.map_err(|error| mysql::fault(&error))?;
            }
            Connection::Sqlite(connection) => {
                let query = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **connection);
                query.await.map_err(|error| sqlite::fault(&error))?;
            }
        }
        Ok(())
    }

    /// Runs a text without values and without preparing it; answers its rows as text.
    pub(crate) async fn look_up(&mut self, sql: &str) -> Try<Vec<Vec<String>>> {
        let sql = AssertSqlSafe(sql.to_owned());
        let found = match self {
            Connection::MySql(connection) => {
                in_time(mysql_rows(connection.fetch_many(sqlx::raw_sql(sql)), 0, None)).await??
            }
            Connection::Sqlite(connection) => {
                sqlite_rows(connection.fetch_many(sqlx::raw_sql(sql)), 0, None).await?
            }
        };
        Ok(found.rows.into_iter().map(|row| row.into_iter().map(shown).collect()).collect())
    }

    /// Ends it politely.
    pub(crate) async fn close(self) {
        match self {
            Connection::MySql(connection) => mysql::close(*connection).await,
            Connection::Sqlite(connection) => sqlite::close(*connection).await,
        }
    }
}

async fn in_time<T>(query: impl Future<Output = T>) -> Try<T> {
    let late = |_| Fault::Gone(format!("a statement took longer than {STATEMENT_TIME:?}"));
    tokio::time::timeout(STATEMENT_TIME, query).await.map_err(late)
}

fn shown(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Int(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text,
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

fn mysql_arguments(values: Vec<Value>) -> Try<MySqlArguments> {
    let mut arguments = MySqlArguments::default();
    arguments.reserve(values.len(), values.iter().map(Value::size).sum());
    for value in values {
        let added = match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Int(number) => arguments.add(number),
            Value::Real(number) => arguments.add(number),
            Value::Text(text) => arguments.add(text),
            Value::Bytes(bytes) => arguments.add(&bytes[..]),
        };
        added.map_err(|error| Fault::other(format!("a value cannot be sent: {error}")))?;
    }
    Ok(arguments)
}

fn sqlite_arguments(values: Vec<Value>) -> Try<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(values.len(), 0);
    for value in values {
        let added = match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Int(number) => arguments.add(number),
            Value::Real(number) => arguments.add(number),
            Value::Text(text) => arguments.add(text),
            Value::Bytes(bytes) => arguments.add(Vec::from(bytes)),
        };
        added.map_err(|error| Fault::other(format!("a value cannot be sent: {error}")))?;
    }
    Ok(arguments)
}

/// What a column of MySQL holds.
#[derive(Clone, Copy)]
enum Kind {
    Int,
    Real,
    Text,
    Bytes,
}

fn names_of<R: sqlx::Row>(row: &R) -> Names {
    row.columns().iter().map(|column| column.name().to_owned()).collect()
}

/// What comes from the database.
type Coming<'c, D> =
    BoxStream<'c, Result<Either<<D as Database>::QueryResult, <D as Database>::Row>, sqlx::Error>>;

/// How the answers of one kind of database are read.
struct Reading<D: Database, R> {
    /// How many statements of the text come before the one whose answer is wanted; they answer no rows.
    before: usize,
    names: Option<Names>,
    changed: fn(&D::QueryResult) -> u64,
    row: R,
    fault: fn(&sqlx::Error) -> Fault,
}

impl<D: Database, R: FnMut(&D::Row) -> Try<Vec<Value>>> Reading<D, R> {
    /// Each row is read as it comes, and what it came in is free for the next.
    async fn read(mut self, mut answers: Coming<'_, D>) -> Try<Rows> {
        let (mut done, mut changed, mut rows) = (0, 0, Vec::new());
        while let Some(answer) = answers.try_next().await.map_err(|error| self.fault_of(&error, done))? {
            match answer {
                Either::Left(end) => {
                    done += 1;
                    changed = (self.changed)(&end);
                }
                Either::Right(row) => {
                    self.names.get_or_insert_with(|| names_of(&row));
                    rows.push((self.row)(&row)?);
                }
            }
        }
        Ok(Rows { names: self.names.unwrap_or_default(), rows, changed })
    }

    fn fault_of(&self, error: &sqlx::Error, done: usize) -> Fault {
        match (self.fault)(error) {
            fault @ (Fault::Duplicate(_) | Fault::Store(_)) if done < self.before => {
                Fault::HeldBack(StoreError::from(fault).to_string())
            }
            fault => fault,
        }
    }
}

async fn mysql_rows(answers: Coming<'_, MySql>, before: usize, names: Option<Names>) -> Try<Rows> {
    let mut kinds = Vec::new();
    let row = |row: &MySqlRow| {
        if kinds.is_empty() {
            kinds.extend(row.columns().iter().map(|column| mysql_kind(column.type_info().name())));
        }
        let mut values = Vec::with_capacity(kinds.len());
        for (at, kind) in kinds.iter().enumerate() {
            values.push(mysql_value(row.try_get_raw(at).map_err(|error| unreadable(&error))?, *kind)?);
        }
        Ok(values)
    };
    Reading::<MySql, _> { before, names, changed: MySqlQueryResult::rows_affected, row, fault: mysql::fault }
        .read(answers)
        .await
}

fn mysql_kind(name: &str) -> Kind {
    match name {
        "DOUBLE" | "FLOAT" => Kind::Real,
        "VARBINARY" | "BINARY" => Kind::Bytes,
        name if name.ends_with("BLOB") => Kind::Bytes,
        name if name.contains("INT") || name == "BOOLEAN" => Kind::Int,
        _ => Kind::Text,
    }
}

fn mysql_value(value: MySqlValueRef<'_>, kind: Kind) -> Try<Value> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let decoded = match kind {
        Kind::Int => <i64 as Decode<sqlx::MySql>>::decode(value).map(Value::Int),
        Kind::Real => <f64 as Decode<sqlx::MySql>>::decode(value).map(Value::Real),
        Kind::Text => <String as Decode<sqlx::MySql>>::decode(value).map(Value::Text),
        Kind::Bytes => {
            <Vec<u8> as Decode<sqlx::MySql>>::decode(value).map(|bytes| Value::Bytes(Bytes::from(bytes)))
        }
    };
    decoded.map_err(|error| unreadable(&error))
}

async fn sqlite_rows(answers: Coming<'_, Sqlite>, before: usize, names: Option<Names>) -> Try<Rows> {
    let row = |row: &SqliteRow| {
        let mut values = Vec::with_capacity(row.len());
        for at in 0..row.len() {
            values.push(sqlite_value(row.try_get_raw(at).map_err(|error| unreadable(&error))?)?);
        }
        Ok(values)
    };
    Reading::<Sqlite, _> {
        before,
        names,
        changed: SqliteQueryResult::rows_affected,
        row,
        fault: sqlite::fault,
    }
    .read(answers)
    .await
}

/// Every value of SQLite has a type of its own.
fn sqlite_kind(name: &str) -> Kind {
    match name {
        "INTEGER" => Kind::Int,
        "BLOB" => Kind::Bytes,
        "REAL" => Kind::Real,
        _ => Kind::Text,
    }
}

fn sqlite_value(value: SqliteValueRef<'_>) -> Try<Value> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let kind = sqlite_kind(value.type_info().name());
    let decoded = match kind {
        Kind::Int => <i64 as Decode<sqlx::Sqlite>>::decode(value).map(Value::Int),
        Kind::Real => <f64 as Decode<sqlx::Sqlite>>::decode(value).map(Value::Real),
        Kind::Text => <String as Decode<sqlx::Sqlite>>::decode(value).map(Value::Text),
        Kind::Bytes => {
            <Vec<u8> as Decode<sqlx::Sqlite>>::decode(value).map(|bytes| Value::Bytes(Bytes::from(bytes)))
        }
    };
    decoded.map_err(|error| unreadable(&error))
}

fn unreadable(error: &dyn std::fmt::Display) -> Fault {
    Fault::Store(StoreError::Corrupt(format!("a value cannot be read: {error}")))
}

/// How to make connections.
#[derive(Clone)]
pub(crate) enum Connector {
    /// MySQL or MariaDB.
    MySql(Box<MySqlConnectOptions>),
    /// SQLite.
    Sqlite(Box<SqliteConnectOptions>),
}

impl Connector {
    /// A new connection.
    pub(crate) async fn connect(&self) -> Try<Connection> {
        match self {
            Connector::MySql(options) => Ok(Connection::MySql(Box::new(mysql::connect(options).await?))),
            Connector::Sqlite(options) => Ok(Connection::Sqlite(Box::new(sqlite::connect(options).await?))),
        }
    }

    fn warm_time(&self) -> Duration {
        match self {
            Connector::MySql(_) => WARM_TIME,
            Connector::Sqlite(_) => Duration::MAX,
        }
    }

    fn idle_time(&self) -> Duration {
        match self {
            Connector::MySql(_) => IDLE_TIME,
            Connector::Sqlite(_) => Duration::MAX,
        }
    }
}

/// Connections of one class of work, lent first come, first served.
pub(crate) struct Pool {
    connector: Connector,
    size: usize,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<(Connection, Instant)>>,
}

impl Pool {
    /// A pool of at most `size` connections, made when they are needed.
    pub(crate) fn new(connector: Connector, size: usize) -> Arc<Pool> {
        Arc::new(Pool { connector, size, permits: Arc::new(Semaphore::new(size)), idle: Mutex::default() })
    }

    /// Lends a connection.
    pub(crate) async fn lend(self: &Arc<Pool>) -> Try<Lent> {
        let permit = tokio::time::timeout(LEND_TIME, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = match permit {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(Fault::Gone("the store is closed".into())),
            Err(_) => return Err(Fault::Gone(format!("no free connection within {LEND_TIME:?}"))),
        };
        let (connection, is_fresh, is_warm) = match self.take_idle() {
            Some((connection, since)) => (connection, false, since.elapsed() < self.connector.warm_time()),
            None => (self.connector.connect().await?, true, true),
        };
        Ok(Lent { connection, is_fresh, is_warm, pool: Arc::clone(self), permit })
    }

    /// Forgets idle connections: the database was restarted, or failed over.
    pub(crate) fn forget_idle(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        drop(idle);
    }

    /// Waits for work under way and closes every connection.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(self.size).unwrap_or(u32::MAX);
        let _all = tokio::time::timeout(LEND_TIME, self.permits.acquire_many(all)).await;
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for (connection, _) in idle {
            connection.close().await;
        }
    }

    fn take_idle(&self) -> Option<(Connection, Instant)> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = self.connector.idle_time();
        idle.retain(|(_, since)| since.elapsed() < limit);
        idle.pop()
    }
}

/// A lent connection; closed unless it is given back.
pub(crate) struct Lent {
    pub(crate) connection: Connection,
    pub(crate) is_fresh: bool,
    /// It is fresh, or was open a moment ago.
    pub(crate) is_warm: bool,
    pool: Arc<Pool>,
    permit: OwnedSemaphorePermit,
}

impl Lent {
    /// Gives a connection back that is in no transaction and has no rows left to read.
    pub(crate) fn give_back(self) {
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((self.connection, clock::instant()));
        drop(idle);
        drop(self.permit);
    }

    /// Drops a broken connection and those that are likely to be broken with it.
    pub(crate) fn discard(self) {
        self.pool.forget_idle();
    }
}

/// Pools by class of work, so that thousands of enqueuing callers never cost a session its heartbeat.
pub(crate) struct Pools {
    by_class: HashMap<Class, Arc<Pool>>,
}

/// A class of work with connections of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Outcomes, heartbeats, acknowledgements, logs, cancels.
    Vital,
    /// Claims.
    Claim,
    /// New jobs, and ids for them.
    Enqueue,
    /// Whatever changes nothing.
    Read,
    /// What reads files of closed months.
    History,
}

impl Pools {
    /// MySQL: a few connections a class.
    pub(crate) fn mysql(options: MySqlConnectOptions) -> Pools {
        let connector = Connector::MySql(Box::new(options));
        let sizes = [
            (Class::Vital, 6),
            (Class::Claim, 4),
            (Class::Enqueue, 4),
            (Class::Read, 8),
            (Class::History, 1),
        ];
        let pool = |(class, size)| (class, Pool::new(connector.clone(), size));
        Pools { by_class: sizes.into_iter().map(pool).collect() }
    }

    /// SQLite: one writer and several readers.
    pub(crate) fn sqlite(options: SqliteConnectOptions) -> Pools {
        let connector = Connector::Sqlite(Box::new(options));
        let writer = Pool::new(connector.clone(), 1);
        let by_class = HashMap::from([
            (Class::Vital, Arc::clone(&writer)),
            (Class::Claim, Arc::clone(&writer)),
            (Class::Enqueue, writer),
            (Class::Read, Pool::new(connector.clone(), 4)),
            (Class::History, Pool::new(connector, 2)),
        ]);
        Pools { by_class }
    }

    /// The pool of a class.
    pub(crate) fn get(&self, class: Class) -> &Arc<Pool> {
        self.by_class.get(&class).expect("every class has a pool")
    }

    /// Closes all.
    pub(crate) async fn close(&self) {
        for pool in self.by_class.values() {
            pool.close().await;
        }
    }
}
