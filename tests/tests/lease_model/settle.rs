//! What happens from a state on when no more faults come: the ground of the liveness properties.
//!
//! stateright's `eventually` misses counterexamples where paths join, so each state is run to its end
//! along one fair schedule instead. Messages of broken streams and given-up calls never arrive here;
//! states in which they did are states of their own.

use super::model::{Action, BeatKind, Call, Delivery, Protocol, Stage, State};
use super::store::{Answer, Ending, Lease, Standing, Token};
use super::worker::Phase;

/// With its messages delivered and three heartbeats, and without one more claim (a full worker makes
/// none), no lease is left that the worker does not know of.
pub(crate) fn leaves_nothing_stranded(protocol: &Protocol, state: &State) -> bool {
    let on_its_way = |token: Token| match state.open_call().map(|call| &call.stage) {
        Some(Stage::Answered(Answer::Leases(tokens))) => tokens.contains(&token),
        _ => false,
    };
    let in_doubt = |(token, lease): (Token, &Lease)| {
        let held = state.worker.session == Some(lease.session) && state.worker.holds(token);
        !held && !on_its_way(token)
    };
    if !state.store.leases().any(in_doubt) {
        return true;
    }
    let mut state = state.clone();
    quiet(protocol, &mut state);
    state.store.leases().all(|(token, _)| state.worker.holds(token))
}

/// From here every job comes to its end.
pub(crate) fn finishes(protocol: &Protocol, state: &State) -> bool {
    // Elsewhere the path to such a state begins with messages that only have to arrive.
    if state.open_call().is_some() || !state.stream().is_empty() {
        return true;
    }
    let mut state = state.clone();
    for _ in 0..8 {
        quiet(protocol, &mut state);
        if state.store.jobs.iter().all(|job| job.is_ended() || !job.enqueued) {
            return true;
        }
        work(protocol, &mut state);
    }
    false
}

fn quiet(protocol: &Protocol, state: &mut State) {
    state.calls.retain(|call| call.open);
    state.streams.drain(..state.streams.len() - 1);
    for _ in 0..3 {
        run(protocol, state);
        protocol.apply(state, &Action::Beat(BeatKind::Plain));
        run(protocol, state);
    }
}

fn run(protocol: &Protocol, state: &mut State) {
    while let Some(action) = next_delivery(state) {
        protocol.apply(state, &action);
    }
}

fn next_delivery(state: &State) -> Option<Action> {
    let Some(session) = state.worker.session else { return Some(Action::Register) };
    if state.worker.has_unsent() {
        return Some(Action::SendOutcomesAgain);
    }
    if !state.stream().is_empty() {
        let stream = state.streams.len() - 1;
        return Some(Action::Process { stream, delivery: Delivery::Acknowledged });
    }
    let left = |other: &u8| *other != session && state.store.session(*other).standing == Standing::Live;
    if let Some(other) = (0..session).find(left) {
        return Some(Action::LoseSession(other));
    }
    let reapable = (0u8..).zip(&state.store.jobs).map(|(job, _)| job).find(|job| state.store.reapable(*job));
    if let Some(job) = reapable {
        return Some(Action::Reap(job));
    }
    state.open_call().and_then(|call| next_of_call(state, call))
}

/// A waiting call may wait on, unless its own sequence has leased something elsewhere: then the poll ends.
fn next_of_call(state: &State, call: &Call) -> Option<Action> {
    let index = state.calls.len() - 1;
    match call.stage {
        Stage::Sent => Some(Action::Arrive(index)),
        Stage::Answered(_) => Some(Action::ReceiveAnswer),
        Stage::Waiting => {
            let passed = !state.store.leased_by(call.session, call.sequence).is_empty();
            passed.then_some(Action::EndPoll(index))
        }
    }
}

/// The worker goes on: handlers end well, and the next claim takes what is ready.
fn work(protocol: &Protocol, state: &mut State) {
    let running = |state: &State| {
        let held = state.worker.held.iter().find(|held| held.phase == Phase::Running);
        held.map(|held| held.token)
    };
    while let Some(token) = running(state) {
        protocol.apply(state, &Action::Finish(token, Ending::Complete));
    }
    if state.open_call().is_none() {
        if protocol.next_sequence(&state.worker).is_none() {
            protocol.apply(state, &Action::Beat(BeatKind::Reopening));
            run(protocol, state);
        }
        protocol.apply(state, &Action::SendClaim);
    }
    run(protocol, state);
    let waiting = state.open_call().is_some_and(|call| call.stage == Stage::Waiting);
    let jobs = ready_jobs(state);
    if waiting && !jobs.is_empty() {
        protocol.apply(state, &Action::Claim { call: state.calls.len() - 1, jobs });
    }
}

pub(crate) fn ready_jobs(state: &State) -> Vec<u8> {
    (0u8..).zip(&state.store.jobs).filter(|(_, job)| job.ready).map(|(job, _)| job).collect()
}
