//! Figures for people: counts of live jobs, read at most once in two seconds however many ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::overview::LastOverview;
use super::{Core, Result};
use crate::clock;
use crate::model::{LiveCounts, Route, RouteId};

/// How old figures may be.
const LIFE: Duration = Duration::from_secs(2);

/// Live jobs, counted.
pub(crate) struct Live {
    /// By route.
    pub(crate) routes: BTreeMap<Route, LiveCounts>,
    /// How many wait for their turn in each lane.
    pub(crate) lines: BTreeMap<RouteId, i64>,
}

/// The last figures, and when they were taken.
#[derive(Default)]
pub(crate) struct Figures {
    live: Mutex<Option<(Instant, Arc<Live>)>>,
    pub(crate) overview: Mutex<LastOverview>,
}

impl Core {
    /// Live jobs, at most two seconds old. Who comes while somebody reads waits for that answer.
    pub(crate) async fn live_jobs(&self) -> Result<Arc<Live>> {
        let mut last = self.figures.live.lock().await;
        if let Some((taken, live)) = &*last
            && taken.elapsed() < LIFE
        {
            return Ok(Arc::clone(live));
        }
        let counted = self.store.live_jobs(self.clock.now()).await?;
        if !self.routes.knows(counted.routes.keys().chain(counted.lines.keys()).copied()) {
            self.routes.reload(&*self.store).await?;
        }
        let named = counted
            .routes
            .iter()
            .filter_map(|(id, counts)| Some((Route::clone(&*self.routes.route(*id)?), *counts)));
        let live = Arc::new(Live { routes: named.collect(), lines: counted.lines });
        *last = Some((clock::instant(), Arc::clone(&live)));
        Ok(live)
    }
}
