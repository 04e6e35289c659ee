//! An exhaustive check of the lease protocol: every order of loss, delay and repetition within a scope.
//!
//! `model.rs` has the system and its actions, `store.rs` the transactions, `worker.rs` the worker process,
//! `settle.rs` what happens once no more faults come. Each sound protocol is checked over its whole scope;
//! each mutant lacks one guard and must be caught, by the property that the guard exists for.

#[path = "lease_model/model.rs"]
mod model;
#[path = "lease_model/settle.rs"]
mod settle;
#[path = "lease_model/store.rs"]
mod store;
#[path = "lease_model/worker.rs"]
mod worker;

use std::collections::BTreeSet;

use model::{Breach, Guard, Protocol, Resumption, Scope, State};
use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};
use store::{Ending, Job};

const ONE_OUTCOME: &str = "one outcome per run";
const ONE_LEASE: &str = "one live lease per job";
const ONE_PLACE: &str = "a job is exactly one of ready, leased, finished";
const FENCED: &str = "no write of a revoked holder changes the job";
const LIVE_KEPT: &str = "no lease is given back while its worker has it";
const RUNS_ONCE: &str = "no lease runs twice";
const FAIR_BLAME: &str = "no crash is counted against a job that did not start";
const SILENCE_BOUNDED: &str = "three silent reaps in a row are a crash";
const STARTS_BOUNDED: &str = "starts are bounded";
const NOT_STRANDED: &str = "no lease stays that no worker knows of";
const CAN_FINISH: &str = "every job can finish";

const FINISHED: &str = "reached: a job finishes";
const GIVEN_BACK: &str = "reached: a lease is given back";
const CRASHED: &str = "reached: a crash is counted";
const SILENT_CRASHED: &str = "reached: a crash is counted after silent reaps";
const BEGUN_UNCOUNTED: &str = "reached: a job began more often than its attempts and crashes tell";
const STARTED_AGAIN: &str = "reached: a job starts again";

pub(crate) fn properties() -> Vec<Property<Protocol>> {
    vec![
        Property::always(ONE_OUTCOME, |_, state| all_jobs(state, has_one_outcome_a_run)),
        Property::always(ONE_LEASE, |_, state| all_jobs(state, |job| job.leases.len() <= 1)),
        Property::always(ONE_PLACE, |_, state| {
            all_jobs(state, |job| job.places() == usize::from(job.enqueued))
        }),
        Property::always(FENCED, |_, state: &State| state.breach != Some(Breach::RevokedWrite)),
        Property::always(LIVE_KEPT, |_, state: &State| state.breach != Some(Breach::LiveLeaseTaken)),
        Property::always(RUNS_ONCE, |_, state: &State| state.breach != Some(Breach::RanTwice)),
        Property::always(FAIR_BLAME, |_, state: &State| state.breach != Some(Breach::CrashInvented)),
        Property::always(SILENCE_BOUNDED, |_, state| all_jobs(state, |job| job.silent_reaps < 3)),
        Property::always(STARTS_BOUNDED, starts_are_bounded),
        Property::always(NOT_STRANDED, settle::leaves_nothing_stranded),
        Property::always(CAN_FINISH, settle::finishes),
        Property::sometimes(FINISHED, |_, state| any_job(state, Job::is_ended)),
        Property::sometimes(GIVEN_BACK, |_, state| {
            any_job(state, |job| job.releases > job.silent_reaps && job.settled == 0)
        }),
        Property::sometimes(CRASHED, |_, state| any_job(state, |job| job.crashes > 0)),
        Property::sometimes(SILENT_CRASHED, |_, state| {
            any_job(state, |job| job.crashes > 0 && job.started == 0)
        }),
        Property::sometimes(BEGUN_UNCOUNTED, |protocol: &Protocol, state| {
            let told = |job: &Job| u32::from(1 + protocol.scope.retry_limit + job.crashes);
            any_job(state, |job| job.started.count_ones() > told(job) && job.settled == 0)
        }),
        Property::sometimes(STARTED_AGAIN, |_, state| any_job(state, |job| job.started.count_ones() > 1)),
    ]
}

fn all_jobs(state: &State, holds: impl Fn(&Job) -> bool) -> bool {
    state.store.jobs.iter().all(holds)
}

fn any_job(state: &State, holds: impl Fn(&Job) -> bool) -> bool {
    state.store.jobs.iter().any(holds)
}

fn has_one_outcome_a_run(job: &Job) -> bool {
    job.history.iter().collect::<BTreeSet<_>>().len() == job.history.len()
}

/// Releases count what was given back or reaped unacknowledged too: such an attempt is not spent, though a
/// handler may have begun it.
fn starts_are_bounded(protocol: &Protocol, state: &State) -> bool {
    all_jobs(state, |job| {
        let run = 1 + protocol.scope.retry_limit + job.crashes;
        job.started.count_ones() <= u32::from(job.earlier_starts + run + job.releases)
    })
}

/// One job, one session, nothing but claims, outcomes and heartbeats on an unbroken stream.
const PLAIN: Scope = Scope {
    jobs: 1,
    sessions: 1,
    sequences: 3,
    calls: 3,
    beats: 2,
    breaks: 0,
    repeats: 0,
    crashes: 0,
    time_outs: 0,
    cancels: 0,
    requeues: 0,
    retry_limit: 0,
    crash_limit: 2,
    endings: &[Ending::Complete],
};

const BREAKING: Scope = Scope { breaks: 1, ..PLAIN };
const LOSING: Scope = Scope { sessions: 2, crashes: 1, calls: 2, ..PLAIN };
const SILENT: Scope =
    Scope { sessions: 4, crashes: 3, sequences: 1, calls: 4, beats: 0, endings: &[], ..PLAIN };
const OPERATED: Scope = Scope {
    calls: 2,
    beats: 1,
    cancels: 1,
    time_outs: 1,
    requeues: 1,
    retry_limit: 1,
    endings: &[Ending::Complete, Ending::Fail, Ending::Release, Ending::Cancelled],
    ..PLAIN
};

/// The protocol without a guard missing holds over the whole scope, and gets to the places named.
fn holds(scope: Scope, resumption: Resumption, reached: &[&'static str]) {
    let protocol = Protocol { scope, resumption, without: &[] };
    let checked = protocol.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let promises = properties().into_iter().filter(|property| property.expectation == Expectation::Always);
    for promise in promises {
        checked.assert_no_discovery(promise.name);
    }
    assert!(checked.is_done(), "the check stopped before the end of its scope");
    for place in reached {
        assert!(checked.discovery(place).is_some(), "the scope never gets to \"{place}\"");
    }
}

/// Looks for a counterexample to one property, over the whole scope if it must.
fn finds_violation(protocol: Protocol, property: &'static str) -> bool {
    let wanted = HasDiscoveries::AllOf(BTreeSet::from([property]));
    let checked = protocol.checker().threads(2).finish_when(wanted).spawn_bfs().join();
    checked.discovery(property).is_some()
}

fn caught(scope: Scope, without: &'static [Guard], property: &'static str) {
    let protocol = Protocol { scope, resumption: Resumption::NextSequence, without };
    assert!(finds_violation(protocol, property), "without {without:?} nothing violates \"{property}\"");
}

// The protocol as it is.

#[test]
fn leases_survive_lost_late_and_repeated_claims() {
    let endings = &[Ending::Complete, Ending::Release];
    let scope = Scope { calls: 4, endings, ..PLAIN };
    holds(scope, Resumption::NextSequence, &[FINISHED, GIVEN_BACK, STARTED_AGAIN]);
}

#[test]
fn leases_survive_a_broken_stream() {
    holds(BREAKING, Resumption::NextSequence, &[FINISHED, GIVEN_BACK]);
}

#[test]
fn leases_survive_late_heartbeats_of_a_broken_stream() {
    let scope = Scope { calls: 2, beats: 3, ..BREAKING };
    holds(scope, Resumption::NextSequence, &[FINISHED, GIVEN_BACK]);
}

#[test]
fn leases_survive_transactions_that_run_again() {
    let endings = &[Ending::Complete, Ending::Release];
    let scope = Scope { calls: 2, repeats: 1, endings, ..BREAKING };
    holds(scope, Resumption::NextSequence, &[FINISHED, GIVEN_BACK]);
}

#[test]
fn two_jobs_share_a_loop_soundly() {
    let scope = Scope { jobs: 2, ..PLAIN };
    holds(scope, Resumption::NextSequence, &[FINISHED, GIVEN_BACK]);
}

#[test]
fn leases_survive_the_loss_of_a_session_and_of_a_process() {
    holds(LOSING, Resumption::NextSequence, &[FINISHED, CRASHED, STARTED_AGAIN]);
}

#[test]
fn failures_and_crashes_are_counted_apart() {
    let endings = &[Ending::Complete, Ending::Fail];
    let scope = Scope { calls: 3, beats: 0, retry_limit: 1, endings, ..LOSING };
    holds(scope, Resumption::NextSequence, &[FINISHED, CRASHED, STARTED_AGAIN]);
}

#[test]
fn outcomes_of_a_lost_session_on_a_broken_stream_are_judged_by_the_lease() {
    let scope = Scope { sessions: 2, calls: 2, beats: 1, ..BREAKING };
    holds(scope, Resumption::NextSequence, &[FINISHED, CRASHED, STARTED_AGAIN]);
}

#[test]
fn two_jobs_survive_the_loss_of_a_session() {
    let scope = Scope { jobs: 2, beats: 1, crashes: 0, ..LOSING };
    holds(scope, Resumption::NextSequence, &[FINISHED, CRASHED]);
}

#[test]
fn an_acknowledgement_names_its_own_answer() {
    let scope = Scope { jobs: 2, sessions: 2, beats: 1, endings: &[], ..PLAIN };
    holds(scope, Resumption::NextSequence, &[CRASHED]);
}

/// A handler may begin before `received` is stored; if its process dies then, the loss is a silent one. So a
/// job that kills at once may begin three times for each crash that is counted.
#[test]
fn silent_losses_come_to_a_crash_in_the_end() {
    holds(SILENT, Resumption::NextSequence, &[CRASHED, SILENT_CRASHED, BEGUN_UNCOUNTED]);
}

#[test]
fn operators_and_deadlines_end_attempts_soundly() {
    holds(OPERATED, Resumption::NextSequence, &[FINISHED, STARTED_AGAIN]);
}

#[test]
fn a_requeued_job_runs_apart_from_its_first_run() {
    let scope = Scope { calls: 3, beats: 0, ..OPERATED };
    holds(scope, Resumption::NextSequence, &[FINISHED, STARTED_AGAIN]);
}

#[test]
fn a_loop_may_take_its_sequence_up_again_after_an_acknowledged_heartbeat() {
    let scope = Scope { calls: 2, beats: 3, ..BREAKING };
    holds(scope, Resumption::AfterAcknowledgedBeat, &[FINISHED, GIVEN_BACK]);
}

// Mutants of the outcome and the history.

#[test]
fn without_the_fence_a_revoked_holder_writes() {
    caught(LOSING, &[Guard::OutcomeFence], FENCED);
}

#[test]
fn the_history_key_stands_when_the_fence_does_not() {
    let unfenced: &[Guard] = &[Guard::OutcomeFence];
    let scope = Scope { beats: 1, ..LOSING };
    let protocol = Protocol { scope, resumption: Resumption::NextSequence, without: unfenced };
    assert!(!finds_violation(protocol, ONE_OUTCOME), "the key let a second outcome in");
}

#[test]
fn without_fence_and_history_key_a_run_has_two_outcomes() {
    let scope = Scope { beats: 1, ..LOSING };
    caught(scope, &[Guard::OutcomeFence, Guard::HistoryKey], ONE_OUTCOME);
}

#[test]
fn without_a_spent_attempt_failures_start_a_job_for_ever() {
    let scope = Scope { retry_limit: 0, ..OPERATED };
    caught(scope, &[Guard::FailureSpendsAttempt], STARTS_BOUNDED);
}

// Mutants of the claim.

#[test]
fn without_the_sequence_at_arrival_a_late_claim_takes_live_leases() {
    caught(PLAIN, &[Guard::LoopSequence], LIVE_KEPT);
}

#[test]
fn without_the_sequence_at_the_lease_a_late_claim_strands_a_job() {
    caught(LOSING, &[Guard::LoopSequenceAgain], NOT_STRANDED);
}

#[test]
fn without_the_end_of_its_loops_a_lost_session_strands_a_job() {
    caught(LOSING, &[Guard::EndedSessionEndsLoops], NOT_STRANDED);
}

#[test]
fn a_claim_that_gives_back_acknowledged_answers_takes_live_leases() {
    caught(PLAIN, &[Guard::OnlyAboveAcknowledged], LIVE_KEPT);
}

#[test]
fn an_acknowledgement_of_all_below_blames_a_job_that_never_started() {
    let scope = Scope { jobs: 2, sessions: 2, beats: 1, endings: &[], ..PLAIN };
    caught(scope, &[Guard::AcknowledgesExactly], FAIR_BLAME);
}

#[test]
fn a_client_that_keeps_its_sequence_after_an_answer_runs_a_lease_twice() {
    caught(PLAIN, &[Guard::AnswerRaisesSequence], RUNS_ONCE);
}

#[test]
fn a_ready_row_that_outlives_its_claim_is_a_job_in_two_places() {
    caught(PLAIN, &[Guard::ClaimTakesReadyRow], ONE_PLACE);
}

#[test]
fn a_ready_row_that_outlives_its_claim_is_leased_twice() {
    caught(PLAIN, &[Guard::ClaimTakesReadyRow], ONE_LEASE);
}

#[test]
fn a_refused_handoff_without_a_ready_row_loses_the_job() {
    caught(LOSING, &[Guard::RefusedHandoffIsReady], ONE_PLACE);
}

// Mutants of heartbeat and inventory.

#[test]
fn an_inventory_that_judges_nothing_strands_a_job() {
    caught(PLAIN, &[Guard::InventoryJudges], NOT_STRANDED);
}

#[test]
fn an_inventory_that_judges_every_claim_takes_live_leases() {
    caught(PLAIN, &[Guard::JudgesOnlyKnownClaims], LIVE_KEPT);
}

#[test]
fn an_inventory_that_judges_an_open_call_takes_live_leases() {
    caught(PLAIN, &[Guard::OpenCallIsNotJudged], LIVE_KEPT);
}

#[test]
fn an_inventory_that_spares_a_call_given_up_strands_a_job() {
    caught(PLAIN, &[Guard::JudgesGivenUpCall], NOT_STRANDED);
}

#[test]
fn an_inventory_that_spares_what_is_below_sent_strands_a_job() {
    caught(PLAIN, &[Guard::JudgesBelowSent], NOT_STRANDED);
}

#[test]
fn an_inventory_without_unacknowledged_outcomes_throws_work_away() {
    caught(BREAKING, &[Guard::ListsUnacknowledgedOutcomes], LIVE_KEPT);
}

/// Found by this model: "no longer open" must mean that the client will never again listen to that sequence.
#[test]
fn a_loop_that_repeats_a_sequence_it_called_closed_loses_live_leases() {
    let protocol = Protocol { scope: PLAIN, resumption: Resumption::AtOnce, without: &[] };
    assert!(finds_violation(protocol, LIVE_KEPT), "the repeat of a closed call did no harm");
}

/// Only such a loop needs the order of beats: for one that goes on with the next sequence, a late heartbeat
/// tells nothing that has ceased to be true (the test after this one).
#[test]
fn without_the_order_of_beats_a_loop_taken_up_again_loses_live_leases() {
    let scope = Scope { calls: 2, ..BREAKING };
    let resumption = Resumption::AfterAcknowledgedBeat;
    let protocol = Protocol { scope, resumption, without: &[Guard::BeatOrder] };
    assert!(finds_violation(protocol, LIVE_KEPT), "a late heartbeat did no harm");
}

#[test]
fn a_loop_that_goes_on_with_the_next_sequence_needs_no_order_of_beats() {
    let without: &[Guard] = &[Guard::BeatOrder];
    let scope = Scope { calls: 2, ..BREAKING };
    let protocol = Protocol { scope, resumption: Resumption::NextSequence, without };
    assert!(!finds_violation(protocol, LIVE_KEPT), "a late heartbeat took a live lease");
}

// Mutants of the reaper.

#[test]
fn a_reap_that_counts_every_crash_blames_a_job_that_never_started() {
    caught(LOSING, &[Guard::CrashNeedsAcknowledgement], FAIR_BLAME);
}

#[test]
fn a_reaper_that_forgives_every_silent_loss_never_comes_to_an_end() {
    caught(SILENT, &[Guard::ThirdSilentReapIsCrash], SILENCE_BOUNDED);
}
