//! Walks over job ids: what lists filter and read in pages.

use crate::model::{JobId, Month, Order};
use crate::store::fault::Try;
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read};
use crate::store::value::{Value, key, values};
use crate::store::{Result, Walk, WalkSource};

impl SqlStore {
    pub(crate) async fn walk(&self, walk: &Walk) -> Result<Vec<JobId>> {
        let (month, sql) = match (&walk.source, walk.order) {
            (WalkSource::Month(month), Order::OldestFirst) => (Some(*month), Sql::WalkMonthUp),
            (WalkSource::Month(month), Order::NewestFirst) => (Some(*month), Sql::WalkMonthDown),
            (WalkSource::Label(month, ..), Order::OldestFirst) => (Some(*month), Sql::WalkLabelUp),
            (WalkSource::Label(month, ..), Order::NewestFirst) => (Some(*month), Sql::WalkLabelDown),
            (WalkSource::Live, Order::OldestFirst) => (None, Sql::WalkLiveUp),
            (WalkSource::Live, Order::NewestFirst) => (None, Sql::WalkLiveDown),
        };
        match month {
            None => read!(self.engine, |unit| read_ids(unit, sql, Place::Fixed, walk)),
            Some(month) => self.walk_month(walk, month, sql).await,
        }
    }

    async fn walk_month(&self, walk: &Walk, month: Month, sql: Sql) -> Result<Vec<JobId>> {
        let known = || self.months.all().iter().find(|row| row.month == month).cloned();
        if known().is_none() {
            self.reload_months().await?;
        }
        let Some(row) = known() else { return Ok(Vec::new()) };
        let mut found = read!(self.engine, |unit| read_ids(unit, sql, Place::Month(month), walk))?;
        if row.moved_to.is_some() {
            let moved =
                self.read_moved(&row, async |unit| read_ids(unit, sql, Place::Moved(month), walk).await);
            found.extend(moved.await?);
            found.sort_unstable();
            found.dedup();
            if walk.order == Order::NewestFirst {
                found.reverse();
            }
            found.truncate(usize::try_from(walk.limit).unwrap_or_default());
        }
        Ok(found)
    }
}

async fn read_ids(unit: &mut Unit<'_>, sql: Sql, place: Place, walk: &Walk) -> Try<Vec<JobId>> {
    let beyond = walk.after.map_or_else(
        || match walk.order {
            Order::OldestFirst => 0,
            Order::NewestFirst => i64::MAX,
        },
        |job| job.0,
    );
    let mut bound: Vec<Value> = match &walk.source {
        WalkSource::Month(_) => values![beyond],
        WalkSource::Label(_, kind, value) => values![kind.code(), key(value), beyond],
        WalkSource::Live => values![beyond, beyond],
    };
    bound.push(Value::Int(walk.limit));
    let rows = unit.fetch(sql, place, bound).await?;
    rows.into_iter().map(|mut row| Ok(JobId(row.int()?))).collect()
}
