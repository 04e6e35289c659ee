//! Figures for people: counts of live jobs, read at most once in two seconds however many ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::overview::LastOverview;
use super::{Core, Result};
use crate::clock;
use crate::model::{LiveCounts, Route};

/// How old figures may be.
const LIFE: Duration = Duration::from_secs(2);

type Counts = Arc<BTreeMap<Route, LiveCounts>>;

/// The last figures, and when they were taken.
#[derive(Default)]
pub(crate) struct Figures {
    live: Mutex<Option<(Instant, Counts)>>,
    pub(crate) overview: Mutex<LastOverview>,
}

impl Core {
    /// Live jobs by route, at most two seconds old. Who comes while somebody reads waits for that answer.
    pub(crate) async fn live_counts(&self) -> Result<Counts> {
        let mut last = self.figures.live.lock().await;
        if let Some((taken, counts)) = &*last
            && taken.elapsed() < LIFE
        {
            return Ok(Arc::clone(counts));
        }
        let by_route = self.store.live_counts(self.clock.now()).await?;
        if !self.routes.knows(by_route.keys().copied()) {
            self.routes.reload(&*self.store).await?;
        }
        let named = by_route
            .iter()
            .filter_map(|(id, counts)| Some((Route::clone(&*self.routes.route(*id)?), *counts)));
        let counts: Counts = Arc::new(named.collect());
        *last = Some((clock::instant(), Arc::clone(&counts)));
        Ok(counts)
    }
}
