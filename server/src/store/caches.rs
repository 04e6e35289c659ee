//! What the store remembers of rows that never change, or that change so that staleness is noticed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::rows::LeaseRow;
use crate::model::{Fence, JobId, Month, Route, RouteId, SessionId};

/// Entries of a cache at most; a full one begins anew.
const ENTRIES_MAX: usize = 50_000;

/// A month whose ids were given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MonthRow {
    pub(crate) month: Month,
    /// The first id that belongs to it.
    pub(crate) first: JobId,
    /// SQLite: the file that it was moved to, once it had closed.
    pub(crate) moved_to: Option<String>,
}

/// The name that stands for the file of a month that is being dropped.
const DROPPING: &str = "";

/// The months that are known, oldest first.
#[derive(Default)]
pub(crate) struct Months {
    rows: RwLock<Arc<Vec<MonthRow>>>,
    /// Those that are being dropped, each with the first id that is not in it: nobody reads them any more.
    dropping: RwLock<Vec<(MonthRow, JobId)>>,
}

impl Months {
    /// All that are known.
    pub(crate) fn all(&self) -> Arc<Vec<MonthRow>> {
        Arc::clone(&self.rows.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers what was read; says whether it was news.
    pub(crate) fn set(&self, rows: Vec<MonthRow>) -> bool {
        let ends: Vec<JobId> = rows.iter().skip(1).map(|row| row.first).chain([JobId(i64::MAX)]).collect();
        let (dropping, rows): (Vec<_>, Vec<_>) =
            rows.into_iter().zip(ends).partition(|(row, _)| row.moved_to.as_deref() == Some(DROPPING));
        let rows: Vec<MonthRow> = rows.into_iter().map(|(row, _)| row).collect();
        *self.dropping.write().unwrap_or_else(PoisonError::into_inner) = dropping;
        let mut known = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let is_news = **known != rows;
        *known = Arc::new(rows);
        is_news
    }

    /// Months that are being dropped.
    pub(crate) fn dropping(&self) -> Vec<(MonthRow, JobId)> {
        self.dropping.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The month of an id, as far as is known: another server may have begun a month since.
    pub(crate) fn of(&self, job: JobId) -> Option<MonthRow> {
        self.all().iter().rev().find(|row| row.first <= job).cloned()
    }

    /// Is the id in the newest month that is known, and so perhaps in a newer one?
    pub(crate) fn is_in_newest(&self, job: JobId) -> bool {
        self.all().last().is_none_or(|row| row.first <= job)
    }
}

/// Routes by name; they are never changed or deleted.
#[derive(Default)]
pub(crate) struct Routes {
    ids: Mutex<HashMap<Route, RouteId>>,
}

impl Routes {
    /// The id of a route, if it is known.
    pub(crate) fn get(&self, route: &Route) -> Option<RouteId> {
        self.lock().get(route).copied()
    }

    /// Remembers a route.
    pub(crate) fn put(&self, route: Route, id: RouteId) {
        let mut ids = self.lock();
        if ids.len() >= ENTRIES_MAX {
            ids.clear();
        }
        ids.insert(route, id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Route, RouteId>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of worker processes by session; they never change.
#[derive(Default)]
pub(crate) struct SessionNames {
    names: Mutex<HashMap<SessionId, String>>,
}

impl SessionNames {
    /// The name, if it is known.
    pub(crate) fn get(&self, session: SessionId) -> Option<String> {
        self.lock().get(&session).cloned()
    }

    /// Remembers a name.
    pub(crate) fn put(&self, session: SessionId, name: String) {
        let mut names = self.lock();
        if names.len() >= ENTRIES_MAX {
            names.clear();
        }
        names.insert(session, name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leases that this server gave out, as they were stored then: who ends one need not read it first, and finds by its
/// guard whether something was noted on it since.
#[derive(Default)]
pub(crate) struct GivenOut {
    rows: Mutex<HashMap<JobId, LeaseRow>>,
}

impl GivenOut {
    /// The lease of a fence, if this server gave it out.
    pub(crate) fn get(&self, fence: Fence) -> Option<LeaseRow> {
        self.lock().get(&fence.job).filter(|row| row.lease.fence == fence).cloned()
    }

    /// Remembers leases.
    pub(crate) fn put(&self, given: Vec<LeaseRow>) {
        let mut rows = self.lock();
        if rows.len() + given.len() > ENTRIES_MAX {
            rows.clear();
        }
        rows.extend(given.into_iter().map(|row| (row.lease.fence.job, row)));
    }

    /// Forgets leases that ended, or that are not as they were.
    pub(crate) fn forget(&self, jobs: impl IntoIterator<Item = JobId>) {
        let mut rows = self.lock();
        for job in jobs {
            rows.remove(&job);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, LeaseRow>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
