//! The whole system: store, worker process, and the messages between them.
//!
//! Servers have no state of their own here. A claim on its way (`Call`) may be handled arbitrarily late,
//! which is a frozen or second server; a message that is never handled is a lost one; a client that goes
//! on while an older call is still about makes repeats and reordering.

use std::collections::VecDeque;

use stateright::{Model, Property};

use super::settle;
use super::store::{Answer, Blame, Ending, Inventory, Standing, Store, Token, Verdict, bit};
use super::worker::{Listing, Phase, Told, Worker};

/// The rules of the protocol that a mutant may go without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    OutcomeFence,
    HistoryKey,
    /// At the arrival of a claim.
    LoopSequence,
    /// In the transaction that leases.
    LoopSequenceAgain,
    ClaimTakesReadyRow,
    OnlyAboveAcknowledged,
    AcknowledgesExactly,
    InventoryJudges,
    JudgesOnlyKnownClaims,
    JudgesBelowSent,
    JudgesGivenUpCall,
    OpenCallIsNotJudged,
    ListsUnacknowledgedOutcomes,
    BeatOrder,
    EndedSessionEndsLoops,
    RefusedHandoffIsReady,
    CrashNeedsAcknowledgement,
    ThirdSilentReapIsCrash,
    FailureSpendsAttempt,
    AnswerRaisesSequence,
}

/// How a loop goes on after a heartbeat said that its call, still unanswered, is no longer open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resumption {
    /// With the next sequence: what was given up stays given up.
    NextSequence,
    /// With the same, once the server acknowledged a heartbeat that calls it open.
    AfterAcknowledgedBeat,
    /// With the same, at once.
    AtOnce,
}

/// How much of everything may happen: what keeps the state space finite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) jobs: u8,
    pub(crate) sessions: u8,
    pub(crate) sequences: u8,
    pub(crate) calls: u8,
    pub(crate) beats: u8,
    pub(crate) breaks: u8,
    pub(crate) repeats: u8,
    pub(crate) crashes: u8,
    pub(crate) time_outs: u8,
    pub(crate) cancels: u8,
    pub(crate) requeues: u8,
    pub(crate) retry_limit: u8,
    pub(crate) crash_limit: u8,
    pub(crate) endings: &'static [Ending],
}

#[derive(Clone, Debug)]
pub(crate) struct Protocol {
    pub(crate) scope: Scope,
    pub(crate) resumption: Resumption,
    pub(crate) without: &'static [Guard],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Stage {
    Sent,
    Waiting,
    Answered(Answer),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Call {
    /// Does the client still listen for the answer?
    pub(crate) open: bool,
    pub(crate) session: u8,
    pub(crate) sequence: u8,
    pub(crate) acknowledged: u8,
    pub(crate) stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    Received { session: u8, claim: u8 },
    Outcome(Token, Ending),
    Beat(Inventory),
}

/// What a correct protocol never does; the first one ends the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Breach {
    RevokedWrite,
    LiveLeaseTaken,
    RanTwice,
    CrashInvented,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Used {
    pub(crate) calls: u8,
    pub(crate) breaks: u8,
    pub(crate) repeats: u8,
    pub(crate) crashes: u8,
    pub(crate) time_outs: u8,
    pub(crate) cancels: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) worker: Worker,
    /// The open call, if any, is the last.
    pub(crate) calls: Vec<Call>,
    /// The worker's ReportJobs stream is the last; older ones broke but may still be read by a server.
    pub(crate) streams: Vec<VecDeque<Message>>,
    pub(crate) used: Used,
    pub(crate) breach: Option<Breach>,
}

/// What becomes of a message at the head of a stream. An acknowledgement that comes late is one that was
/// lost and is then got by the next heartbeat or a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Acknowledged,
    AcknowledgementLost,
    /// The server runs the transaction again because it does not know whether it was committed.
    Repeated,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Enqueue(u8),
    HandOff { call: usize, job: u8 },
    SendClaim,
    GiveUpCall,
    Arrive(usize),
    Claim { call: usize, jobs: Vec<u8> },
    EndPoll(usize),
    ReceiveAnswer,
    Finish(Token, Ending),
    Beat(BeatKind),
    BreakStream,
    SendOutcomesAgain,
    Crash,
    Register,
    Process { stream: usize, delivery: Delivery },
    LoseSession(u8),
    Reap(u8),
    TimeOut(u8),
    Cancel(u8),
    ForceCancel(u8),
    Requeue(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BeatKind {
    Plain,
    /// Says that the call is open again, though it is not sent yet.
    Reopening,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            store: Store::new(&self.scope),
            worker: Worker::fresh(),
            calls: Vec::new(),
            streams: vec![VecDeque::new()],
            used: Used::default(),
            breach: None,
        };
        self.apply(&mut state, &Action::Register);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // After a forged write the history's key still has to hold.
        if state.breach.is_some_and(|breach| breach != Breach::RevokedWrite) {
            return;
        }
        self.job_actions(state, actions);
        self.call_actions(state, actions);
        self.worker_actions(state, actions);
        self.stream_actions(state, actions);
        self.reaper_actions(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.apply(&mut next, &action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        super::properties()
    }
}

impl Protocol {
    pub(crate) fn has(&self, guard: Guard) -> bool {
        !self.without.contains(&guard)
    }

    fn job_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let waiting = |(_, call): &(usize, &Call)| call.stage == Stage::Waiting;
        for (job, row) in (0u8..).zip(&state.store.jobs) {
            // Jobs are alike: the second comes after the first.
            if !row.enqueued && (job == 0 || state.store.jobs[usize::from(job) - 1].enqueued) {
                actions.push(Action::Enqueue(job));
                let handed = state.calls.iter().enumerate().filter(waiting);
                actions.extend(handed.map(|(call, _)| Action::HandOff { call, job }));
            }
            if !row.enqueued {
                continue;
            }
            if state.used.cancels < self.scope.cancels && !row.is_ended() && !row.cancel_asked {
                actions.push(Action::Cancel(job));
            }
            if row.run < self.scope.requeues && row.is_ended() {
                actions.push(Action::Requeue(job));
            }
        }
    }

    fn call_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, call) in state.calls.iter().enumerate() {
            match &call.stage {
                Stage::Sent => actions.push(Action::Arrive(index)),
                Stage::Answered(_) => actions.push(Action::ReceiveAnswer),
                Stage::Waiting => {
                    actions.push(Action::EndPoll(index));
                    let ready: Vec<u8> = settle::ready_jobs(state);
                    if ready.len() > 1 {
                        actions.push(Action::Claim { call: index, jobs: ready.clone() });
                    }
                    let one = |job| Action::Claim { call: index, jobs: vec![job] };
                    actions.extend(ready.into_iter().map(one));
                }
            }
        }
    }

    fn worker_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let worker = &state.worker;
        for held in worker.held.iter().filter(|held| held.phase == Phase::Running) {
            let row = &state.store.jobs[usize::from(held.token.job)];
            // Only who was told of a cancel ends so; that the mark stands is close enough.
            let may = |ending: &&Ending| **ending != Ending::Cancelled || row.cancel_asked;
            let endings = self.scope.endings.iter().filter(may);
            actions.extend(endings.map(|&ending| Action::Finish(held.token, ending)));
        }
        if worker.has_unsent() {
            actions.push(Action::SendOutcomesAgain);
        }
        if state.used.breaks < self.scope.breaks && !state.stream().is_empty() {
            actions.push(Action::BreakStream);
        }
        let Some(session) = worker.session else {
            actions.push(Action::Register);
            return;
        };
        if state.used.crashes < self.scope.crashes && session + 1 < self.scope.sessions {
            actions.push(Action::Crash);
        }
        if worker.beat < self.scope.beats {
            actions.push(Action::Beat(BeatKind::Plain));
            if worker.claims.told == Told::Closed && self.resumption == Resumption::AfterAcknowledgedBeat {
                actions.push(Action::Beat(BeatKind::Reopening));
            }
        }
        self.claim_actions(state, actions);
    }

    fn claim_actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.open_call().is_some() {
            actions.push(Action::GiveUpCall);
            return;
        }
        let next = self.next_sequence(&state.worker);
        if next.is_some_and(|next| next <= self.scope.sequences) && state.used.calls < self.scope.calls {
            actions.push(Action::SendClaim);
        }
    }

    /// The sequence of the next claim; none while the loop waits for a heartbeat's acknowledgement.
    pub(crate) fn next_sequence(&self, worker: &Worker) -> Option<u8> {
        let claims = &worker.claims;
        if claims.sent == claims.received {
            return Some(if self.has(Guard::AnswerRaisesSequence) {
                claims.sent + 1
            } else {
                claims.sent.max(1)
            });
        }
        match (claims.told, self.resumption) {
            (Told::Nothing, _) | (_, Resumption::AtOnce) => Some(claims.sent),
            (_, Resumption::NextSequence) => Some(claims.sent + 1),
            (_, Resumption::AfterAcknowledgedBeat) => None,
        }
    }

    fn stream_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let current = state.streams.len() - 1;
        for (stream, messages) in
            state.streams.iter().enumerate().filter(|(_, messages)| !messages.is_empty())
        {
            actions.push(Action::Process { stream, delivery: Delivery::AcknowledgementLost });
            let answers = !matches!(messages.front(), Some(Message::Received { .. }));
            if stream == current && answers {
                actions.push(Action::Process { stream, delivery: Delivery::Acknowledged });
            }
            if state.used.repeats < self.scope.repeats && answers {
                actions.push(Action::Process { stream, delivery: Delivery::Repeated });
            }
        }
    }

    fn reaper_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, session) in (0u8..).zip(&state.store.sessions) {
            if session.standing == Standing::Live && index + 1 < self.scope.sessions {
                actions.push(Action::LoseSession(index));
            }
        }
        for (job, row) in (0u8..).zip(&state.store.jobs) {
            if state.store.reapable(job) {
                actions.push(Action::Reap(job));
            }
            if !row.leases.is_empty() && state.used.time_outs < self.scope.time_outs {
                actions.push(Action::TimeOut(job));
            }
            if !row.leases.is_empty() && row.cancel_asked {
                actions.push(Action::ForceCancel(job));
            }
        }
    }

    pub(crate) fn apply(&self, state: &mut State, action: &Action) {
        match action {
            Action::Enqueue(job) => state.store.enqueue(*job),
            Action::HandOff { call, job } => {
                let answer = state.store.hand_off(self, &state.calls[*call], *job);
                state.answer(*call, answer);
            }
            Action::SendClaim => self.send_claim(state),
            Action::GiveUpCall => state.close_call(),
            Action::Arrive(call) => self.arrive(state, *call),
            Action::Claim { call, jobs } => {
                let answer = state.store.claim(self, &state.calls[*call], jobs);
                state.answer(*call, answer);
            }
            Action::EndPoll(call) => state.answer(*call, Answer::Leases(Vec::new())),
            Action::ReceiveAnswer => receive_answer(state),
            Action::Finish(token, ending) => {
                state.worker.end(*token, *ending);
                state.send(Message::Outcome(*token, *ending));
            }
            Action::Beat(kind) => self.beat(state, *kind),
            Action::BreakStream => {
                state.used.breaks += 1;
                state.new_stream();
                state.worker.doubt_outcomes();
            }
            Action::SendOutcomesAgain => {
                for (token, ending) in state.worker.take_unsent() {
                    state.send(Message::Outcome(token, ending));
                }
            }
            Action::Crash => {
                state.used.crashes += 1;
                state.worker = Worker::fresh();
                state.close_call();
                state.new_stream();
            }
            Action::Register => {
                let session = state.store.register();
                state.worker.adopt(session);
            }
            Action::Process { stream, delivery } => self.process(state, *stream, *delivery),
            Action::LoseSession(session) => state.store.lose_session(self, *session),
            Action::Reap(job) => self.reap(state, *job),
            Action::TimeOut(job) | Action::Cancel(job) | Action::ForceCancel(job) | Action::Requeue(job) => {
                self.intervene(state, action, *job);
            }
        }
        self.tidy(state);
    }

    /// What comes from neither the worker nor a message of its: deadlines and operators.
    fn intervene(&self, state: &mut State, action: &Action, job: u8) {
        match action {
            Action::TimeOut(_) => {
                state.used.time_outs += 1;
                state.store.time_out(self, job);
            }
            Action::Cancel(_) => {
                state.used.cancels += 1;
                state.store.cancel(self, job);
            }
            Action::ForceCancel(_) => state.store.force_cancel(self, job),
            _ => state.store.requeue(self, job),
        }
    }

    fn send_claim(&self, state: &mut State) {
        let Some(session) = state.worker.session else { return };
        let Some(sequence) = self.next_sequence(&state.worker) else { return };
        state.used.calls += 1;
        let claims = &mut state.worker.claims;
        claims.sent = sequence;
        claims.told = Told::Nothing;
        let acknowledged = claims.acknowledged;
        state.calls.push(Call { open: true, session, sequence, acknowledged, stage: Stage::Sent });
    }

    fn arrive(&self, state: &mut State, call: usize) {
        let (answer, taken) = state.store.arrive(self, &state.calls[call]);
        state.watch_taken(&taken);
        match answer {
            Some(answer) => state.answer(call, answer),
            None => state.calls[call].stage = Stage::Waiting,
        }
    }

    fn beat(&self, state: &mut State, kind: BeatKind) {
        let Some(session) = state.worker.session else { return };
        let calling = state.open_call().is_some();
        let worker = &mut state.worker;
        worker.beat += 1;
        let unanswered = worker.claims.sent > worker.claims.received;
        if kind == BeatKind::Reopening {
            worker.claims.told = Told::OpenAgain(worker.beat);
        } else if unanswered && !calling && worker.claims.told == Told::Nothing {
            worker.claims.told = Told::Closed;
        }
        let open = calling || matches!(worker.claims.told, Told::OpenAgain(_));
        let all = self.has(Guard::ListsUnacknowledgedOutcomes);
        let listing = if all { Listing::WithOutcomes } else { Listing::RunningOnly };
        let inventory = worker.inventory(session, open, listing);
        state.send(Message::Beat(inventory));
    }

    fn reap(&self, state: &mut State, job: u8) {
        let blame = state.store.reap(self, job);
        let started = state.store.jobs[usize::from(job)].started;
        if matches!(blame, Blame::Crash(token) if started & bit(token.epoch) == 0) {
            state.breach = Some(Breach::CrashInvented);
        }
    }

    fn process(&self, state: &mut State, stream: usize, delivery: Delivery) {
        let Some(message) = state.streams[stream].pop_front() else { return };
        let heard = delivery == Delivery::Acknowledged;
        match &message {
            Message::Received { session, claim } => state.store.received(*session, *claim),
            Message::Outcome(token, ending) => {
                let verdict = state.store.outcome(self, *token, *ending);
                if verdict == Verdict::Forged {
                    state.breach = Some(Breach::RevokedWrite);
                }
                if heard {
                    state.worker.forget(*token);
                }
            }
            Message::Beat(inventory) => self.process_beat(state, inventory, heard),
        }
        if delivery == Delivery::Repeated {
            state.used.repeats += 1;
            state.streams[stream].push_front(message);
        }
    }

    fn process_beat(&self, state: &mut State, inventory: &Inventory, heard: bool) {
        let Some(taken) = state.store.beat(self, inventory) else {
            if heard && state.worker.session == Some(inventory.session) {
                state.worker.lose_session();
                state.close_call();
            }
            return;
        };
        state.watch_taken(&taken);
        if !heard {
            return;
        }
        for token in &inventory.listed {
            // Stored: its outcome is acknowledged. Neither leased nor stored: LEASE_LOST.
            if !state.store.is_leased(*token) {
                state.worker.forget(*token);
            }
        }
        let told = &mut state.worker.claims.told;
        if matches!(*told, Told::OpenAgain(beat) if beat <= inventory.beat) {
            *told = Told::Nothing;
        }
    }

    /// Forgets what can no longer change anything, so that states that differ in nothing else are one.
    fn tidy(&self, state: &mut State) {
        let guarded = self.has(Guard::LoopSequence) && self.has(Guard::LoopSequenceAgain);
        let sessions = &state.store.sessions;
        state.calls.retain(|call| {
            let spent = sessions[usize::from(call.session)].sequence >= call.sequence && guarded;
            call.open || !(spent || matches!(call.stage, Stage::Answered(_)))
        });
        state.calls.sort_unstable();
        let current = state.streams.len() - 1;
        let mut index = 0;
        state.streams.retain(|messages| {
            index += 1;
            index > current || !messages.is_empty()
        });
    }
}

fn receive_answer(state: &mut State) {
    let Some(call) = state.calls.pop_if(|call| call.open) else { return };
    let tokens = match call.stage {
        Stage::Answered(Answer::Leases(tokens)) => tokens,
        // To its own loop a client never sends a lower sequence: STALE can only mean that the loop has ended.
        _ => {
            state.worker.lose_session();
            return;
        }
    };
    let claims = &mut state.worker.claims;
    claims.received = call.sequence;
    if tokens.is_empty() {
        return;
    }
    claims.acknowledged = call.sequence;
    state.send(Message::Received { session: call.session, claim: call.sequence });
    for token in tokens {
        let row = state.store.job(token.job);
        if row.started & bit(token.epoch) != 0 {
            state.breach = Some(Breach::RanTwice);
        }
        row.started |= bit(token.epoch);
        state.worker.start(token);
    }
}

impl State {
    pub(crate) fn open_call(&self) -> Option<&Call> {
        self.calls.last().filter(|call| call.open)
    }

    pub(crate) fn stream(&self) -> &VecDeque<Message> {
        &self.streams[self.streams.len() - 1]
    }

    fn send(&mut self, message: Message) {
        let current = self.streams.len() - 1;
        self.streams[current].push_back(message);
    }

    fn new_stream(&mut self) {
        self.streams.push(VecDeque::new());
    }

    fn close_call(&mut self) {
        for call in &mut self.calls {
            call.open = false;
        }
    }

    fn answer(&mut self, call: usize, answer: Answer) {
        self.calls[call].stage = Stage::Answered(answer);
    }

    /// A lease given back while the worker has it, or while the answer that brings it can still be heard.
    fn watch_taken(&mut self, taken: &[Token]) {
        let coming = match self.open_call().map(|call| &call.stage) {
            Some(Stage::Answered(Answer::Leases(tokens))) => tokens.as_slice(),
            _ => &[],
        };
        if taken.iter().any(|token| self.worker.holds(*token) || coming.contains(token)) {
            self.breach = Some(Breach::LiveLeaseTaken);
        }
    }
}
