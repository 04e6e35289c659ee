//! Walks over job ids: what lists filter and read in pages.

use crate::model::{JobId, Month, Order, RouteId};
use crate::store::fault::Try;
use crate::store::rows::{LANES_DUE, PARENTS};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql, filled};
use crate::store::unit::{Unit, read};
use crate::store::value::{Value, key, values};
use crate::store::verbs::batch::read_batch;
use crate::store::{Result, Walk, WalkSource};

impl SqlStore {
    pub(crate) async fn walk(&self, walk: &Walk) -> Result<Vec<JobId>> {
        match walk.source {
            WalkSource::Live(_) => read!(self.engine, |unit| read_ids(unit, Place::Fixed, walk)),
            WalkSource::Month(month) | WalkSource::Label(month, ..) | WalkSource::Batch(month, _) => {
                self.walk_month(walk, month).await
            }
        }
    }

    async fn walk_month(&self, walk: &Walk, month: Month) -> Result<Vec<JobId>> {
        let known = || self.months.all().iter().find(|row| row.month == month).cloned();
        if known().is_none() {
            self.reload_months().await?;
        }
        let Some(row) = known() else { return Ok(Vec::new()) };
        let mut found = read!(self.engine, |unit| read_ids(unit, Place::Month(month), walk))?;
        if row.moved_to.is_some() {
            let moved = self.read_moved(&row, async |unit| read_ids(unit, Place::Moved(month), walk).await);
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

async fn read_ids(unit: &mut Unit<'_>, place: Place, walk: &Walk) -> Try<Vec<JobId>> {
    let beyond = walk.after.map_or_else(
        || match walk.order {
            Order::OldestFirst => 0,
            Order::NewestFirst => i64::MAX,
        },
        |job| job.0,
    );
    let mut rows = 1;
    let (up, down, mut bound) = match &walk.source {
        WalkSource::Month(_) => (Sql::WalkMonthUp, Sql::WalkMonthDown, values![beyond]),
        WalkSource::Label(_, kind, value) => {
            (Sql::WalkLabelUp, Sql::WalkLabelDown, values![kind.code(), key(value), beyond])
        }
        WalkSource::Live(None) => (Sql::WalkLiveUp, Sql::WalkLiveDown, values![beyond, beyond]),
        WalkSource::Live(Some(routes)) => {
            // What waits for its parents, or for its time in a lane, may be of any route.
            let everywhere: Vec<RouteId> = [PARENTS, LANES_DUE].iter().chain(routes).copied().collect();
            let named = filled(&everywhere);
            rows = named.len();
            let named = named.iter().map(|route| Value::from(*route));
            (Sql::WalkRoutesUp, Sql::WalkRoutesDown, named.chain(values![beyond, beyond]).collect())
        }
        WalkSource::Batch(_, batch_id) => {
            return read_batch(unit, place, batch_id, (walk.order, beyond), walk.limit).await;
        }
    };
    bound.push(Value::Int(walk.limit));
    let sql = match walk.order {
        Order::OldestFirst => up,
        Order::NewestFirst => down,
    };
    let rows = unit.fetch_rows(sql, place, rows, bound).await?;
    rows.into_iter().map(|mut row| Ok(JobId(row.int()?))).collect()
}
