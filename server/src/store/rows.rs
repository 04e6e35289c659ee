//! Rows as values and back: one place for the order of columns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Result;
use super::fault::Try;
use super::value::{Columns, Value, payload_values, to_json, values};
use crate::model::{
    AttemptEnd, Cancelled, Ending, Epoch, Fence, Job, JobError, JobId, Lease, LeaseFlags, Month, Outcome,
    Payload, ReadyKey, Route, RouteId, RouteKind, Run, ServedCommand, ServerId, Session, SessionId,
    SessionState, Spec, TAKEN, Time, Turn, Wait, Work, micros,
};

/// A lease row: the lease and what it takes back to the ready table.
#[derive(Clone, Debug)]
pub(crate) struct LeaseRow {
    pub(crate) lease: Lease,
    /// The attempt's timeout, microseconds.
    pub(crate) timeout: i64,
    /// Bytes of the job in a claim answer.
    pub(crate) size: i64,
}

impl LeaseRow {
    /// Reads the columns of a lease.
    pub(crate) fn read(row: &mut Columns) -> Try<LeaseRow> {
        let job = JobId(row.int()?);
        let month = Month(row.small()?);
        let run = Run(row.small()?);
        let epoch = Epoch(row.int()?);
        let nonce = row.int()?;
        let session = SessionId(row.bytes_16()?);
        let claim_loop = row.small()?;
        let claim = row.int()?;
        let route = RouteId(row.int()?);
        let priority = row.small()?;
        let (attempt, crashes, unacknowledged) = (row.small()?, row.small()?, row.small()?);
        let (timeout, size) = (row.int()?, row.int()?);
        let (start_time, deadline) = (Time(row.int()?), Time(row.int()?));
        let flags = LeaseFlags(row.int()?);
        let log_sequence = row.int()?;
        let lane = row.route()?;
        let lease = Lease {
            fence: Fence { job, epoch, nonce },
            month,
            run,
            route,
            priority,
            lane,
            session,
            claim_loop,
            claim,
            turn: Turn { epoch, attempt, crashes, unacknowledged },
            start_time,
            deadline,
            flags,
            log_sequence,
        };
        Ok(LeaseRow { lease, timeout, size })
    }

    /// How many columns [`LeaseRow::read`] reads.
    pub(crate) const COLUMNS: usize = 20;

    /// The row's values.
    pub(crate) fn values(&self) -> Vec<Value> {
        let LeaseRow { lease, timeout, size } = self;
        values![
            lease.fence.job,
            lease.month,
            lease.run,
            lease.fence.epoch,
            lease.fence.nonce,
            lease.session,
            lease.claim_loop,
            lease.claim,
            lease.route,
            lease.priority,
            lease.turn.attempt,
            lease.turn.crashes,
            lease.turn.unacknowledged,
            *timeout,
            *size,
            lease.start_time,
            lease.deadline,
            lease.flags.0,
            lease.log_sequence,
            lease.lane.unwrap_or_default(),
        ]
    }
}

/// A ready row.
#[derive(Clone, Debug)]
pub(crate) struct ReadyRow {
    pub(crate) key: ReadyKey,
    pub(crate) month: Month,
    pub(crate) run: Run,
    pub(crate) turn: Turn,
    pub(crate) timeout: i64,
    pub(crate) size: i64,
    pub(crate) expire_time: Time,
    pub(crate) flags: LeaseFlags,
    pub(crate) lane: Option<RouteId>,
    /// Where it is claimed once it waits for nothing else.
    pub(crate) home: (RouteId, i32),
}

/// Where the ready rows of jobs stand that wait for parents.
pub(crate) const PARENTS: RouteId = RouteId(-1);
/// Where the ready rows of jobs of lanes stand whose time has not come.
pub(crate) const LANES_DUE: RouteId = RouteId(-2);

impl ReadyRow {
    /// The first ready row of a run, at home; `job.ready` is where that is. `ready_stored.sql` makes the same of job rows.
    pub(crate) fn first(job: &Job, turn: Turn, expire_time: Time, lane: Option<RouteId>) -> ReadyRow {
        ReadyRow {
            key: job.ready,
            month: job.month,
            run: job.run,
            turn,
            timeout: micros(job.spec.timeout),
            size: size_of(job),
            expire_time,
            flags: LeaseFlags::of(&job.spec),
            lane,
            home: (job.ready.route, job.ready.priority),
        }
    }

    /// The row of a job that waits for parents; it keeps the time before which it may not start.
    pub(crate) fn behind_parents(self) -> ReadyRow {
        self.at(PARENTS, 0)
    }

    /// The row of a job of a lane that waits for its time.
    pub(crate) fn before_its_time(self) -> ReadyRow {
        self.at(LANES_DUE, 0)
    }

    /// The row of a job that waits for its turn in its lane, at a place.
    pub(crate) fn in_line(self, place: Time) -> ReadyRow {
        let lane = self.lane.unwrap_or_default();
        let row = self.at(lane, 0);
        ReadyRow { key: ReadyKey { ready_time: place, ..row.key }, ..row }
    }

    /// The row where claims find it, not before a time.
    pub(crate) fn at_home(self, ready_time: Time) -> ReadyRow {
        let (route, priority) = self.home;
        let row = self.at(route, priority);
        ReadyRow { key: ReadyKey { ready_time, ..row.key }, ..row }
    }

    fn at(self, route: RouteId, priority: i32) -> ReadyRow {
        ReadyRow { key: ReadyKey { route, priority, ..self.key }, ..self }
    }

    /// Does it wait for parents?
    pub(crate) fn waits_for_parents(&self) -> bool {
        self.key.route == PARENTS
    }

    /// The row's values.
    pub(crate) fn values(&self) -> Vec<Value> {
        values![
            self.key.route,
            self.key.priority,
            self.key.ready_time,
            self.key.job,
            self.month,
            self.run,
            self.turn.epoch,
            self.turn.attempt,
            self.turn.crashes,
            self.turn.unacknowledged,
            self.timeout,
            self.size,
            self.expire_time,
            self.flags.0,
            self.lane.unwrap_or_default(),
            self.home.0,
            self.home.1,
        ]
    }

    /// Reads a whole row.
    pub(crate) fn read(row: &mut Columns) -> Try<ReadyRow> {
        let route = RouteId(row.int()?);
        let priority = row.small()?;
        let ready_time = Time(row.int()?);
        let job = JobId(row.int()?);
        let month = Month(row.small()?);
        let run = Run(row.small()?);
        let turn = read_turn(row)?;
        let (timeout, size) = (row.int()?, row.int()?);
        let expire_time = Time(row.int()?);
        let flags = LeaseFlags(row.int()?);
        let lane = row.route()?;
        let home = (RouteId(row.int()?), row.small()?);
        let key = ReadyKey { route, priority, ready_time, job };
        Ok(ReadyRow { key, month, run, turn, timeout, size, expire_time, flags, lane, home })
    }

    /// Key and epoch: what a guarded delete of it names.
    pub(crate) fn guard(&self) -> Vec<Value> {
        let ReadyKey { route, priority, ready_time, job } = self.key;
        values![route, priority, ready_time, job, self.turn.epoch]
    }
}

/// Reads epoch, attempt, crashes and unacknowledged claims.
pub(crate) fn read_turn(row: &mut Columns) -> Try<Turn> {
    Ok(Turn {
        epoch: Epoch(row.int()?),
        attempt: row.small()?,
        crashes: row.small()?,
        unacknowledged: row.small()?,
    })
}

/// About how many bytes a job takes in a claim answer.
pub(crate) fn size_of(job: &Job) -> i64 {
    let spec = &job.spec;
    let maps = [&spec.args, &spec.user_claims];
    let entries: usize =
        maps.iter().flat_map(|map| map.iter()).map(|(key, value)| key.len() + value.len()).sum();
    i64::try_from(job.request.len() + entries + spec.traceparent.len() + spec.tracestate.len() + 512)
        .unwrap_or(i64::MAX)
}

/// Writes what jobs ask for as JSON. Neighbours that share it are written once.
#[derive(Default)]
pub(crate) struct SpecWriter(Option<(Arc<Spec>, String)>);

impl SpecWriter {
    fn write(&mut self, spec: &Arc<Spec>) -> Result<String> {
        let (_, text) = match self.0.take().filter(|(last, _)| Arc::ptr_eq(last, spec)) {
            Some(last) => self.0.insert(last),
            None => self.0.insert((Arc::clone(spec), to_json(&**spec)?)),
        };
        Ok(text.clone())
    }
}

/// Reads what jobs ask for. Neighbours that ask for the same share it.
#[derive(Default)]
pub(crate) struct SpecReader(Option<(String, Arc<Spec>)>);

impl SpecReader {
    /// Reads a column.
    pub(crate) fn read(&mut self, row: &mut Columns) -> Try<Arc<Spec>> {
        let text = row.text()?;
        let (_, spec) = match self.0.take().filter(|(last, _)| *last == text) {
            Some(last) => self.0.insert(last),
            None => {
                let spec = row.parsed(&text)?;
                self.0.insert((text, Arc::new(spec)))
            }
        };
        Ok(Arc::clone(spec))
    }
}

/// The values of a job row whose ready row stands there.
pub(crate) fn job_values(job: &Job, ready: ReadyKey, specs: &mut SpecWriter) -> Result<Vec<Value>> {
    let [kind, content_type, body] = payload_values(&job.request);
    Ok(values![
        job.id,
        job.run,
        job.run_time,
        job.create_time,
        ready.route,
        ready.priority,
        ready.ready_time,
        job.digest.to_vec(),
        kind,
        content_type,
        body,
        specs.write(&job.spec)?,
    ])
}

/// Reads the columns of a job.
pub(crate) fn read_job(row: &mut Columns, month: Month) -> Try<Job> {
    let id = JobId(row.int()?);
    let run = Run(row.small()?);
    let (run_time, create_time) = (Time(row.int()?), Time(row.int()?));
    let ready = ReadyKey {
        route: RouteId(row.int()?),
        priority: row.small()?,
        ready_time: Time(row.int()?),
        job: id,
    };
    let digest = row.bytes_16()?;
    let request = row.payload()?;
    let spec = Arc::new(row.json()?);
    Ok(Job { id, month, run, run_time, create_time, ready, spec, request, digest })
}

/// What an outcome keeps as JSON, so that a plain success keeps nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Detail {
    /// How the last attempt ended; none: completed, or there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<AttemptEnd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<JobError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cancelled: Option<Cancelled>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) status: String,
    /// The callback's job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) callback: Option<JobId>,
    /// Why the callback failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) callback_error: String,
    /// Why the notification was given up, or what its last try met.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) notify_error: String,
}

impl Detail {
    /// As JSON; nothing for a plain success.
    pub(crate) fn stored(&self) -> Result<Option<String>> {
        if *self == Detail::default() { Ok(None) } else { to_json(self).map(Some) }
    }
}

/// An outcome row.
#[derive(Clone, Debug)]
pub(crate) struct OutcomeRow {
    pub(crate) job: JobId,
    pub(crate) run: Run,
    pub(crate) turn: Turn,
    pub(crate) ending: Ending,
    /// The end was the server's decision, not its holder's word.
    pub(crate) is_taken: bool,
    pub(crate) start_time: Option<Time>,
    pub(crate) finish_time: Time,
    pub(crate) session: Option<SessionId>,
    pub(crate) worker_process: String,
    pub(crate) log_sequence: i64,
    pub(crate) result: Payload,
    pub(crate) detail: Detail,
}

impl OutcomeRow {
    /// Of a job that is cancelled while it waits.
    pub(crate) fn cancelled(job: &Job, turn: Turn, now: Time, why: Cancelled) -> OutcomeRow {
        OutcomeRow {
            job: job.id,
            run: job.run,
            turn,
            ending: Ending::Cancelled,
            is_taken: true,
            start_time: None,
            finish_time: now,
            session: None,
            worker_process: String::new(),
            log_sequence: 0,
            result: Payload::None,
            detail: Detail { cancelled: Some(why), ..Detail::default() },
        }
    }

    /// The row's values.
    pub(crate) fn values(&self) -> Result<Vec<Value>> {
        let [kind, content_type, body] = payload_values(&self.result);
        let session = self.session.map_or_else(Vec::new, |session| session.0.to_vec());
        let name = (!self.worker_process.is_empty()).then_some(self.worker_process.as_str());
        Ok(values![
            self.job,
            self.run,
            self.turn.epoch,
            self.ending.code() + if self.is_taken { TAKEN } else { 0 },
            self.turn.attempt,
            self.turn.crashes,
            self.start_time.map_or(0, |time| time.0),
            self.finish_time,
            session,
            name,
            self.log_sequence,
            kind,
            content_type,
            body,
            Time(0),
            self.detail.stored()?,
        ])
    }
}

/// Reads the columns of an outcome in a view; none if its first is NULL.
pub(crate) fn read_outcome(row: &mut Columns, run: Run) -> Try<Option<Outcome>> {
    if row.is_null() {
        row.skip(14);
        return Ok(None);
    }
    let epoch = Epoch(row.int()?);
    let ending = row.coded(Ending::from_code)?;
    let (attempt, crashes) = (row.small()?, row.small()?);
    let start = row.int()?;
    let finish_time = Time(row.int()?);
    let session = row.maybe_session()?;
    let worker_process = row.text()?;
    let log_sequence = row.int()?;
    let result = row.payload()?;
    let notify_time = row.int()?;
    let detail: Detail = row.maybe_json()?.unwrap_or_default();
    Ok(Some(Outcome {
        run,
        ending,
        turn: Turn { epoch, attempt, crashes, unacknowledged: 0 },
        start_time: (start > 0).then_some(Time(start)),
        finish_time,
        session,
        worker_process,
        result,
        error: detail.error,
        cancelled: detail.cancelled,
        status: detail.status,
        log_sequence,
        notify_time: (notify_time > 0).then_some(Time(notify_time)),
        callback: detail.callback,
        callback_error: detail.callback_error,
        notify_error: detail.notify_error,
    }))
}

/// What a waiting job waits for, by where its ready row stands.
pub(crate) fn wait_of(route: RouteId, lane: Option<RouteId>) -> Wait {
    match route {
        PARENTS => Wait::Parents,
        route if lane == Some(route) => Wait::Turn(route),
        _ => Wait::Worker,
    }
}

/// The number of a session's state.
pub(crate) fn session_code(state: SessionState) -> i64 {
    match state {
        SessionState::Live => 1,
        SessionState::Draining => 2,
        SessionState::Lost => 3,
    }
}

/// The state of a stored number.
pub(crate) fn session_state(code: i64) -> Option<SessionState> {
    [SessionState::Live, SessionState::Draining, SessionState::Lost]
        .into_iter()
        .find(|state| session_code(*state) == code)
}

/// The number of a session that is lost.
pub(crate) fn lost() -> i64 {
    session_code(SessionState::Lost)
}

/// What a session serves, as stored.
#[derive(Serialize, Deserialize)]
struct Served {
    commands: Vec<ServedCommand>,
    queues: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    targets: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    slots: i32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    sdk: String,
}

/// The values of a session row.
pub(crate) fn session_values(session: &Session) -> Result<Vec<Value>> {
    let served = Served {
        commands: session.commands.clone(),
        queues: session.queues.clone(),
        targets: session.targets.clone(),
        labels: session.labels.clone(),
        slots: session.slots,
        sdk: session.sdk.clone(),
    };
    Ok(values![
        session.id,
        session_code(session.state),
        session.name.as_str(),
        session.instance_id.as_str(),
        to_json(&served)?,
        micros(session.lease_time),
        session.create_time,
        session.expire_time,
        0_i64,
        session.server,
    ])
}

/// Reads the columns of a session.
pub(crate) fn read_session(row: &mut Columns) -> Try<Session> {
    let id = SessionId(row.bytes_16()?);
    let state = row.coded(session_state)?;
    let (name, instance_id) = (row.text()?, row.text()?);
    let served: Served = row.json()?;
    let lease_time = Duration::from_micros(row.int()?.max(0).unsigned_abs());
    let (create_time, expire_time) = (Time(row.int()?), Time(row.int()?));
    row.skip(1);
    let server = ServerId(row.int()?);
    Ok(Session {
        id,
        name,
        instance_id,
        state,
        commands: served.commands,
        queues: served.queues,
        targets: served.targets,
        labels: served.labels,
        slots: served.slots,
        sdk: served.sdk,
        lease_time,
        create_time,
        expire_time,
        server,
        completed: row.int()?,
        failed: row.int()?,
    })
}

/// The text by which a route is known once.
pub(crate) fn route_key(route: &Route) -> String {
    let work = match &route.work {
        Work::Command(command) => format!("c {command}"),
        Work::Api { target, method } => format!("a {target} {method}"),
    };
    let key = format!("{} {} {work}", route.kind.code(), route.queue);
    if key.len() <= ROUTE_KEY_BYTES_MAX {
        return key;
    }
    // A method is free text: a long one is told apart by its digest.
    let digest = crate::model::digest([key.as_bytes()]);
    let cut = (0..=ROUTE_KEY_BYTES_MAX - 40).rev().find(|at| key.is_char_boundary(*at)).unwrap_or_default();
    format!("{} {}", &key[..cut], SessionId(digest))
}

const ROUTE_KEY_BYTES_MAX: usize = 700;

/// The kind of a stored number.
pub(crate) fn route_kind(code: i64) -> Option<RouteKind> {
    [RouteKind::Plain, RouteKind::Quarantined, RouteKind::Lane].into_iter().find(|kind| kind.code() == code)
}
