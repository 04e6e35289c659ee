//! Job ids, the months that they belong to, and routes.

use crate::model::{JobId, Month, Route, RouteId, Time};
use crate::store::caches::MonthRow;
use crate::store::connection::Class;
use crate::store::dialect;
use crate::store::fault::{Fault, Try};
use crate::store::rows::{route_key, route_kind};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{key, to_json, values};
use crate::store::{IdBlock, MonthRange, Result, StoreError};

/// The name of the row that job ids are taken from.
const JOB: &str = "job";
/// The name of the row that route ids are taken from.
const ROUTE: &str = "route";

/// What became of an attempt to reserve ids.
enum Reserved {
    Block(IdBlock),
    /// A month began whose tables may not exist yet.
    NewMonth(Month),
}

impl SqlStore {
    pub(crate) async fn reserve_ids(&self, size: i64) -> Result<IdBlock> {
        let mut prepared = None;
        loop {
            match transact!(self.engine, Class::Enqueue, |unit| self.reserve_in(unit, size.max(1), prepared))?
            {
                Reserved::Block(block) => {
                    if prepared.is_some() {
                        self.reload_months().await?;
                    }
                    return Ok(block);
                }
                Reserved::NewMonth(month) => {
                    self.prepare_month(month).await?;
                    prepared = Some(month);
                }
            }
        }
    }

    async fn reserve_in(&self, unit: &mut Unit<'_>, size: i64, prepared: Option<Month>) -> Try<Reserved> {
        let (next, stored) = read_block(unit, Sql::LockIdBlock, JOB).await?;
        let month = stored.max(Month::of(unit.now().await?));
        if month > stored {
            if prepared != Some(month) {
                return Ok(Reserved::NewMonth(month));
            }
            unit.execute(Sql::InsertMonth, Place::Fixed, values![month, next]).await?;
        }
        let end = next.checked_add(size).ok_or_else(|| Fault::other("job ids are used up"))?;
        let guard = values![end, month, key(JOB), next, stored];
        if unit.execute(Sql::MoveIdBlock, Place::Fixed, guard).await? != 1 {
            return Err(Fault::raced("id block"));
        }
        Ok(Reserved::Block(IdBlock { next, end, month }))
    }

    pub(crate) async fn is_newest(&self, block: IdBlock) -> Result<bool> {
        let ((next, month), now) = read!(self.engine, |unit| newest_block(unit))?;
        Ok(next == block.end && month == block.month && Month::of(now) <= month)
    }

    /// Makes the tables of a month; each statement can be run again.
    pub(crate) async fn prepare_month(&self, month: Month) -> Result<()> {
        let source = include_str!("../sql/month.sql");
        let statements = dialect::statements(source, self.engine.dialect());
        let setting = self.engine.texts.setting(Place::Month(month), 1);
        read!(self.engine, Class::Enqueue, |unit| async {
            for statement in &statements {
                unit.lent.connection.run(setting.expand(statement)).await?;
            }
            Ok(())
        })
    }

    /// Makes the tables that came with this version in the months that there are already.
    pub(crate) async fn complete_months(&self) -> Result<()> {
        self.reload_months().await?;
        for row in self.months.all().iter() {
            self.prepare_month(row.month).await?;
        }
        Ok(())
    }

    pub(crate) async fn months(&self) -> Result<Vec<MonthRange>> {
        self.reload_months().await?;
        let rows = self.months.all();
        Ok(rows.iter().map(|row| MonthRange { month: row.month, first: row.first }).collect())
    }

    /// Reads the months again; says whether there was news.
    pub(crate) async fn reload_months(&self) -> Result<bool> {
        let rows = read!(self.engine, |unit| read_months(unit))?;
        Ok(self.months.set(rows))
    }

    /// The month of an id, as far as is known; reads the months if none are.
    pub(crate) async fn month_of(&self, job: JobId) -> Result<Option<MonthRow>> {
        if self.months.all().is_empty() {
            self.reload_months().await?;
        }
        Ok(self.months.of(job))
    }

    /// As [`SqlStore::reload_months`], within a unit of work: on its own connection. One that held a connection and waited for
    /// another would wait for ever as soon as every connection is held by one of its kind.
    pub(super) async fn reload_months_within(&self, unit: &mut Unit<'_>) -> Try<()> {
        let rows = read_months(unit).await?;
        self.months.set(rows);
        Ok(())
    }

    /// As [`SqlStore::month_of`], within a unit of work.
    pub(super) async fn month_within(&self, unit: &mut Unit<'_>, job: JobId) -> Try<Option<MonthRow>> {
        if self.months.all().is_empty() {
            self.reload_months_within(unit).await?;
        }
        Ok(self.months.of(job))
    }

    pub(crate) async fn routes(&self, routes: &[Route]) -> Result<Vec<RouteId>> {
        let unknown: Vec<Route> =
            routes.iter().filter(|route| self.routes.get(route).is_none()).cloned().collect();
        if !unknown.is_empty() {
            self.make_routes(&unknown).await?;
        }
        let lost = || StoreError::Other("a route that was made is not there".into());
        routes.iter().map(|route| self.routes.get(route).ok_or_else(lost)).collect()
    }

    async fn make_routes(&self, routes: &[Route]) -> Result<()> {
        let keys: Vec<String> = routes.iter().map(route_key).collect();
        let mut found = read!(self.engine, |unit| route_ids(unit, &keys))?;
        if found.len() < keys.len() {
            transact!(self.engine, Class::Enqueue, |unit| insert_routes(unit, routes, &keys))?;
            found = read!(self.engine, |unit| route_ids(unit, &keys))?;
        }
        for (id, name) in found {
            if let Some(at) = keys.iter().position(|key| *key == name) {
                self.routes.put(routes[at].clone(), id);
            }
        }
        Ok(())
    }

    pub(crate) async fn all_routes(&self) -> Result<Vec<(RouteId, Route)>> {
        let all = read!(self.engine, |unit| read_routes(unit))?;
        for (id, route) in &all {
            self.routes.put(route.clone(), *id);
        }
        Ok(all)
    }
}

async fn read_block(unit: &mut Unit<'_>, sql: Sql, name: &str) -> Try<(i64, Month)> {
    let row = unit.fetch_one(sql, Place::Fixed, values![key(name)]).await?;
    let mut row = row.ok_or_else(|| Fault::other(format!("the row {name} of id_block is missing")))?;
    Ok((row.int()?, Month(row.small()?)))
}

async fn newest_block(unit: &mut Unit<'_>) -> Try<((i64, Month), Time)> {
    Ok((read_block(unit, Sql::ReadIdBlock, JOB).await?, unit.now().await?))
}

async fn read_months(unit: &mut Unit<'_>) -> Try<Vec<MonthRow>> {
    let rows = unit.fetch(Sql::ReadMonths, Place::Fixed, Vec::new()).await?;
    let read = |mut row: crate::store::value::Columns| {
        Ok(MonthRow { month: Month(row.small()?), first: JobId(row.int()?), moved_to: row.maybe_text()? })
    };
    rows.into_iter().map(read).collect()
}

async fn route_ids(unit: &mut Unit<'_>, keys: &[String]) -> Try<Vec<(RouteId, String)>> {
    let by_key = |keys: &[String]| keys.iter().map(|name| key(name)).collect();
    let rows = unit.fetch_each(Sql::ReadRouteIds, Place::Fixed, keys, by_key).await?;
    rows.into_iter().map(|mut row| Ok((RouteId(row.int()?), row.text()?))).collect()
}

/// Takes ids of a kind that needs few.
pub(super) async fn take_ids(unit: &mut Unit<'_>, name: &str, count: i64) -> Try<i64> {
    let (next, month) = read_block(unit, Sql::LockIdBlock, name).await?;
    let guard = values![next + count, month, key(name), next, month];
    if unit.execute(Sql::MoveIdBlock, Place::Fixed, guard).await? != 1 {
        return Err(Fault::raced("ids of rare things"));
    }
    Ok(next)
}

async fn insert_routes(unit: &mut Unit<'_>, routes: &[Route], keys: &[String]) -> Try<()> {
    let next = take_ids(unit, ROUTE, routes.len() as i64).await?;
    let mut rows = Vec::new();
    for ((route, name), id) in routes.iter().zip(keys).zip(next..) {
        rows.push(values![id, key(name), route.queue.as_str(), route.kind.code(), to_json(&route.work)?]);
    }
    rows.sort_by_key(|row| format!("{:?}", row[1]));
    unit.insert(Sql::InsertRoutes, Place::Fixed, rows).await?;
    Ok(())
}

async fn read_routes(unit: &mut Unit<'_>) -> Try<Vec<(RouteId, Route)>> {
    let rows = unit.fetch(Sql::ReadRoutes, Place::Fixed, Vec::new()).await?;
    let read = |mut row: crate::store::value::Columns| {
        let id = RouteId(row.int()?);
        let queue = row.text()?;
        let kind = row.coded(route_kind)?;
        Ok((id, Route { queue, work: row.json()?, kind }))
    };
    rows.into_iter().map(read).collect()
}
