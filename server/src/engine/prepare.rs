//! From a call to a job that can be stored: its parents are looked up, its named worker is known, its content has a
//! digest.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::{BatchItem, Core, EnqueueCall, Error, ParentKey, Result, Violation};
use crate::model::{
    Condition, Dependency, Ending, Job, JobId, Month, Payload, ReadyKey, RefPolicy, Route, RouteId, Run,
    Spec, Time, Work, digest,
};
use crate::store::{NewJob, Payloads, StoreError};

/// A job ready to be stored, but for its id.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    /// One and the same for neighbours that differ in nothing but their requests.
    pub(crate) spec: Arc<Spec>,
    pub(crate) request: Payload,
    pub(crate) digest: [u8; 16],
    pub(crate) ref_policy: RefPolicy,
    delay: Option<std::time::Duration>,
    /// Parents that had not ended when they were looked up.
    waits: Vec<Dependency>,
    /// Parents among those that are stored together, by their place.
    locals: Vec<(usize, Condition)>,
    doomed_by: Option<(JobId, Ending)>,
}

impl Prepared {
    /// Does it wait for nobody? Then it may share a commit with strangers, and be handed over at once.
    pub(crate) fn is_free(&self) -> bool {
        self.waits.is_empty() && self.doomed_by.is_none() && self.spec.worker.name.is_empty()
    }

    /// Does another of those stored together wait for this one?
    pub(crate) fn is_local_parent(&self, all: &[Prepared], place: usize) -> bool {
        all.iter().any(|one| one.locals.iter().any(|(at, _)| *at == place))
    }

    /// Takes one out that no other waits for.
    pub(crate) fn remove(all: &mut Vec<Prepared>, place: usize) {
        all.remove(place);
        let later = |(at, _): &&mut (usize, Condition)| *at > place;
        all.iter_mut().flat_map(|one| one.locals.iter_mut().filter(later)).for_each(|(at, _)| *at -= 1);
    }

    /// Puts one before all others.
    pub(crate) fn put_first(all: &mut Vec<Prepared>, first: Prepared) {
        all.iter_mut().flat_map(|one| one.locals.iter_mut()).for_each(|(at, _)| *at += 1);
        all.insert(0, first);
    }

    /// Do they ask for the same work? Most of those that are stored together do.
    fn shares_its_route(&self, other: &Prepared) -> bool {
        self.spec.queue == other.spec.queue && self.spec.work == other.spec.work
    }

    fn job(&self, (id, month): (JobId, Month), route: RouteId, now: Time) -> Job {
        let mut spec = Arc::clone(&self.spec);
        if let Some(delay) = self.delay {
            Arc::make_mut(&mut spec).run_after = Some(now.plus(delay));
        }
        let ready_time = spec.run_after.map_or(now, |after| after.max(now));
        let ready = ReadyKey { route, priority: spec.priority, ready_time, job: id };
        let request = self.request.clone();
        Job {
            id,
            month,
            run: Run(1),
            run_time: now,
            create_time: now,
            ready,
            spec,
            request,
            digest: self.digest,
        }
    }
}

/// A parent as it was found.
#[derive(Clone, Copy)]
struct Parent {
    id: JobId,
    ending: Option<Ending>,
}

impl Core {
    /// Prepares one job.
    pub(crate) async fn prepare(&self, call: EnqueueCall) -> Result<Prepared> {
        let item = BatchItem { local_key: String::new(), call, field: String::new() };
        let mut prepared = self.prepare_all(vec![item]).await?;
        prepared.pop().ok_or_else(|| Error::Internal("a job got lost while it was prepared".into()))
    }

    /// Prepares jobs that are stored together and may wait for each other.
    pub(crate) async fn prepare_all(&self, items: Vec<BatchItem>) -> Result<Vec<Prepared>> {
        let places = local_keys(&items)?;
        let found = self.find_parents(&items).await?;
        let fields: Vec<String> = match places.is_empty() {
            true => Vec::new(),
            false => items.iter().map(|item| options_path(&item.field, &item.call.spec.work)).collect(),
        };
        let mut prepared = Vec::with_capacity(items.len());
        let mut asked = Asked::default();
        for item in items {
            prepared.push(self.prepare_one(item, &places, &found, &mut asked)?);
        }
        // Who names nobody waits for nobody here.
        if !places.is_empty() {
            refuse_circles(&prepared, &fields)?;
        }
        Ok(prepared)
    }

    fn prepare_one(
        &self,
        item: BatchItem,
        places: &HashMap<String, usize>,
        found: &HashMap<ParentKey, Parent>,
        asked: &mut Asked,
    ) -> Result<Prepared> {
        let EnqueueCall { mut spec, request, ref_policy, delay, parents } = item.call;
        let (mut waits, mut locals, mut doomed_by) = (Vec::new(), Vec::new(), None);
        let mut keys = Vec::new();
        for (at, parent) in parents.into_iter().enumerate() {
            let options = options_path(&item.field, &spec.work);
            let field = |name| format!("{options}.depends_on[{at}].{name}");
            let condition = parent.condition;
            if let ParentKey::Local(key) = &parent.key {
                let place = places.get(key).ok_or_else(|| {
                    Error::no_parent(
                        field("local_key"),
                        format!("{key:?} is the local key of no item of this call"),
                    )
                })?;
                locals.push((*place, condition));
                keys.push(format!("{key}:{}", condition.code()));
                continue;
            }
            let Some(known) = found.get(&parent.key) else {
                return Err(match parent.key {
                    ParentKey::Ref(id) => {
                        Error::no_parent(field("ref_id"), format!("{id:?} is the ref id of no job"))
                    }
                    ParentKey::Id(id) => {
                        Error::no_parent(field("job_id"), format!("{id} is the id of no job"))
                    }
                    ParentKey::Local(_) => Error::Internal("a local parent was looked up".into()),
                });
            };
            let dependency = Dependency { parent: known.id, condition };
            spec.depends_on.retain(|other| other.parent != known.id);
            spec.depends_on.push(dependency);
            match known.ending {
                Some(ending) if condition.is_met_by(ending) => {}
                Some(ending) => doomed_by = doomed_by.or(Some((known.id, ending))),
                None => waits.push(dependency),
            }
        }
        waits.sort_unstable_by_key(|wait| wait.parent);
        waits.dedup_by_key(|wait| wait.parent);
        spec.parent_id = spec.parent_id.or(spec.depends_on.first().map(|first| first.parent));
        if !spec.worker.is_own {
            spec.worker.name = self.commands.worker_of(&spec.work);
        }
        let (spec, text) = asked.keep(spec);
        let digest = content_digest(text, &request, delay, &keys);
        Ok(Prepared { spec, request, digest, ref_policy, delay, waits, locals, doomed_by })
    }

    /// The parents that were stored before, by how they were named.
    async fn find_parents(&self, items: &[BatchItem]) -> Result<HashMap<ParentKey, Parent>> {
        let named = items.iter().flat_map(|item| item.call.parents.iter().map(|parent| &parent.key));
        let keys: HashSet<&ParentKey> = named.filter(|key| !matches!(key, ParentKey::Local(_))).collect();
        let mut ids: BTreeMap<JobId, Vec<&ParentKey>> = BTreeMap::new();
        for key in keys {
            let id = match key {
                ParentKey::Id(id) => Some(*id),
                ParentKey::Ref(ref_id) => match self.id_of_ref(ref_id).await {
                    Ok(id) => Some(id),
                    Err(Error::JobNotFound(_)) => None,
                    Err(error) => return Err(error),
                },
                ParentKey::Local(_) => None,
            };
            if let Some(id) = id {
                ids.entry(id).or_default().push(key);
            }
        }
        let mut found = HashMap::new();
        if ids.is_empty() {
            return Ok(found);
        }
        let wanted: Vec<JobId> = ids.keys().copied().collect();
        for view in self.store.views(&wanted, Payloads::LeftOut).await? {
            let parent = Parent { id: view.job.id, ending: view.outcome().map(|outcome| outcome.ending) };
            for key in ids.remove(&parent.id).unwrap_or_default() {
                found.insert(key.clone(), parent);
            }
        }
        Ok(found)
    }

    /// Gives prepared jobs their ids, routes and lanes. They are stored together: local parents become ids.
    pub(crate) async fn new_jobs(
        &self,
        prepared: &[Prepared],
        ids: &[(JobId, Month)],
    ) -> Result<Vec<NewJob>, StoreError> {
        let alike: Vec<&[Prepared]> = prepared.chunk_by(Prepared::shares_its_route).collect();
        let routes: Vec<Route> =
            alike.iter().filter_map(|part| part.first()).map(|one| one.spec.route()).collect();
        let routes = self.routes.ids(&*self.store, &routes).await?;
        let homes = alike.iter().zip(routes).flat_map(|(part, route)| std::iter::repeat_n(route, part.len()));
        let named: Vec<Route> = prepared.iter().filter_map(|one| one.spec.lane()).collect();
        let lanes = self.routes.ids(&*self.store, &named).await?;
        let mut lanes = lanes.into_iter();
        let now = self.clock.now();
        let new = |((one, id), home): ((&Prepared, &(JobId, Month)), RouteId)| {
            let mut job = one.job(*id, home, now);
            let local = |(at, condition): &(usize, Condition)| Dependency {
                parent: ids[*at].0,
                condition: *condition,
            };
            let locals: Vec<Dependency> = one.locals.iter().map(local).collect();
            if let Some(first) = locals.first() {
                let spec = job.spec_mut();
                spec.depends_on.extend(&locals);
                spec.parent_id = spec.parent_id.or(Some(first.parent));
            }
            let lane = job.spec.lane().and_then(|_| lanes.next());
            let parents = one.waits.iter().chain(&locals).copied().collect();
            NewJob { job, handoff: None, lane, parents, doomed_by: one.doomed_by }
        };
        Ok(prepared.iter().zip(ids).zip(homes).map(new).collect())
    }
}

/// Where the options of an item stand in the request.
fn options_path(item: &str, work: &Work) -> String {
    let part = match work {
        Work::Command(_) => "command",
        Work::Api { .. } => "api",
    };
    if item.is_empty() { "options".into() } else { format!("{item}.{part}.options") }
}

fn local_keys(items: &[BatchItem]) -> Result<HashMap<String, usize>> {
    let mut places = HashMap::new();
    for (at, item) in items.iter().enumerate().filter(|(_, item)| !item.local_key.is_empty()) {
        if let Some(first) = places.insert(item.local_key.clone(), at) {
            let message =
                format!("{:?} is the local key of item {first} too: each must be unique", item.local_key);
            return Err(Error::invalid(format!("{}.local_key", item.field), message));
        }
    }
    Ok(places)
}

/// Jobs that wait for each other in a circle would wait for ever.
fn refuse_circles(prepared: &[Prepared], fields: &[String]) -> Result<()> {
    let mut open: Vec<usize> = prepared.iter().map(|one| one.locals.len()).collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); prepared.len()];
    for (at, one) in prepared.iter().enumerate() {
        one.locals.iter().for_each(|(parent, _)| children[*parent].push(at));
    }
    let mut free: Vec<usize> = (0..prepared.len()).filter(|at| open[*at] == 0).collect();
    let mut done = 0;
    while let Some(at) = free.pop() {
        done += 1;
        for child in &children[at] {
            open[*child] -= 1;
            if open[*child] == 0 {
                free.push(*child);
            }
        }
    }
    if done == prepared.len() {
        return Ok(());
    }
    let in_circle = open.iter().enumerate().filter(|(_, open)| **open > 0).take(8);
    let wrong = in_circle.map(|(at, _)| Violation {
        field: format!("{}.depends_on", fields[at]),
        message: "waits for itself in a circle of local keys: break the circle".into(),
    });
    Err(Error::Invalid(wrong.collect()))
}

/// What the item before asked for, and its text for a digest: most often the next asks for the same, and keeps it with it.
#[derive(Default)]
struct Asked(Option<(Arc<Spec>, Vec<u8>)>);

impl Asked {
    fn keep(&mut self, mut spec: Box<Spec>) -> (Arc<Spec>, &[u8]) {
        let last = self.0.take().filter(|(last, _)| **last == *spec);
        let (spec, text) = self.0.insert(last.unwrap_or_else(|| {
            let text = digest_text(&mut spec);
            (Arc::from(spec), text)
        }));
        (Arc::clone(spec), text)
    }
}

/// What is asked for, as JSON. What identifies the call rather than the job is left out, and what the command says.
fn digest_text(spec: &mut Spec) -> Vec<u8> {
    let of_the_call =
        [&mut spec.request_id, &mut spec.traceparent, &mut spec.tracestate, &mut spec.enqueued_by]
            .map(std::mem::take);
    let named = if spec.worker.is_own { String::new() } else { std::mem::take(&mut spec.worker.name) };
    let text = serde_json::to_vec(spec).unwrap_or_default();
    [spec.request_id, spec.traceparent, spec.tracestate, spec.enqueued_by] = of_the_call;
    if !spec.worker.is_own {
        spec.worker.name = named;
    }
    text
}

/// Two calls with the same digest ask for the same job.
fn content_digest(
    spec: &[u8],
    request: &Payload,
    delay: Option<std::time::Duration>,
    local_parents: &[String],
) -> [u8; 16] {
    let (kind, body, content_type): (&[u8], &[u8], &[u8]) = match request {
        Payload::None => (b"none", b"", b""),
        Payload::Json(json) => (b"json", json, b""),
        Payload::Data { bytes, content_type } => (b"data", bytes, content_type.as_bytes()),
    };
    let delay = delay.map_or(0, |delay| delay.as_nanos()).to_be_bytes();
    let locals = local_parents.join("\n");
    digest([spec, kind, content_type, body, delay.as_slice(), locals.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(local: &[usize]) -> Prepared {
        Prepared {
            spec: Arc::new(Spec::new(Work::Command("work".into()))),
            request: Payload::None,
            digest: [0; 16],
            ref_policy: RefPolicy::Fail,
            delay: None,
            waits: Vec::new(),
            locals: local.iter().map(|at| (*at, Condition::Success)).collect(),
            doomed_by: None,
        }
    }

    fn asking(change: impl FnOnce(&mut Spec)) -> Box<Spec> {
        let mut spec = Spec::new(Work::Command("work".into()));
        change(&mut spec);
        Box::new(spec)
    }

    #[test]
    fn neighbours_that_ask_for_the_same_share_it_and_no_others_do() {
        let mut asked = Asked::default();
        let mut keep = |spec| asked.keep(spec).0;
        let first = keep(asking(|_| {}));
        assert!(Arc::ptr_eq(&first, &keep(asking(|_| {}))));
        let other = keep(asking(|spec| spec.priority += 1));
        assert!(!Arc::ptr_eq(&first, &other) && other.priority == first.priority + 1);
        let user = keep(asking(|spec| spec.enqueued_by = "ann".into()));
        assert_eq!(user.enqueued_by, "ann");
    }

    #[test]
    fn a_digest_is_of_what_is_asked_for_and_of_neither_the_call_nor_the_command() {
        let digest = |spec| {
            let mut asked = Asked::default();
            content_digest(asked.keep(spec).1, &Payload::None, None, &[])
        };
        let plain = digest(asking(|_| {}));
        assert_eq!(plain, digest(asking(|spec| spec.request_id = "r".into())));
        assert_eq!(plain, digest(asking(|spec| spec.traceparent = "t".into())));
        assert_eq!(plain, digest(asking(|spec| spec.worker.name = "as the command says".into())));
        let named =
            |spec: &mut Spec| (spec.worker.name, spec.worker.is_own) = ("as the caller says".into(), true);
        assert_ne!(plain, digest(asking(named)));
        assert_ne!(plain, digest(asking(|spec| spec.tag = "t".into())));
    }

    fn judge(prepared: &[Prepared]) -> Result<()> {
        refuse_circles(prepared, &vec![String::new(); prepared.len()])
    }

    #[test]
    fn a_circle_of_local_keys_is_refused_and_a_diamond_is_not() {
        assert!(judge(&[item(&[]), item(&[0]), item(&[0]), item(&[1, 2])]).is_ok());
        assert!(judge(&[item(&[1]), item(&[])]).is_ok());
        for circle in [
            vec![item(&[0])],
            vec![item(&[1]), item(&[0])],
            vec![item(&[]), item(&[2]), item(&[3, 0]), item(&[1])],
        ] {
            assert!(matches!(judge(&circle), Err(Error::Invalid(_))));
        }
    }
}
