//! The tables that stand for good, made and changed under a lock of our own.
//!
//! sqlx's own lock does not lock on MariaDB (`GET_LOCK(?, -1)` answers NULL there) nor on SQLite, and two servers
//! that start together leave a half-applied migration. So the lock is a row with a time by which its holder must be
//! done, taken by compare-and-swap.

use std::time::Duration;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::connection::{Class, Connection, Lent};
use super::dialect::{self, Dialect};
use super::fault::{Fault, Try};
use super::statement::Place;
use super::unit::Engine;
use super::{Result, StoreError};
use crate::clock;

/// How long a holder has; then another server may take over. DDL takes seconds at the worst.
const HOLD_TIME: Duration = Duration::from_secs(120);
/// How long a server waits for the holder to be done.
const WAIT_TIME: Duration = Duration::from_secs(180);
/// Time between two looks at the lock.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Brings the tables to this version.
pub(crate) async fn migrate(engine: &Engine) -> Result<()> {
    let mut lent = engine.pools.get(Class::Enqueue).lend().await?;
    let migrator = migrator(engine);
    if !is_done(&mut lent.connection, engine, &migrator).await {
        let lock = LockRow { engine, holder: clock::random_63() };
        lock.take(&mut lent).await?;
        let done = run(&mut lent.connection, engine, &migrator).await;
        lock.give_back(&mut lent.connection).await;
        done?;
    }
    lent.give_back();
    Ok(())
}

fn migrator(engine: &Engine) -> Migrator {
    let setting = engine.texts.setting(Place::Fixed, 1);
    let statements = dialect::statements(include_str!("sql/schema.sql"), engine.dialect());
    let migration = |(at, statement): (i64, String)| {
        let text = setting.expand(&statement);
        let description: String = text.split_whitespace().take(6).collect::<Vec<_>>().join(" ");
        // Texts are leaked once a start: sqlx wants them to live as long as the process.
        let text: &'static str = text.leak();
        Migration::new(at, description.into(), MigrationType::Simple, text.into_sql_str(), false)
    };
    let mut migrator = Migrator::with_migrations((1..).zip(statements).map(migration).collect());
    migrator.set_locking(false);
    // A newer version's migrations are no reason for this one not to run: they only ever add.
    migrator.set_ignore_missing(true);
    migrator.dangerous_set_table_name(table(engine));
    migrator
}

fn table(engine: &Engine) -> String {
    format!("{}migration", engine.texts.prefix())
}

/// Is there nothing to do? A table that is missing answers no.
async fn is_done(connection: &mut Connection, engine: &Engine, migrator: &Migrator) -> bool {
    let applied = connection.look_up(&format!("SELECT version FROM {} WHERE success", table(engine))).await;
    let applied: Vec<String> = applied.unwrap_or_default().into_iter().flatten().collect();
    migrator.iter().all(|migration| applied.contains(&migration.version.to_string()))
}

/// Applies what is missing. One that a crash left half-done is done again, since each can be.
async fn run(connection: &mut Connection, engine: &Engine, migrator: &Migrator) -> Result<()> {
    match apply(connection, migrator).await {
        Err(MigrateError::Dirty(version)) => {
            tracing::warn!(version, "a migration was interrupted, it is done again");
            connection.run(format!("DELETE FROM {} WHERE success = FALSE", table(engine))).await?;
            apply(connection, migrator).await.map_err(|error| not_migrated(&error))
        }
        done => done.map_err(|error| not_migrated(&error)),
    }
}

async fn apply(connection: &mut Connection, migrator: &Migrator) -> std::result::Result<(), MigrateError> {
    match connection {
        Connection::MySql(connection) => migrator.run_direct(None, &mut **connection, false).await,
        Connection::Sqlite(connection) => migrator.run_direct(None, &mut **connection, false).await,
    }
}

fn not_migrated(error: &MigrateError) -> StoreError {
    StoreError::Other(format!("the tables could not be brought to this version: {error}"))
}

/// The row that one server holds while it migrates.
struct LockRow<'e> {
    engine: &'e Engine,
    holder: i64,
}

impl LockRow<'_> {
    async fn take(&self, lent: &mut Lent) -> Result<()> {
        let deadline = clock::instant() + WAIT_TIME;
        self.insist(lent, self.definition()).await?;
        self.insist(lent, self.first_row()).await?;
        while !self.try_take(&mut lent.connection).await? {
            if clock::instant() > deadline {
                return Err(StoreError::Unavailable(format!(
                    "another server has been migrating for {WAIT_TIME:?}"
                )));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// Runs a statement that may meet the same statement of another server.
    async fn insist(&self, lent: &mut Lent, sql: String) -> Result<()> {
        let mut tries = 0;
        loop {
            match lent.connection.run(sql.clone()).await {
                Err(Fault::Again(_)) if tries < 50 => tries += 1,
                done => return Ok(done?),
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn try_take(&self, connection: &mut Connection) -> Try<bool> {
        let (table, now, holder) = (self.table(), self.now(), self.holder);
        let until = HOLD_TIME.as_micros();
        let taken = connection
            .run(format!(
                "UPDATE {table} SET holder = {holder}, expire_time = {now} + {until} \
                 WHERE name = 1 AND (expire_time < {now} OR holder = {holder})"
            ))
            .await;
        match taken {
            Ok(()) | Err(Fault::Again(_)) => {}
            Err(fault) => return Err(fault),
        }
        let rows = connection.look_up(&format!("SELECT holder FROM {table} WHERE name = 1")).await?;
        Ok(rows.into_iter().flatten().any(|found| found == holder.to_string()))
    }

    async fn give_back(&self, connection: &mut Connection) {
        let (table, holder) = (self.table(), self.holder);
        let sql =
            format!("UPDATE {table} SET holder = 0, expire_time = 0 WHERE name = 1 AND holder = {holder}");
        if let Err(error) = connection.run(sql).await {
            tracing::warn!(
                ?error,
                "the migration lock could not be given back, others wait for its time to end"
            );
        }
    }

    fn definition(&self) -> String {
        let source = "CREATE TABLE IF NOT EXISTS {p}migration_lock (name BIGINT NOT NULL PRIMARY KEY, \
                      holder BIGINT NOT NULL, expire_time BIGINT NOT NULL) {narrow}";
        self.engine.texts.setting(Place::Fixed, 1).expand(source)
    }

    fn first_row(&self) -> String {
        let source = "{insert_new} INTO {p}migration_lock (name, holder, expire_time) VALUES (1, 0, 0)";
        self.engine.texts.setting(Place::Fixed, 1).expand(source)
    }

    fn table(&self) -> String {
        format!("{}migration_lock", self.engine.texts.prefix())
    }

    fn now(&self) -> &'static str {
        match self.engine.dialect() {
            Dialect::MySql => super::mysql::WORDS.now,
            Dialect::Sqlite => "(unixepoch() * 1000000)",
        }
    }
}
