//! Tallies: what happened hour by hour, for people.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{JobId, RouteId, SessionId, Tally, Time, Waits, micros};
use crate::store::connection::Class;
use crate::store::fault::Try;
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::tallies::Counted;
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Columns, Value, values};
use crate::store::{Result, Tallied};

impl SqlStore {
    pub(crate) async fn add_tallies(&self) -> Result<()> {
        let counted = self.engine.tallies.take();
        if counted.is_empty() {
            return Ok(());
        }
        let added = transact!(self.engine, Class::Claim, |unit| add(unit, &counted));
        if added.is_err() {
            // Counted again if the connection broke while committing: rather that than nothing.
            self.engine.tallies.give_back(counted);
        }
        added
    }

    pub(crate) async fn tallies(&self, since: Time, waits_since: Time) -> Result<Tallied> {
        read!(self.engine, |unit| async {
            Ok(Tallied {
                routes: read_routes(unit, since).await?,
                waits: read_waits(unit, waits_since).await?,
                holders: read_holders(unit).await?,
            })
        })
    }

    pub(crate) async fn pending_deliveries(&self) -> Result<i64> {
        read!(self.engine, |unit| count(unit, Sql::CountDueDeliveries))
    }

    pub(crate) async fn count_due_tasks(&self) -> Result<i64> {
        read!(self.engine, |unit| count(unit, Sql::CountDueTasks))
    }

    pub(crate) async fn schemas(&self, commands: &[String]) -> Result<BTreeMap<String, String>> {
        read!(self.engine, |unit| async {
            let by_name =
                |chunk: &[String]| chunk.iter().map(|name| crate::store::value::key(name)).collect();
            let rows = unit.fetch_each(Sql::ReadSchemas, Place::Fixed, commands, by_name).await?;
            rows.into_iter().map(|mut row| Ok((row.text()?, row.text()?))).collect()
        })
    }

    pub(crate) async fn forget_tallies(&self, before: Time, waits_before: Time) -> Result<()> {
        transact!(self.engine, Class::Claim, |unit| async {
            unit.execute(Sql::DeleteTallies, Place::Fixed, values![before]).await?;
            unit.execute(Sql::DeleteWaits, Place::Fixed, values![waits_before]).await?;
            Ok(())
        })
    }
}

/// Rows are changed in the order of their keys: several servers add to the same.
async fn add(unit: &mut Unit<'_>, counted: &Counted) -> Try<()> {
    let routes = counted.routes.iter().map(|((slot, route), tally)| route_values(*slot, *route, tally));
    unit.insert(Sql::TallyRoutes, Place::Fixed, routes.collect()).await?;
    let waits = counted.waits.iter().map(|((slot, step), starts)| values![*slot, *step, *starts]);
    unit.insert(Sql::TallyWaits, Place::Fixed, waits.collect()).await?;
    let sessions: Vec<(SessionId, (i64, i64))> =
        counted.sessions.iter().map(|(session, ends)| (*session, *ends)).collect();
    let by_session = |chunk: &[(SessionId, (i64, i64))]| {
        let completed = chunk.iter().flat_map(|(session, ends)| values![*session, ends.0]);
        let failed = chunk.iter().flat_map(|(session, ends)| values![*session, ends.1]);
        let sessions = chunk.iter().map(|(session, _)| Value::from(*session));
        completed.chain(failed).chain(sessions).collect()
    };
    unit.execute_each(Sql::TallySessions, Place::Fixed, &sessions, by_session).await?;
    Ok(())
}

fn route_values(slot: Time, route: RouteId, tally: &Tally) -> Vec<Value> {
    let (last_time, last_job) = tally.last.unwrap_or_default();
    values![
        slot,
        route,
        tally.enqueued,
        tally.completed,
        tally.failed,
        tally.cancelled,
        tally.retried,
        micros(tally.took),
        last_time,
        last_job,
    ]
}

/// How many rows have a time to come.
async fn count(unit: &mut Unit<'_>, sql: Sql) -> Try<i64> {
    let row = unit.fetch_one(sql, Place::Fixed, values![Time::NEVER]).await?;
    row.map_or(Ok(0), |mut row| row.int())
}

async fn read_routes(unit: &mut Unit<'_>, since: Time) -> Try<BTreeMap<(Time, RouteId), Tally>> {
    let rows = unit.fetch(Sql::ReadTallies, Place::Fixed, values![since]).await?;
    let read = |mut row: Columns| {
        let key = (Time(row.int()?), RouteId(row.int()?));
        let (enqueued, completed, failed) = (row.int()?, row.int()?, row.int()?);
        let (cancelled, retried) = (row.int()?, row.int()?);
        let took = Duration::from_micros(row.int()?.max(0).unsigned_abs());
        let last = Some((Time(row.int()?), JobId(row.int()?))).filter(|(time, _)| *time > Time(0));
        Ok((key, Tally { enqueued, completed, failed, cancelled, retried, took, last }))
    };
    rows.into_iter().map(read).collect()
}

async fn read_waits(unit: &mut Unit<'_>, since: Time) -> Try<Waits> {
    let mut waits = Waits::default();
    for mut row in unit.fetch(Sql::ReadWaits, Place::Fixed, values![since]).await? {
        *waits.0.entry(row.int()?).or_default() += row.int()?;
    }
    Ok(waits)
}

async fn read_holders(unit: &mut Unit<'_>) -> Try<BTreeMap<RouteId, JobId>> {
    let rows = unit.fetch(Sql::ReadHolders, Place::Fixed, Vec::new()).await?;
    rows.into_iter().map(|mut row| Ok((RouteId(row.int()?), JobId(row.int()?)))).collect()
}
