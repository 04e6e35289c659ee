//! Lists of jobs: a bounded walk over ids, filtered by one pure function, page by page.
//!
//! Ids follow time, so the order of a list is that of its ids, and a page token is the last id that was walked over. A
//! filter that no index serves walks at most [`limits::WALK_ROWS_MAX`] rows a page; a short page with a token goes on.

use std::sync::Arc;

use super::unit::unit;
use super::{Core, Engine, Error, ListCall, Page, Result};
use crate::model::{Filter, JobId, Month, Order, State, View, digest, limits, read_token, write_token};
use crate::store::{LabelKind, MonthRange, Walk, WalkSource};

const LIST_TOKEN: &str = "p1";
/// Jobs looked at in one step.
pub(super) const STEP: usize = 500;
/// Ids read in one walk over what lives, which reads whole routes whatever it is to answer.
const LIVE_STEP: i64 = 20_000;

/// A stretch of ids and where they are found: a list goes through its stretches in order.
#[derive(Clone, Debug)]
struct Stretch {
    source: WalkSource,
    /// The ids it covers.
    from: JobId,
    to: JobId,
}

impl Engine {
    /// A page of jobs, without their payloads.
    pub async fn list(&self, call: ListCall) -> Result<Page<View>> {
        let core = Arc::clone(&self.core);
        unit(async move { core.list_page(&call).await }).await
    }
}

impl Core {
    pub(crate) async fn list_page(&self, call: &ListCall) -> Result<Page<View>> {
        let after = read_list_token(call)?;
        let months = self.store.months().await?;
        let mut page = Collected { views: Vec::new(), bytes: 0, walked: 0, last: after };
        let live = self.live(&call.filter).await?;
        for stretch in stretches(call, &months, &live) {
            if !self.walk(call, &stretch, &mut page).await? {
                let last = page.last.map(|last| write_list_token(call, last)).unwrap_or_default();
                return Ok(Page { items: page.views, next: last });
            }
        }
        Ok(Page { items: page.views, next: String::new() })
    }

    /// Where jobs that have not ended are found, if they match a filter.
    pub(super) async fn live(&self, filter: &Filter) -> Result<WalkSource> {
        if !filter.names_route() {
            return Ok(WalkSource::Live(None));
        }
        // Another server may have made a route that we do not know.
        self.routes.reload(&*self.store).await?;
        Ok(WalkSource::Live(self.routes.of_filter(filter)))
    }

    /// Walks one stretch; false when the page is full before its end.
    async fn walk(&self, call: &ListCall, stretch: &Stretch, page: &mut Collected) -> Result<bool> {
        loop {
            let after = match (call.order, page.last) {
                (Order::NewestFirst, last) => Some(last.map_or(stretch.to, |last| last.min(stretch.to))),
                (Order::OldestFirst, last) => {
                    let before = JobId(stretch.from.0 - 1);
                    Some(last.map_or(before, |last| last.max(before)))
                }
            };
            let limit = step(&stretch.source);
            let walk = Walk { source: stretch.source.clone(), order: call.order, after, limit };
            let mut ids = self.store.walk(&walk).await?;
            let ended = (ids.len() as i64) < limit;
            let read = ids.len();
            ids.retain(|id| (stretch.from..stretch.to).contains(id));
            let left_stretch = ids.len() < read;
            for some in ids.chunks(STEP) {
                if page.walked >= limits::WALK_ROWS_MAX || !self.collect(call, some, page).await? {
                    return Ok(false);
                }
                page.walked += some.len() as i64;
            }
            if ended || left_stretch {
                return Ok(true);
            }
        }
    }

    /// Adds those that match; false when the page is full.
    async fn collect(&self, call: &ListCall, ids: &[JobId], page: &mut Collected) -> Result<bool> {
        let now = self.clock.now();
        for view in self.brief_views(ids).await? {
            if call.filter.matches(&view, now) {
                let bytes = weight(&view);
                let full = page.views.len() >= call.page_size || page.bytes + bytes > limits::PAGE_BYTES_MAX;
                if full && !page.views.is_empty() {
                    return Ok(false);
                }
                page.bytes += bytes;
                page.last = Some(view.job.id);
                page.views.push(view);
            }
        }
        page.last = ids.last().copied().or(page.last);
        Ok(true)
    }
}

struct Collected {
    views: Vec<View>,
    bytes: usize,
    walked: i64,
    last: Option<JobId>,
}

/// What a summary takes on the wire, roughly.
fn weight(view: &View) -> usize {
    let error = view.outcome().and_then(|outcome| outcome.error.as_ref()).or(view.last_error.as_ref());
    512 + view.status.len() + error.map_or(0, |error| error.message.len() + error.stack.len())
}

/// The stretches of a list, in its order. Without a month: the two newest months whole, and of older months the jobs
/// that have not ended.
fn stretches(call: &ListCall, months: &[MonthRange], live: &WalkSource) -> Vec<Stretch> {
    let ends = months.iter().skip(1).map(|next| next.first).chain([JobId(i64::MAX)]);
    let ranges: Vec<(Month, JobId, JobId)> =
        months.iter().zip(ends).map(|(range, end)| (range.month, range.first, end)).collect();
    let of_month = |(month, from, to): &(Month, JobId, JobId)| {
        let source = indexed(&call.filter, *month).unwrap_or(WalkSource::Month(*month));
        Stretch { source, from: *from, to: *to }
    };
    let mut stretches: Vec<Stretch> = if let Some(month) = call.month {
        ranges.iter().filter(|(of, _, _)| *of == month).map(of_month).collect()
    } else if call.filter.wants_only_live() {
        vec![Stretch { source: live.clone(), from: JobId(0), to: JobId(i64::MAX) }]
    } else {
        let newest = &ranges[ranges.len().saturating_sub(2)..];
        let older =
            newest.first().map(|(_, from, _)| Stretch { source: live.clone(), from: JobId(0), to: *from });
        older.into_iter().chain(newest.iter().map(of_month)).collect()
    };
    if call.order == Order::NewestFirst {
        stretches.reverse();
    }
    stretches
}

/// How many ids a walk reads at a time.
pub(super) fn step(source: &WalkSource) -> i64 {
    if matches!(source, WalkSource::Live(_)) { LIVE_STEP } else { STEP as i64 }
}

/// The jobs of a month with the most telling option that an index serves.
pub(super) fn indexed(filter: &Filter, month: Month) -> Option<WalkSource> {
    if !filter.batch_id.is_empty() {
        return Some(WalkSource::Batch(month, filter.batch_id.clone()));
    }
    label(filter).map(|(kind, value)| WalkSource::Label(month, kind, value))
}

fn label(filter: &Filter) -> Option<(LabelKind, String)> {
    let parent = filter.parent_id.map(|parent| parent.to_string()).unwrap_or_default();
    let ending = match filter.states.as_slice() {
        [State::Failed] => "failed",
        [State::Cancelled] => "cancelled",
        _ => "",
    };
    [
        (LabelKind::Parent, parent.as_str()),
        (LabelKind::Task, filter.recurring_task.as_str()),
        (LabelKind::Tag, filter.tag.as_str()),
        (LabelKind::User, filter.user_id.as_str()),
        (LabelKind::Worker, filter.worker.as_str()),
        (LabelKind::CreatedBy, filter.created_by.as_str()),
        (LabelKind::Ending, ending),
    ]
    .into_iter()
    .find(|(_, value)| !value.is_empty())
    .map(|(kind, value)| (kind, value.to_owned()))
}

/// Tells the queries apart that tokens belong to.
fn query_digest(call: &ListCall) -> [u8; 16] {
    digest([format!("{:?} {:?} {:?}", call.filter, call.order, call.month).as_bytes()])
}

fn write_list_token(call: &ListCall, last: JobId) -> String {
    write_token(LIST_TOKEN, &[query_digest(call).as_slice(), &last.0.to_be_bytes()].concat())
}

fn read_list_token(call: &ListCall) -> Result<Option<JobId>> {
    if call.page_token.is_empty() {
        return Ok(None);
    }
    let bad = |message: &str| Error::BadToken { field: "page_token", message: message.into() };
    let bytes = read_token(LIST_TOKEN, &call.page_token).map_err(|error| bad(&error.to_string()))?;
    let (query, last) = bytes.split_at_checked(16).ok_or_else(|| bad("is not a token of this kind"))?;
    if query != query_digest(call) {
        return Err(bad("belongs to another query: filter, order and month must be the same on every page"));
    }
    let last: [u8; 8] = last.try_into().map_err(|_| bad("is not a token of this kind"))?;
    Ok(Some(JobId(i64::from_be_bytes(last))))
}
