//! Lanes that transient runs hold. The lane's row names the run as its holder; a row of its own beside it tells whose it
//! is, so that a lane does not stay held when its server is gone.

use std::time::Duration;

use crate::model::{JobId, RouteId, Time, limits, micros};
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Columns, values};
use crate::store::verbs::lane::{Lanes, wake_of};
use crate::store::{LaneLease, Result, Tick, Wake};

impl SqlStore {
    pub(crate) async fn holder(&self, lane: RouteId) -> Result<Option<JobId>> {
        read!(self.engine, |unit| async {
            let row = unit.fetch_one(Sql::ReadLane, Place::Fixed, values![lane]).await?;
            let holder = row.map(|mut row| row.int()).transpose()?.unwrap_or_default();
            Ok((holder != 0).then_some(JobId(holder)))
        })
    }

    pub(crate) async fn take_lane(&self, lease: &LaneLease) -> Result<bool> {
        transact!(self.engine, Class::Claim, |unit| take(unit, lease))
    }

    pub(crate) async fn leave_lane(&self, lane: RouteId, job: JobId) -> Result<Wake> {
        transact!(self.engine, Class::Vital, |unit| leave(unit, lane, job))
    }

    pub(crate) async fn lost_lanes(&self, tick: Tick) -> Result<Vec<(RouteId, JobId)>> {
        let held = read!(self.engine, |unit| read_leases(unit))?;
        let over = |held: &Held| held.is_over(tick);
        Ok(held.into_iter().filter(over).map(|held| (held.lane, held.job)).collect())
    }
}

/// Takes a lane that nobody holds. Who holds a lane after the server of its transient run died is found by the row.
async fn take(unit: &mut Unit<'_>, lease: &LaneLease) -> Try<bool> {
    let mut lanes = Lanes::lock(unit, std::iter::once(lease.lane)).await?;
    if !lanes.take(lease.lane, lease.job) {
        return Ok(false);
    }
    let now = unit.now().await?;
    let row = values![lease.lane, lease.job, lease.server, micros(lease.lease_time), now];
    unit.execute(Sql::InsertLaneLease, Place::Fixed, row).await?;
    lanes.close(unit, now).await?;
    Ok(true)
}

/// Leaves a lane, if it is held by this run still, and lets it pass to the first in line.
async fn leave(unit: &mut Unit<'_>, lane: RouteId, job: JobId) -> Try<Wake> {
    let mut lanes = Lanes::lock(unit, std::iter::once(lane)).await?;
    if unit.execute(Sql::DeleteLaneLease, Place::Fixed, values![lane, job]).await? == 0 {
        return Ok(Wake::default());
    }
    let now = unit.now().await?;
    lanes.leave(lane, job);
    Ok(wake_of(&lanes.close(unit, now).await?))
}

/// A lane held by a transient run.
struct Held {
    lane: RouteId,
    job: JobId,
    lease_time: Duration,
    /// When its server was last alive; none if it is forgotten.
    beat: Option<Time>,
}

impl Held {
    /// Is its server gone for so long that its worker process has stopped the handler, all outages of ours allowed for?
    fn is_over(&self, tick: Tick) -> bool {
        let in_amnesty = tick.amnesty_from.is_some_and(|from| tick.now < from.plus(self.lease_time));
        let Some(beat) = self.beat else { return !in_amnesty };
        !in_amnesty && beat.plus(self.lease_time + limits::AMNESTY_AFTER) < tick.now
    }
}

async fn read_leases(unit: &mut Unit<'_>) -> Try<Vec<Held>> {
    let rows = unit.fetch(Sql::ReadLaneLeases, Place::Fixed, Vec::new()).await?;
    let read = |mut row: Columns| {
        let (lane, job) = (RouteId(row.int()?), JobId(row.int()?));
        let lease_time = Duration::from_micros(row.int()?.max(0).unsigned_abs());
        if job.0 >= 0 {
            return Err(Fault::other("a lane lease names a stored job"));
        }
        Ok(Held { lane, job, lease_time, beat: row.maybe_int()?.map(Time) })
    };
    rows.into_iter().map(read).collect()
}
