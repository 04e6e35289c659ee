//! Queues: which are paused, and how many jobs stand where.

use std::collections::BTreeMap;

use crate::model::{LiveCounts, PausedQueue, RouteId, Time};
use crate::store::Result;
use crate::store::connection::Class;
use crate::store::fault::Try;
use crate::store::rows::LANES_DUE;
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{key, values};

impl SqlStore {
    pub(crate) async fn paused_queues(&self) -> Result<Vec<PausedQueue>> {
        read!(self.engine, |unit| read_paused(unit))
    }

    pub(crate) async fn pause_queue(&self, name: &str, reason: &str) -> Result<()> {
        transact!(self.engine, Class::Vital, |unit| async {
            let now = unit.now().await?;
            unit.execute(Sql::PauseQueue, Place::Fixed, values![key(name), now, reason]).await?;
            Ok(())
        })
    }

    pub(crate) async fn resume_queue(&self, name: &str) -> Result<bool> {
        transact!(self.engine, Class::Vital, |unit| async {
            Ok(unit.execute(Sql::ResumeQueue, Place::Fixed, values![key(name)]).await? == 1)
        })
    }

    pub(crate) async fn live_counts(&self, now: Time) -> Result<BTreeMap<RouteId, LiveCounts>> {
        read!(self.engine, |unit| count_live(unit, now))
    }
}

async fn read_paused(unit: &mut Unit<'_>) -> Try<Vec<PausedQueue>> {
    let rows = unit.fetch(Sql::ReadPausedQueues, Place::Fixed, Vec::new()).await?;
    let read = |mut row: crate::store::value::Columns| {
        Ok(PausedQueue { name: row.text()?, pause_time: Time(row.int()?), reason: row.text()? })
    };
    rows.into_iter().map(read).collect()
}

async fn count_live(unit: &mut Unit<'_>, now: Time) -> Try<BTreeMap<RouteId, LiveCounts>> {
    let mut counts: BTreeMap<RouteId, LiveCounts> = BTreeMap::new();
    for mut row in unit.fetch(Sql::CountReadyByRoute, Place::Fixed, values![now]).await? {
        let (route, home) = (RouteId(row.int()?), RouteId(row.int()?));
        let (all, scheduled, oldest) = (row.int()?, row.int()?, Time(row.int()?));
        let of = counts.entry(home).or_default();
        if route == home {
            of.scheduled += scheduled;
            of.queued += all - scheduled;
            of.oldest_ready = Some(oldest).filter(|oldest| *oldest <= now);
        } else if route == LANES_DUE {
            // Those whose time has just come are about to enter their lanes.
            of.scheduled += all;
        } else {
            of.blocked += all;
        }
    }
    for mut row in unit.fetch(Sql::CountLeasesByRoute, Place::Fixed, Vec::new()).await? {
        counts.entry(RouteId(row.int()?)).or_default().running = row.int()?;
    }
    Ok(counts)
}
