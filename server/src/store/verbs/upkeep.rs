//! What the reaper does: ticks, sweeps, and what health asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{
    Epoch, Fence, JobId, Month, ReadyKey, Server, ServerAbout, ServerId, Time, limits, micros,
};
use crate::store::connection::Class;
use crate::store::dialect::Dialect;
use crate::store::fault::{Fault, Try};
use crate::store::rows::{ReadyRow, lost};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, STATEMENT_ROWS_MAX, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Columns, Value, key, to_json, values};
use crate::store::verbs::finish::move_jobs;
use crate::store::{Check, Result, SweptLease, Tick, mysql, sqlite};

/// The row of upkeep that holds the reaper's last tick.
pub(crate) const REAPER: &str = "reaper";
/// Servers that did not tick for so long are forgotten.
const SERVER_LIFE: Duration = Duration::from_secs(86_400);

impl SqlStore {
    pub(crate) async fn now(&self) -> Result<Time> {
        read!(self.engine, |unit| unit.now())
    }

    pub(crate) async fn ping(&self) -> Result<()> {
        read!(self.engine, |unit| unit.fetch(Sql::Ping, Place::Fixed, Vec::new()))?;
        Ok(())
    }

    pub(crate) async fn check(&self) -> Result<Vec<Check>> {
        read!(self.engine, |unit| async {
            match unit.engine.dialect() {
                Dialect::MySql => mysql::check(&mut unit.lent.connection).await,
                Dialect::Sqlite => sqlite::check(&mut unit.lent.connection).await,
            }
        })
    }

    pub(crate) async fn tick(
        &self,
        server: ServerId,
        about: &ServerAbout,
        is_draining: bool,
    ) -> Result<Tick> {
        let about = to_json(about)?;
        transact!(self.engine, Class::Vital, |unit| tick(unit, server, &about, is_draining))
    }

    pub(crate) async fn servers(&self) -> Result<Vec<Server>> {
        read!(self.engine, |unit| async {
            let rows = unit.fetch(Sql::ReadServers, Place::Fixed, Vec::new()).await?;
            let read = |mut row: Columns| {
                Ok(Server {
                    id: ServerId(row.int()?),
                    about: row.json()?,
                    is_draining: row.int()? != 0,
                    start_time: Time(row.int()?),
                    beat_time: Time(row.int()?),
                })
            };
            rows.into_iter().map(read).collect()
        })
    }

    pub(crate) async fn lost_leases(&self, limit: i64) -> Result<Vec<SweptLease>> {
        read!(self.engine, |unit| sweep(unit, Sql::LostLeases, values![lost(), limit]))
    }

    pub(crate) async fn overdue_leases(&self, tick: Tick, limit: i64) -> Result<Vec<SweptLease>> {
        if in_amnesty(tick) {
            return Ok(Vec::new());
        }
        let before = tick.now.minus(limits::TIMEOUT_GRACE);
        read!(self.engine, |unit| sweep(unit, Sql::OverdueLeases, values![before, limit]))
    }

    pub(crate) async fn forced_cancels(&self, tick: Tick, limit: i64) -> Result<Vec<SweptLease>> {
        if in_amnesty(tick) {
            return Ok(Vec::new());
        }
        read!(self.engine, |unit| sweep(unit, Sql::ForcedCancels, values![tick.now, limit]))
    }

    pub(crate) async fn expired(&self, now: Time, limit: i64) -> Result<Vec<JobId>> {
        read!(self.engine, |unit| async {
            let rows = unit.fetch(Sql::Expired, Place::Fixed, values![now, limit]).await?;
            rows.into_iter().map(|mut row| Ok(JobId(row.int()?))).collect()
        })
    }

    pub(crate) async fn counts(&self) -> Result<BTreeMap<String, i64>> {
        read!(self.engine, |unit| async {
            let mut counts = BTreeMap::new();
            for (name, sql) in [("ready", Sql::CountReady), ("leased", Sql::CountLeases)] {
                let row = unit.fetch_one(sql, Place::Fixed, Vec::new()).await?;
                counts.insert(name.to_owned(), row.map_or(Ok(0), |mut row| row.int())?);
            }
            Ok(counts)
        })
    }
}

/// Nothing is taken by time for one lease after an outage of ours.
fn in_amnesty(tick: Tick) -> bool {
    tick.amnesty_from.is_some_and(|from| tick.now < from.plus(limits::LEASE_TIME_DEFAULT))
}

/// Notes a tick, and an outage if the one before is long ago. The time is read under the row's lock, so that of two
/// servers the later in order is not the earlier in time.
async fn tick(unit: &mut Unit<'_>, server: ServerId, about: &str, is_draining: bool) -> Try<Tick> {
    let row = unit.fetch_one(Sql::LockUpkeep, Place::Fixed, values![key(REAPER)]).await?;
    let mut row = row.ok_or_else(|| Fault::other("the row reaper of upkeep is missing"))?;
    let (last, amnesty) = (Time(row.int()?), Time(row.int()?));
    let now = unit.now().await?;
    let last = (last > Time(0)).then_some(last);
    let is_outage = last.is_some_and(|last| now.since(last) > limits::AMNESTY_AFTER);
    let amnesty_from = if is_outage { Some(now) } else { (amnesty > Time(0)).then_some(amnesty) };
    // An amnesty of a time to come would never end.
    let amnesty_from = amnesty_from.map(|from| from.min(now));
    if let Some(last) = last.filter(|last| *last > now) {
        tracing::warn!(by = ?last.since(now), "the database's clock stepped back: due times are mended");
        step_back(unit, now, last).await?;
    }
    let amnesty = amnesty_from.map_or(0, |from| from.0);
    unit.execute(Sql::MoveUpkeep, Place::Fixed, values![now, amnesty, key(REAPER)]).await?;
    unit.execute(
        Sql::UpsertServer,
        Place::Fixed,
        values![server, about, i64::from(is_draining), now, now, now, micros(limits::AMNESTY_AFTER)],
    )
    .await?;
    unit.execute(Sql::DeleteServers, Place::Fixed, values![now.minus(SERVER_LIFE)]).await?;
    Ok(Tick { now, last, amnesty_from })
}

/// Mends what was due before the clock stepped back: sessions and locks end no later than one lease from now, and jobs
/// that were due are due now.
async fn step_back(unit: &mut Unit<'_>, now: Time, last: Time) -> Try<()> {
    unit.execute(Sql::CapSessions, Place::Fixed, values![now, lost(), now]).await?;
    unit.execute(Sql::CapLocks, Place::Fixed, values![now, now]).await?;
    loop {
        let bound = values![now, last, STATEMENT_ROWS_MAX as i64];
        let rows = unit.fetch(Sql::LockReadyBetween, Place::Fixed, bound).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let rows =
            rows.into_iter().map(|mut row| ReadyRow::read(&mut row)).collect::<Try<Vec<ReadyRow>>>()?;
        let guards = |chunk: &[ReadyRow]| chunk.iter().flat_map(ReadyRow::guard).collect::<Vec<Value>>();
        if unit.execute_each(Sql::DeleteReady, Place::Fixed, &rows, guards).await? != rows.len() as u64 {
            return Err(Fault::raced("ready rows"));
        }
        let due = |row: ReadyRow| ReadyRow { key: ReadyKey { ready_time: now, ..row.key }, ..row };
        let rows: Vec<ReadyRow> = rows.into_iter().map(due).collect();
        unit.insert(Sql::InsertReady, Place::Fixed, rows.iter().map(ReadyRow::values).collect()).await?;
        let mut keys: BTreeMap<Month, Vec<ReadyKey>> = BTreeMap::new();
        rows.iter().for_each(|row| keys.entry(row.month).or_default().push(row.key));
        for (month, keys) in keys {
            move_jobs(unit, month, &keys).await?;
        }
    }
}

async fn sweep(unit: &mut Unit<'_>, sql: Sql, bound: Vec<Value>) -> Try<Vec<SweptLease>> {
    let rows = unit.fetch(sql, Place::Fixed, bound).await?;
    let read = |mut row: Columns| {
        let fence = Fence { job: JobId(row.int()?), epoch: Epoch(row.int()?), nonce: row.int()? };
        let month = Month(row.small()?);
        let claim = row.int()?;
        let received = row.maybe_int()?.unwrap_or_default();
        Ok(SweptLease { fence, acknowledged: claim <= received, month })
    };
    rows.into_iter().map(read).collect()
}
