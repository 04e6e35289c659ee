//! What a worker process has to tell the server, as a pure state machine: no clock of its own, no connection, no task.
//!
//! Everything that must arrive stays here until it is acknowledged: outcomes, log lines, the last checkpoint. A stream that breaks
//! takes nothing along; the next one is told everything that was not acknowledged. Messages are made when the transport can send
//! one, so what accumulates while it cannot goes in one message.

mod clock;
mod lease;
mod lines;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_proto::v1::outcome_report::Outcome;
use haulier_proto::v1::{ReportErrorCode, directive};
use prost::Message as _;
use tokio::time::Instant;

pub(crate) use clock::{Health, LeaseClock};
pub(crate) use lease::CheckpointState;
use lease::{LeaseReport, Room};
pub(crate) use lines::{Line, cut};

use crate::job::StopReason;
use crate::options::duration_read;

/// Most bytes of one message; the server takes 4 MiB.
pub(crate) const MESSAGE_BYTES_MAX: usize = 3_900_000;
/// Claim loops of a worker process: one always, the other while many jobs wait.
pub(crate) const CLAIM_LOOPS: usize = 2;
/// Most outcomes that are unacknowledged.
pub(crate) const OUTCOMES_MAX: usize = 1_000;
/// How long outcomes wait for those on their way to be acknowledged, so that many share a message. The server stores nothing
/// sooner by having them: what comes while it stores others is stored after these.
const FLIGHT_TIME: Duration = Duration::from_millis(2);
/// Most bytes of unacknowledged outcomes before no more jobs are claimed.
const OUTCOME_BYTES_MAX: usize = 64 << 20;
/// Most bytes of log lines that one job keeps.
pub(crate) const LINES_BYTES_MAX: usize = 1 << 20;
/// How long an acknowledgement may take on a stream that works.
const OVERDUE: Duration = Duration::from_secs(30);
/// How long what the server could not take now is held back.
const HOLD: Duration = Duration::from_millis(500);

/// A lease, as this process numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LeaseKey(u64);

/// What a registration gave.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    pub(crate) session_id: String,
    pub(crate) lease_time: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) log_credit_bytes: i64,
    /// When the registration was sent.
    pub(crate) at: Instant,
}

/// What an answer of the server asks of the worker process.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    /// The lease is gone: its handler is to be stopped, nothing about it is reported any more.
    LeaseLost { key: LeaseKey, reason: String },
    /// A handler is to be told to stop.
    Stop { key: LeaseKey, reason: StopReason, message: String, grace: Option<Duration> },
    /// The worker process is to drain.
    Drain { reason: String, grace: Option<Duration> },
    /// The session is over.
    SessionLost,
    /// The outcome is stored; the job is now in this state.
    Stored { key: LeaseKey, state: pb::JobState },
    /// The server refuses every outcome of this lease: it is forgotten, so that the server takes it back.
    GivenUp { key: LeaseKey, why: String },
    /// The stream is of no use: another is to be opened.
    Broken { why: String },
}

/// What the stream is to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Send this.
    Message(pb::ReportJobsRequest),
    /// Nothing until something changes, or until this time.
    Wait(Option<Instant>),
    /// End: another stream has taken over, or everything is told and the stream is to be closed.
    End,
}

/// What is to be told, and what the server knows of it.
#[derive(Debug)]
pub(crate) struct ReportState {
    lines_bytes_max: usize,
    session: Option<Session>,
    sessions: u64,
    claims: [Claims; CLAIM_LOOPS],
    stream: Option<Stream>,
    streams: u64,
    leases: HashMap<LeaseKey, LeaseReport>,
    keys: HashMap<String, LeaseKey>,
    next_key: u64,
    /// Leases with something to send, in the order in which they get their turn.
    waiting: VecDeque<LeaseKey>,
    is_closing: bool,
    /// For the test kit: a checkpoint counts as stored when it is told.
    stores_checkpoints_at_once: bool,
}

#[derive(Debug)]
struct Session {
    number: u64,
    id: String,
    clock: LeaseClock,
    interval: Duration,
    credit: i64,
    beat: i64,
    next_beat: Instant,
    is_lost: bool,
}

/// How far a claim loop is.
#[derive(Debug, Default, Clone, Copy)]
struct Claims {
    sent: i64,
    is_open: bool,
    received: i64,
    /// Highest answer that brought jobs.
    brought: i64,
    /// Highest answer that brought jobs and was told as received, on a stream that the server has accepted.
    told: i64,
}

#[derive(Debug)]
struct Stream {
    number: u64,
    credit: i64,
    is_fresh: bool,
    /// The server has accepted it: before, what is handed to it may never arrive.
    is_accepted: bool,
    /// Highest answer of each claim loop handed to it as received.
    handed: [i64; CLAIM_LOOPS],
    outcomes_first: bool,
    /// When outcomes were sent, if none was acknowledged since.
    outcomes_sent: Option<Instant>,
}

impl Stream {
    /// Outcomes are on their way: until when others wait for them.
    fn held_until(&self, now: Instant) -> Option<Instant> {
        self.outcomes_sent.map(|sent| sent + FLIGHT_TIME).filter(|until| *until > now)
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            number: 0,
            credit: 0,
            is_fresh: true,
            is_accepted: false,
            handed: [0; CLAIM_LOOPS],
            outcomes_first: false,
            outcomes_sent: None,
        }
    }
}

impl Default for ReportState {
    fn default() -> Self {
        Self::new(LINES_BYTES_MAX)
    }
}

impl ReportState {
    pub(crate) fn new(lines_bytes_max: usize) -> Self {
        Self {
            lines_bytes_max,
            session: None,
            sessions: 0,
            claims: Default::default(),
            stream: None,
            streams: 0,
            leases: HashMap::new(),
            keys: HashMap::new(),
            next_key: 0,
            waiting: VecDeque::new(),
            is_closing: false,
            stores_checkpoints_at_once: false,
        }
    }

    /// For the test kit, where no server answers.
    pub(crate) fn store_checkpoints_at_once(&mut self) {
        self.stores_checkpoints_at_once = true;
    }

    // The session.

    pub(crate) fn begin_session(&mut self, registered: &Registered) {
        self.sessions += 1;
        self.claims = Default::default();
        self.stream = None;
        self.is_closing = false;
        self.session = Some(Session {
            number: self.sessions,
            id: registered.session_id.clone(),
            clock: LeaseClock::new(registered.lease_time, registered.at),
            interval: registered.heartbeat_interval,
            credit: registered.log_credit_bytes,
            beat: 0,
            next_beat: registered.at,
            is_lost: false,
        });
    }

    /// The session is over: what has no outcome yet is dropped, outcomes are still told.
    pub(crate) fn lose_session(&mut self) -> Vec<LeaseKey> {
        if let Some(session) = &mut self.session {
            session.is_lost = true;
        }
        self.claims.iter_mut().for_each(|claims| claims.is_open = false);
        let dropped: Vec<LeaseKey> =
            self.leases.iter().filter(|(_, lease)| lease.outcome().is_none()).map(|(key, _)| *key).collect();
        for key in &dropped {
            self.forget(*key);
        }
        dropped
    }

    pub(crate) fn health(&self, now: Instant) -> Health {
        self.session.as_ref().map_or(Health::Over, |session| session.clock.health(now))
    }

    pub(crate) fn next_health_change(&self, now: Instant) -> Option<Instant> {
        self.session.as_ref().and_then(|session| session.clock.next_change(now))
    }

    /// Whether every outcome is acknowledged.
    pub(crate) fn is_flushed(&self) -> bool {
        self.leases.values().all(|lease| lease.outcome().is_none())
    }

    /// The stream ends when everything is told.
    pub(crate) fn close(&mut self) {
        self.is_closing = true;
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing
    }

    // Claims.

    /// A claim of a loop is about to be sent.
    pub(crate) fn claim_sent(&mut self, claim_loop: usize, sequence: i64) {
        self.claims[claim_loop].sent = sequence;
        self.claims[claim_loop].is_open = true;
    }

    /// No answer will be waited for any more: what the server leased to it goes back with the next heartbeat.
    pub(crate) fn claims_closed(&mut self, now: Instant) {
        let was_open = self.claims.iter().any(|claims| claims.is_open);
        self.claims.iter_mut().for_each(|claims| claims.is_open = false);
        if was_open && let Some(session) = &mut self.session {
            session.next_beat = now;
        }
    }

    /// An answer arrived; from now on its leases are listed.
    pub(crate) fn claim_answered(
        &mut self,
        claim_loop: usize,
        sequence: i64,
        jobs: &[pb::LeasedJob],
    ) -> Vec<LeaseKey> {
        let claims = &mut self.claims[claim_loop];
        claims.received = sequence;
        claims.is_open = false;
        if !jobs.is_empty() {
            claims.brought = sequence;
        }
        jobs.iter().map(|job| self.hold(job)).collect()
    }

    /// Highest answer of a loop that brought jobs.
    pub(crate) fn ack_sequence(&self, claim_loop: usize) -> i64 {
        self.claims[claim_loop].brought
    }

    /// Up to which answer of each loop a stream was told that it arrived.
    pub(crate) fn told_sequences(&self) -> [i64; CLAIM_LOOPS] {
        self.claims.map(|claims| claims.told)
    }

    /// How many jobs may be asked for with so many free slots.
    pub(crate) fn claimable(&self, free_slots: usize) -> usize {
        let unacknowledged = self.leases.values().filter_map(|lease| lease.outcome());
        let (count, bytes) =
            unacknowledged.fold((0, 0), |(count, bytes), next| (count + 1, bytes + next.bytes()));
        if bytes > OUTCOME_BYTES_MAX { 0 } else { free_slots.min(OUTCOMES_MAX.saturating_sub(count)) }
    }

    pub(crate) fn hold(&mut self, job: &pb::LeasedJob) -> LeaseKey {
        let key = LeaseKey(self.next_key);
        self.next_key += 1;
        let lease = LeaseReport::new(job, self.sessions, self.lines_bytes_max);
        self.keys.insert(job.lease.clone(), key);
        self.leases.insert(key, lease);
        key
    }

    // What handlers tell.

    /// Keeps a log line. False: there is no room now.
    pub(crate) fn log(&mut self, key: LeaseKey, line: Line) -> bool {
        self.change(key, |lease| lease.log(line)).unwrap_or(true)
    }

    /// Keeps a log line, or leaves it out when there is no room.
    pub(crate) fn log_or_leave_out(&mut self, key: LeaseKey, line: Line) {
        self.change(key, |lease| lease.log_or_leave_out(line));
    }

    pub(crate) fn progress(&mut self, key: LeaseKey, progress: Option<f64>, status: Option<String>) {
        self.change(key, |lease| lease.progress(progress, status));
    }

    /// Takes a checkpoint over the one before; gives its sequence.
    pub(crate) fn checkpoint(&mut self, key: LeaseKey, payload: Option<pb::Payload>) -> Option<i64> {
        self.change(key, |lease| lease.checkpoint(payload))
    }

    pub(crate) fn checkpoint_state(&self, key: LeaseKey, sequence: i64) -> CheckpointState {
        match self.leases.get(&key) {
            Some(_) if self.stores_checkpoints_at_once => CheckpointState::Stored,
            Some(lease) => lease.checkpoint_state(sequence),
            None => CheckpointState::LeaseLost,
        }
    }

    /// The attempt has ended.
    pub(crate) fn finish(&mut self, key: LeaseKey, outcome: Outcome) {
        self.change(key, |lease| lease.finish(outcome));
    }

    /// Whether outcomes wait for those that are on their way. The stream looks again by itself when they do no longer.
    pub(crate) fn holds_outcomes(&self, now: Instant) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.held_until(now).is_some())
    }

    /// Whether the lease is still held, as far as this process knows.
    pub(crate) fn holds(&self, key: LeaseKey) -> bool {
        self.leases.contains_key(&key)
    }

    pub(crate) fn lease(&self, key: LeaseKey) -> Option<&LeaseReport> {
        self.leases.get(&key)
    }

    fn change<T>(&mut self, key: LeaseKey, change: impl FnOnce(&mut LeaseReport) -> T) -> Option<T> {
        let lease = self.leases.get_mut(&key)?;
        let result = change(lease);
        if lease.needs_turn() {
            self.waiting.push_back(key);
        }
        Some(result)
    }

    fn forget(&mut self, key: LeaseKey) {
        if let Some(lease) = self.leases.remove(&key) {
            self.keys.remove(lease.token());
        }
    }

    // The stream.

    /// A new stream takes over; gives its number.
    pub(crate) fn open_stream(&mut self) -> u64 {
        self.streams += 1;
        let credit = self.session.as_ref().map_or(0, |session| session.credit);
        self.stream = Some(Stream { number: self.streams, credit, ..Stream::default() });
        let keys: Vec<LeaseKey> = self.leases.keys().copied().collect();
        for key in keys {
            self.change(key, LeaseReport::rewind);
        }
        self.streams
    }

    /// The server has accepted the stream.
    pub(crate) fn on_accepted(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.is_accepted = true;
            for (claims, handed) in self.claims.iter_mut().zip(stream.handed) {
                claims.told = claims.told.max(handed);
            }
        }
    }

    /// The next thing for a stream to do.
    pub(crate) fn next_message(&mut self, stream: u64, now: Instant) -> Next {
        if self.stream.as_ref().is_none_or(|open| open.number != stream) {
            return Next::End;
        }
        let mut message = pb::ReportJobsRequest::default();
        self.fill_frame(&mut message, now);
        if message.heartbeat.is_some() {
            self.resend_stale(now);
        }
        let was_for_outcomes = self.stream.as_ref().is_some_and(|open| open.outcomes_first);
        let message = self.fill_reports(Room::new(message, MESSAGE_BYTES_MAX), now);
        if message != pb::ReportJobsRequest::default() {
            return Next::Message(message);
        }
        if was_for_outcomes {
            return self.next_message(stream, now);
        }
        if self.is_closing && self.waiting.is_empty() {
            return Next::End;
        }
        Next::Wait(self.next_turn(now))
    }

    /// Session, heartbeat and what arrived.
    fn fill_frame(&mut self, message: &mut pb::ReportJobsRequest, now: Instant) {
        let (Some(session), Some(stream)) = (&mut self.session, &mut self.stream) else { return };
        let is_fresh = std::mem::take(&mut stream.is_fresh);
        if is_fresh {
            message.session_id.clone_from(&session.id);
        }
        for ((number, claims), handed) in (0..).zip(&mut self.claims).zip(&mut stream.handed) {
            if claims.brought > *handed {
                message.received.push(pb::ReceivedReport { r#loop: number, sequence: claims.brought });
                *handed = claims.brought;
            }
            if stream.is_accepted {
                claims.told = claims.told.max(*handed);
            }
        }
        if session.is_lost || !(is_fresh || now >= session.next_beat) {
            return;
        }
        session.beat += 1;
        session.next_beat = now + session.interval;
        session.clock.on_sent(session.beat, now);
        let held = self.leases.values().filter(|lease| lease.session() == session.number);
        message.heartbeat = Some(pb::Heartbeat {
            beat: session.beat,
            loops: (0..).zip(&self.claims).filter_map(|(number, claims)| claims.state(number)).collect(),
            leases: held.map(|lease| lease.token().to_owned()).collect(),
        });
    }

    /// Sends outcomes again whose acknowledgement is long overdue; a repeat finds its own outcome.
    fn resend_stale(&mut self, now: Instant) {
        let stale = |lease: &LeaseReport| lease.outcome_sent_at().is_some_and(|sent| now >= sent + OVERDUE);
        let stale: Vec<LeaseKey> =
            self.leases.iter().filter(|(_, lease)| stale(lease)).map(|(key, _)| *key).collect();
        for key in stale {
            self.change(key, LeaseReport::resend_outcome);
        }
    }

    /// What leases have to tell, each in its turn.
    fn fill_reports(&mut self, mut room: Room, now: Instant) -> pb::ReportJobsRequest {
        let Some(stream) = &mut self.stream else { return room.message };
        room.credit = stream.credit;
        room.is_credit_whole = self.session.as_ref().is_some_and(|session| stream.credit >= session.credit);
        room.outcomes_left = if self.waiting.is_empty() || stream.held_until(now).is_some() {
            0
        } else {
            OUTCOMES_MAX - self.leases.values().filter(|lease| lease.outcome_sent_at().is_some()).count()
        };
        room.outcomes_first = stream.outcomes_first;
        let mut later = VecDeque::new();
        while let Some(key) = self.waiting.pop_front() {
            let Some(lease) = self.leases.get_mut(&key) else { continue };
            if lease.fill(&mut room, now) {
                later.push_back(key);
            }
        }
        self.waiting = later;
        stream.credit = room.credit;
        stream.outcomes_first = room.outcome_waits;
        if !room.message.outcomes.is_empty() {
            // What found no room in this message is not held back: it goes with the next one at once.
            stream.outcomes_sent = (!room.outcome_waits).then_some(now);
        }
        room.message
    }

    /// When there is something to send without anything changing.
    fn next_turn(&self, now: Instant) -> Option<Instant> {
        let beat = self.session.as_ref().filter(|session| !session.is_lost).map(|session| session.next_beat);
        let waiting = self.waiting.iter().filter_map(|key| self.leases.get(key)?.next_turn(now));
        let held = self.stream.as_ref().and_then(|stream| stream.held_until(now));
        waiting.chain(beat).chain(held).min()
    }

    /// Takes an answer of the server.
    pub(crate) fn on_response(&mut self, response: pb::ReportJobsResponse, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        if let (Some(ack), Some(session)) = (response.heartbeat, &mut self.session) {
            session.clock.on_acknowledged(ack.beat, duration_read(ack.lease_time));
        }
        if let Some(stream) = &mut self.stream {
            stream.credit = stream.credit.saturating_add(response.log_credit_bytes.max(0));
            if !response.acks.is_empty() {
                stream.outcomes_sent = None;
            }
        }
        for ack in response.acks {
            events.extend(self.on_ack(ack, now));
        }
        for directive in response.directives {
            events.extend(self.on_directive(directive));
        }
        for error in response.errors {
            events.push(match error.code() {
                ReportErrorCode::SessionLost => Event::SessionLost,
                code => Event::Broken { why: format!("{code:?}: {} {}", error.field, error.message) },
            });
        }
        events
    }

    fn on_ack(&mut self, ack: pb::ReportAck, now: Instant) -> Option<Event> {
        let key = *self.keys.get(&ack.lease)?;
        let is_gap = ack.error.as_ref().is_some_and(|error| error.code() == ReportErrorCode::LogGap);
        let lease = self.leases.get_mut(&key)?;
        if is_gap {
            lease.on_gap(ack.log_sequence);
        } else {
            lease.on_stored(ack.log_sequence, ack.checkpoint_sequence);
        }
        if ack.outcome_stored {
            self.forget(key);
            return Some(Event::Stored { key, state: ack.state() });
        }
        let event = ack.error.and_then(|error| self.on_refusal(key, &error, now));
        self.change(key, |_| ());
        event
    }

    fn on_refusal(&mut self, key: LeaseKey, error: &pb::ReportError, now: Instant) -> Option<Event> {
        let lease = self.leases.get_mut(&key)?;
        match error.code() {
            ReportErrorCode::LeaseLost => return Some(self.lose(key, error.message.clone())),
            ReportErrorCode::SessionLost => return Some(Event::SessionLost),
            ReportErrorCode::LogGap => {}
            ReportErrorCode::Unavailable | ReportErrorCode::ResourceExhausted => lease.hold_back(now + HOLD),
            ReportErrorCode::Invalid | ReportErrorCode::Unspecified => {
                if !lease.on_invalid(&error.field, &error.message) {
                    self.forget(key);
                    return Some(Event::GivenUp { key, why: error.message.clone() });
                }
            }
        }
        None
    }

    fn on_directive(&mut self, given: pb::Directive) -> Option<Event> {
        match given.kind? {
            directive::Kind::LeaseLost(lost) => {
                let key = *self.keys.get(&lost.lease)?;
                Some(self.lose(key, lost.reason))
            }
            directive::Kind::Cancel(cancel) => {
                let key = *self.keys.get(&cancel.lease)?;
                let reason = match cancel.kind() {
                    pb::CancelKind::Timeout => StopReason::Timeout,
                    pb::CancelKind::Client | pb::CancelKind::Unspecified => StopReason::Client,
                };
                Some(Event::Stop { key, reason, message: cancel.reason, grace: duration_read(cancel.grace) })
            }
            directive::Kind::Drain(drain) => {
                Some(Event::Drain { reason: drain.reason, grace: duration_read(drain.grace) })
            }
        }
    }

    fn lose(&mut self, key: LeaseKey, reason: String) -> Event {
        self.forget(key);
        Event::LeaseLost { key, reason }
    }
}

impl Claims {
    fn state(&self, number: i32) -> Option<pb::LoopState> {
        let Self { sent, is_open, received, .. } = *self;
        (sent > 0).then_some(pb::LoopState { r#loop: number, received, sent, sent_open: is_open })
    }
}

/// Bytes of an outcome as it travels, with the frame around it.
pub(crate) fn outcome_bytes(outcome: &Outcome) -> usize {
    let report = pb::OutcomeReport { outcome: Some(outcome.clone()), ..Default::default() };
    report.encoded_len() + 160
}

#[cfg(test)]
mod tests;
