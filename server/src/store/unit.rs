//! A unit of work: one transaction, or one consistent read, with the rules on trying again.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

use super::caches::GivenOut;
use super::connection::{COMMIT, Class, Lent, Pools, Text};
use super::dialect::Dialect;
use super::fault::{Fault, Try};
use super::rows::LeaseRow;
use super::statement::{Place, STATEMENT_ROWS_MAX, Sql, Texts, filled, rows_of_insert};
use super::tallies::Tallies;
use super::value::{Columns, Value};
use super::{Result, StoreError};
use crate::clock::{self, SteadyClock};
use crate::model::{Event, JobId, Time, limits};

/// Bytes of one statement's values, unless the database takes less: a quarter of the smallest packet allowed.
const STATEMENT_BYTES_MAX: usize = 4 << 20;

/// Rows of a statement that is held back at most: each number of them is a text of its own, with each that it may go with.
const HELD_BACK_MAX: usize = 4;
/// Values of a statement and of those that were held back for it, at most; on MariaDB.
const HELD_BACK_VALUES_MAX: usize = 160;

/// What every unit of work needs.
pub(crate) struct Engine {
    pub(crate) pools: Pools,
    pub(crate) texts: Texts,
    /// The database takes several statements in one message.
    pub(crate) takes_several: bool,
    /// SQLite's time; MySQL answers its own.
    pub(crate) clock: Option<SteadyClock>,
    /// What was committed, counted for people.
    pub(crate) tallies: Tallies,
    /// Leases that were committed here.
    pub(crate) given_out: GivenOut,
}

impl Engine {
    /// Which database.
    pub(crate) fn dialect(&self) -> Dialect {
        self.texts.dialect()
    }

    /// Begins a transaction. A connection that was closed while it was idle is noticed here and replaced.
    pub(crate) async fn begin(&self, class: Class) -> Result<Unit<'_>> {
        loop {
            if let Some(unit) = self.begin_on(self.pools.get(class).lend().await?).await? {
                return Ok(unit);
            }
        }
    }

    /// None: the connection was closed while it was idle.
    async fn begin_on(&self, mut lent: Lent) -> Result<Option<Unit<'_>>> {
        match lent.connection.begin().await {
            Ok(()) => Ok(Some(Unit::new(self, lent, Mode::Write))),
            Err(Fault::Gone(_)) if !lent.is_fresh => {
                lent.discard();
                Ok(None)
            }
            Err(fault) => {
                lent.discard();
                Err(fault.into())
            }
        }
    }

    /// As [`Engine::begin`], but a connection that is surely alive hears of it with the first statement.
    async fn begin_with_the_first(&self, class: Class) -> Result<Unit<'_>> {
        let lent = self.pools.get(class).lend().await?;
        if !lent.is_warm {
            return match self.begin_on(lent).await? {
                Some(unit) => Ok(unit),
                None => self.begin(class).await,
            };
        }
        let mut unit = Unit::new(self, lent, Mode::Write);
        unit.holds_back = true;
        unit.held_back.add(self.dialect().words().begin, Vec::new(), 0);
        Ok(unit)
    }

    /// Begins reading: each statement sees what is committed when it begins.
    pub(crate) async fn begin_reading(&self, class: Class) -> Result<Unit<'_>> {
        let lent = self.pools.get(class).lend().await?;
        Ok(Unit::new(self, lent, Mode::Read))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
}

/// A transaction or a read under way. Dropped unsettled, its connection is closed, never given back.
pub(crate) struct Unit<'e> {
    pub(crate) engine: &'e Engine,
    pub(crate) lent: Lent,
    mode: Mode,
    /// Statements whose answer nobody waits for may be held back.
    holds_back: bool,
    held_back: HeldBack,
    events: Vec<(Time, Event)>,
    given: Vec<LeaseRow>,
    ended: Vec<JobId>,
}

/// Statements that go to the database with the next one: to ask and to be answered takes longer than most statements, even of
/// SQLite, whose connection is a thread of its own.
#[derive(Default)]
struct HeldBack {
    texts: Vec<&'static str>,
    values: Vec<Value>,
    /// How many rows they store.
    rows: u64,
}

impl HeldBack {
    fn add(&mut self, text: &'static str, values: Vec<Value>, rows: usize) {
        self.texts.push(text);
        self.values.extend(values);
        self.rows += rows as u64;
    }
}

impl<'e> Unit<'e> {
    fn new(engine: &'e Engine, lent: Lent, mode: Mode) -> Self {
        Unit {
            engine,
            lent,
            mode,
            holds_back: false,
            held_back: HeldBack::default(),
            events: Vec::new(),
            given: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Notes what this transaction does; it is counted once it is committed.
    pub(crate) fn note(&mut self, time: Time, event: Event) {
        self.events.push((time, event));
    }

    /// Stores leases, which are remembered once they are committed.
    pub(crate) async fn give_out(&mut self, leases: Vec<LeaseRow>) -> Try<()> {
        self.store(Sql::InsertLeases, Place::Fixed, leases.iter().map(|row| Ok(row.values()))).await?;
        self.gave_out(leases);
        Ok(())
    }

    /// Notes leases that are stored, which are remembered once they are committed.
    pub(crate) fn gave_out(&mut self, leases: impl IntoIterator<Item = LeaseRow>) {
        self.given.extend(leases);
    }

    /// These leases end here: they are forgotten once that is committed.
    pub(crate) fn took_back(&mut self, jobs: impl Iterator<Item = JobId>) {
        self.ended.extend(jobs);
    }

    /// Runs a statement of one row; answers how many rows it found or changed.
    pub(crate) async fn execute(&mut self, sql: Sql, place: Place, values: Vec<Value>) -> Try<u64> {
        let (text, values) = self.with_held_back(self.engine.texts.get(sql, place, 1), values).await?;
        self.lent.connection.execute(text, values).await
    }

    /// Few enough rows to be held back.
    pub(crate) fn may_hold_back(&self, rows: usize) -> bool {
        self.holds_back && rows <= HELD_BACK_MAX
    }

    /// The statement, with those before it that were held back.
    async fn with_held_back(&mut self, text: &'static str, values: Vec<Value>) -> Try<(Text, Vec<Value>)> {
        // MariaDB takes much memory for a large one, which is worth a message of its own.
        let is_large = self.held_back.values.len() + values.len() > HELD_BACK_VALUES_MAX;
        if is_large && self.engine.dialect() == Dialect::MySql {
            self.send_held_back().await?;
        }
        let HeldBack { mut texts, values: mut all, rows } = std::mem::take(&mut self.held_back);
        if texts.is_empty() {
            return Ok((text.into(), values));
        }
        let before = texts.len();
        texts.push(text);
        all.extend(values);
        Ok((Text { sql: self.engine.texts.joined(&texts), before, rows_before: rows }, all))
    }

    async fn send_held_back(&mut self) -> Try<()> {
        let HeldBack { texts, values, rows } = std::mem::take(&mut self.held_back);
        let before = texts.len();
        let sql = match texts[..] {
            [] => return Ok(()),
            [begin] if begin == self.engine.dialect().words().begin => {
                return self.lent.connection.begin().await;
            }
            _ => self.engine.texts.joined(&texts),
        };
        self.lent.connection.execute(Text { sql, before, rows_before: rows }, values).await.map(drop)
    }

    /// Was nothing sent yet, not even that a transaction begins?
    fn has_sent_nothing(&self) -> bool {
        self.held_back.texts.first() == Some(&self.engine.dialect().words().begin)
    }

    /// How many statements wait for the next one.
    #[cfg(test)]
    pub(crate) fn held_back(&self) -> usize {
        self.held_back.texts.len()
    }

    /// Stores rows whose keys are new. Few of them may be held back until the next statement, and the error of a key that is
    /// taken with them: then the transaction is done again, and the error comes here.
    pub(crate) async fn store(
        &mut self,
        sql: Sql,
        place: Place,
        rows: impl ExactSizeIterator<Item = Result<Vec<Value>>> + Send,
    ) -> Try<()> {
        let count = rows.len();
        if count > 0 && self.may_hold_back(count) {
            let values = rows.collect::<Result<Vec<Vec<Value>>>>()?.concat();
            self.held_back.add(self.engine.texts.get(sql, place, count), values, count);
            return Ok(());
        }
        self.insert_as_made(sql, place, rows).await.map(drop)
    }

    /// Runs a statement of one row; answers its rows.
    pub(crate) async fn fetch(&mut self, sql: Sql, place: Place, values: Vec<Value>) -> Try<Vec<Columns>> {
        self.fetch_rows(sql, place, 1, values).await
    }

    /// As [`Unit::fetch`], for a statement that answers one row at most.
    pub(crate) async fn fetch_one(
        &mut self,
        sql: Sql,
        place: Place,
        values: Vec<Value>,
    ) -> Try<Option<Columns>> {
        Ok(self.fetch(sql, place, values).await?.into_iter().next())
    }

    /// Inserts rows, as many a statement as the limits allow; answers how many were stored.
    pub(crate) async fn insert(&mut self, sql: Sql, place: Place, rows: Vec<Vec<Value>>) -> Try<u64> {
        self.insert_as_made(sql, place, rows.into_iter().map(Ok)).await
    }

    /// As [`Unit::insert`]; while the database stores some rows, the next are made.
    pub(crate) async fn insert_as_made(
        &mut self,
        sql: Sql,
        place: Place,
        rows: impl Iterator<Item = Result<Vec<Value>>> + Send,
    ) -> Try<u64> {
        let texts = &self.engine.texts;
        let mut parts = Parts { rows: rows.fuse(), made: VecDeque::new() };
        let mut stored = 0;
        let mut next = parts.next()?;
        while let Some((count, values)) = next {
            let (text, values) = self.with_held_back(texts.get(sql, place, count), values).await?;
            let storing = self.lent.connection.execute(text, values);
            let (done, after) = futures::join!(storing, async { parts.next() });
            stored += done?;
            next = after?;
        }
        Ok(stored)
    }

    /// Runs a statement over items, many at a time; answers how many rows it found or changed. An item may be named twice:
    /// see [`filled`].
    pub(crate) async fn execute_each<T: Clone + Send + Sync>(
        &mut self,
        sql: Sql,
        place: Place,
        items: &[T],
        values: impl Fn(&[T]) -> Vec<Value> + Send + Sync,
    ) -> Try<u64> {
        let mut changed = 0;
        for chunk in items.chunks(STATEMENT_ROWS_MAX).map(filled) {
            let (text, values) =
                self.with_held_back(self.engine.texts.get(sql, place, chunk.len()), values(&chunk)).await?;
            changed += self.lent.connection.execute(text, values).await?;
        }
        Ok(changed)
    }

    /// Runs a statement over items, many at a time; answers its rows. An item may be named twice: see [`filled`].
    pub(crate) async fn fetch_each<T: Clone + Send + Sync>(
        &mut self,
        sql: Sql,
        place: Place,
        items: &[T],
        values: impl Fn(&[T]) -> Vec<Value> + Send + Sync,
    ) -> Try<Vec<Columns>> {
        let mut rows = Vec::new();
        for chunk in items.chunks(STATEMENT_ROWS_MAX).map(filled) {
            rows.extend(self.fetch_rows(sql, place, chunk.len(), values(&chunk)).await?);
        }
        Ok(rows)
    }

    /// The database's time; no earlier than any time read before in this transaction by the same clock.
    pub(crate) async fn now(&mut self) -> Try<Time> {
        if let Some(clock) = &self.engine.clock {
            return Ok(clock.now());
        }
        let row = self.fetch_one(Sql::Now, Place::Fixed, Vec::new()).await?;
        let mut row = row.ok_or_else(|| Fault::other("the database told no time"))?;
        Ok(Time(row.int()?))
    }

    /// The time in a column of a row, where the statement asked for it, else that of SQLite's own clock.
    pub(crate) fn time_of(&self, row: &mut Columns) -> Try<Time> {
        match &self.engine.clock {
            Some(clock) => Ok(clock.now()),
            None => Ok(Time(row.int()?)),
        }
    }

    /// As [`Unit::fetch`], for a statement that names so many rows.
    pub(crate) async fn fetch_rows(
        &mut self,
        sql: Sql,
        place: Place,
        rows: usize,
        values: Vec<Value>,
    ) -> Try<Vec<Columns>> {
        let (text, values) = self.with_held_back(self.engine.texts.get(sql, place, rows), values).await?;
        let known = self.engine.texts.names(sql);
        let is_news = known.is_none();
        let found = self.lent.connection.fetch(text, values, known).await?;
        let names = found.names;
        if is_news && !found.rows.is_empty() {
            self.engine.texts.learn_names(sql, &names);
        }
        Ok(found.rows.into_iter().map(|row| Columns::new(sql, names.clone(), row)).collect())
    }

    async fn commit(mut self) -> Try<()> {
        if self.mode == Mode::Read {
            self.lent.give_back();
            return Ok(());
        }
        match self.send_commit().await {
            Ok(()) => {
                self.engine.tallies.count(&self.events);
                self.engine.given_out.put(std::mem::take(&mut self.given));
                self.engine.given_out.forget(std::mem::take(&mut self.ended));
                self.lent.give_back();
                Ok(())
            }
            Err(fault @ (Fault::Again(_) | Fault::Full(_) | Fault::HeldBack(_))) => {
                self.roll_back().await;
                Err(fault)
            }
            Err(fault) => {
                self.lent.discard();
                Err(Fault::Store(StoreError::Unknown(StoreError::from(fault).to_string())))
            }
        }
    }

    async fn send_commit(&mut self) -> Try<()> {
        match self.held_back.texts.len() {
            0 => self.lent.connection.commit().await,
            // It did nothing.
            1 if self.has_sent_nothing() => Ok(()),
            _ => {
                let (text, values) = self.with_held_back(COMMIT, Vec::new()).await?;
                self.lent.connection.execute(text, values).await.map(drop)
            }
        }
    }

    /// Leaves nothing behind: a connection that cannot roll back is closed, which does the same.
    async fn roll_back(mut self) {
        if self.mode == Mode::Read || self.has_sent_nothing() {
            return self.lent.give_back();
        }
        match self.lent.connection.run("ROLLBACK".into()).await {
            Ok(()) => self.lent.give_back(),
            // SQLite ends a transaction by itself after some errors; a closed connection is surely in none.
            Err(_) => drop(self.lent),
        }
    }
}

/// Rows on their way into statements.
struct Parts<R> {
    rows: R,
    made: VecDeque<Vec<Value>>,
}

impl<R: Iterator<Item = Result<Vec<Value>>>> Parts<R> {
    /// How many rows the next statement takes, and their values one after the other.
    fn next(&mut self) -> Result<Option<(usize, Vec<Value>)>> {
        while self.made.len() < STATEMENT_ROWS_MAX
            && let Some(row) = self.rows.next()
        {
            self.made.push_back(row?);
        }
        if self.made.is_empty() {
            return Ok(None);
        }
        let count = self.fitting();
        Ok(Some((count, self.made.drain(..count).flatten().collect())))
    }

    /// The most rows that one statement takes; one row goes whatever its size.
    fn fitting(&self) -> usize {
        let mut bytes = 0;
        let fits = |row: &&Vec<Value>| {
            bytes += row.iter().map(Value::size).sum::<usize>();
            bytes <= STATEMENT_BYTES_MAX
        };
        rows_of_insert(self.made.iter().take_while(fits).count().max(1))
    }
}

/// Counts the tries of a unit of work and decides after each.
#[derive(Default)]
pub(crate) struct Tries {
    made: u32,
    /// A statement that was held back failed: none is any more.
    is_prompt: bool,
}

impl Tries {
    /// Begins a transaction.
    pub(crate) async fn begin<'e>(&self, engine: &'e Engine, class: Class) -> Result<Unit<'e>> {
        if engine.takes_several && !self.is_prompt {
            engine.begin_with_the_first(class).await
        } else {
            engine.begin(class).await
        }
    }

    /// Commits or rolls back; says whether to try again.
    pub(crate) async fn settle<T>(&mut self, unit: Unit<'_>, answer: Try<T>) -> ControlFlow<Result<T>> {
        self.made += 1;
        let fault = match answer {
            Ok(answer) => match unit.commit().await {
                Ok(()) => return ControlFlow::Break(Ok(answer)),
                Err(fault) => fault,
            },
            Err(fault @ Fault::Gone(_)) => {
                unit.lent.discard();
                fault
            }
            Err(fault) => {
                unit.roll_back().await;
                fault
            }
        };
        match fault {
            Fault::HeldBack(why) if !self.is_prompt => {
                tracing::debug!(%why, "a transaction is done again, statement by statement");
                self.is_prompt = true;
                ControlFlow::Continue(())
            }
            Fault::Again(why) if self.made < limits::TRANSACTION_TRIES_MAX => {
                tracing::debug!(%why, tries = self.made, "a transaction is tried again");
                tokio::time::sleep(self.pause()).await;
                ControlFlow::Continue(())
            }
            // Before COMMIT was sent: nothing of it is stored.
            Fault::Gone(_) if self.made < 2 => ControlFlow::Continue(()),
            fault => ControlFlow::Break(Err(fault.into())),
        }
    }

    /// Longer with each try, and different for those that met.
    fn pause(&self) -> Duration {
        Duration::from_millis(4 << self.made).mul_f64(0.25 + clock::random_fraction())
    }
}

/// Does a unit of work in a transaction, again while that may help: `transact!(engine, class, |unit| work)`.
macro_rules! transact {
    ($engine:expr, $class:expr, |$unit:ident| $work:expr) => {{
        let mut tries = $crate::store::unit::Tries::default();
        loop {
            let mut begun = tries.begin(&$engine, $class).await?;
            let answer = {
                let $unit = &mut begun;
                $work.await
            };
            if let std::ops::ControlFlow::Break(done) = tries.settle(begun, answer).await {
                break done;
            }
        }
    }};
}
pub(crate) use transact;

/// Reads outside of a transaction, again while that may help: `read!(engine, |unit| work)`.
macro_rules! read {
    ($engine:expr, |$unit:ident| $work:expr) => {
        $crate::store::unit::read!($engine, $crate::store::connection::Class::Read, |$unit| $work)
    };
    ($engine:expr, $class:expr, |$unit:ident| $work:expr) => {{
        let mut tries = $crate::store::unit::Tries::default();
        loop {
            let mut begun = $engine.begin_reading($class).await?;
            let answer = {
                let $unit = &mut begun;
                $work.await
            };
            if let std::ops::ControlFlow::Break(done) = tries.settle(begun, answer).await {
                break done;
            }
        }
    }};
}
pub(crate) use read;
