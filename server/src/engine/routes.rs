//! Routes: which small numbers stand for which (queue, command, kind), and which of them a session serves.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use crate::model::{Filter, QueueSetting, Route, RouteId, RouteKind, Session, Spec, Work};
use crate::store::{ROUTES_OF_WALK_MAX, Result, Store};

#[derive(Default)]
struct Known {
    ids: HashMap<Route, RouteId>,
    routes: HashMap<RouteId, Arc<Route>>,
}

/// Every route this server has heard of.
#[derive(Default)]
pub(crate) struct Routes {
    known: RwLock<Known>,
    /// Queues for which something is set.
    settings: RwLock<HashMap<String, QueueSetting>>,
}

impl Routes {
    /// The id of each route, made if it is new.
    pub(crate) async fn ids(&self, store: &dyn Store, routes: &[Route]) -> Result<Vec<RouteId>> {
        let missing: Vec<Route> = {
            let known = self.read();
            let new: HashSet<&Route> = routes.iter().filter(|route| !known.ids.contains_key(route)).collect();
            new.into_iter().cloned().collect()
        };
        if !missing.is_empty() {
            let ids = store.routes(&missing).await?;
            self.learn(ids.into_iter().zip(missing));
        }
        let known = self.read();
        Ok(routes.iter().map(|route| known.ids.get(route).copied().unwrap_or_default()).collect())
    }

    /// Hears of the routes that other servers made.
    pub(crate) async fn reload(&self, store: &dyn Store) -> Result<()> {
        self.learn(store.all_routes().await?);
        Ok(())
    }

    /// Is every one of these known?
    pub(crate) fn knows(&self, ids: impl IntoIterator<Item = RouteId>) -> bool {
        let known = self.read();
        ids.into_iter().all(|id| known.routes.contains_key(&id))
    }

    /// The route of an id.
    pub(crate) fn route(&self, id: RouteId) -> Option<Arc<Route>> {
        self.read().routes.get(&id).cloned()
    }

    /// The route of an id, unless its queue is paused.
    pub(crate) fn open_route(&self, id: RouteId) -> Option<Arc<Route>> {
        self.route(id).filter(|route| !self.is_paused(&route.queue))
    }

    /// The routes under which jobs that a filter matches may wait, their turn in a lane included; none when these are more
    /// than a walk can name.
    pub(crate) fn of_filter(&self, filter: &Filter) -> Option<Vec<RouteId>> {
        let known = self.read();
        let may_hold =
            |route: &Route| route.kind == RouteKind::Lane || filter.may_match(&route.queue, &route.work);
        let routes: Vec<RouteId> =
            known.ids.iter().filter(|(route, _)| may_hold(route)).map(|(_, id)| *id).collect();
        (routes.len() <= ROUTES_OF_WALK_MAX).then_some(routes)
    }

    /// Every queue that a route names.
    pub(crate) fn queues(&self) -> BTreeSet<String> {
        let known = self.read();
        let of_queues = known.ids.keys().filter(|route| route.kind != RouteKind::Lane);
        of_queues.map(|route| route.queue.clone()).collect()
    }

    /// Is this queue paused? Then none of its jobs is given out.
    pub(crate) fn is_paused(&self, queue: &str) -> bool {
        self.settings().get(queue).is_some_and(|setting| setting.pause.is_some())
    }

    /// Is it limited how much of this queue may run? Then its jobs are given out by the store alone, which counts.
    pub(crate) fn is_limited(&self, queue: &str) -> bool {
        self.settings().get(queue).is_some_and(|setting| setting.limits.is_any())
    }

    /// Those of the routes whose queue is limited, with its name.
    pub(crate) fn limited(&self, routes: impl Iterator<Item = RouteId>) -> BTreeMap<RouteId, String> {
        if !self.settings().values().any(|setting| setting.limits.is_any()) {
            return BTreeMap::new();
        }
        let limited =
            |id| Some((id, self.route(id)?.queue.clone())).filter(|(_, queue)| self.is_limited(queue));
        routes.filter_map(limited).collect()
    }

    /// From now on this is what is set for queues; says whether that was news.
    pub(crate) fn set_queues(&self, settings: HashMap<String, QueueSetting>) -> bool {
        let mut known = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        let is_news = *known != settings;
        *known = settings;
        is_news
    }

    fn settings(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, QueueSetting>> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, routes: impl IntoIterator<Item = (RouteId, Route)>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (id, route) in routes {
            known.ids.insert(route.clone(), id);
            known.routes.insert(id, Arc::new(route));
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a session serves.
#[derive(Debug)]
pub(crate) struct Served {
    commands: HashSet<String>,
    queues: HashSet<String>,
    targets: HashSet<String>,
}

impl Served {
    pub(crate) fn of(session: &Session) -> Self {
        Self {
            commands: session.commands.iter().map(|served| served.command.clone()).collect(),
            queues: session.queues.iter().cloned().collect(),
            targets: session.targets.iter().cloned().collect(),
        }
    }

    /// May this session run the jobs of this route? Quarantined ones are given out apart.
    pub(crate) fn takes(&self, route: &Route) -> bool {
        match &route.work {
            Work::Command(command) => self.queues.contains(&route.queue) && self.commands.contains(command),
            Work::Api { target, .. } => self.targets.contains(target),
        }
    }

    /// As [`Served::takes_plain`], for a job of these options.
    pub(crate) fn runs(&self, spec: &Spec) -> bool {
        let Work::Command(command) = &spec.work else { return false };
        self.queues.contains(&spec.queue) && self.commands.contains(command)
    }

    /// As [`Served::takes`], for jobs that any worker process may get.
    pub(crate) fn takes_plain(&self, route: &Route) -> bool {
        route.kind == RouteKind::Plain && self.takes(route)
    }
}
