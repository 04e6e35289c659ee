//! The rules, by the promise that each guards.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::facts::{Facts, Start};
use super::{AttemptEnd, Ending, FinalAttempt, FinalJob, Finding, Verdict};
use crate::history::{Cancelled, Event, Fault};

/// One rule: adds what it finds.
pub(super) type Rule = fn(&Facts<'_>, &mut Verdict);

/// Every rule.
pub(super) const ALL: [Rule; 17] = [
    counts,
    g01_accepted_jobs_exist,
    g01_no_job_is_invented,
    g02_runs_have_ended,
    g02_nothing_is_left_over,
    g03_completed_runs_were_started,
    g03_no_attempt_starts_twice,
    g04_one_outcome_a_run,
    g05_fencing_tokens_grow,
    g05_one_holder_at_a_time,
    g05_only_the_last_holder_had_an_effect,
    g05_log_lines_are_of_their_writer,
    g06_one_intent_one_job,
    g06_one_requeue_one_run,
    g07_only_silent_workers_lost_leases,
    g08_recovery_is_in_time,
    g11_cancelled_jobs_never_start,
];

impl Verdict {
    fn find(&mut self, guarantee: u8, text: String) {
        self.findings.push(Finding { guarantee, text });
    }
}

fn counts(facts: &Facts<'_>, verdict: &mut Verdict) {
    let runs = facts.evidence.jobs.iter().flat_map(|job| &job.runs);
    let mut endings = BTreeMap::new();
    for run in runs {
        *endings.entry(format!("{:?}", run.ending).to_lowercase()).or_insert(0) += 1;
    }
    let mut faults: BTreeMap<String, usize> = BTreeMap::new();
    for broken in &facts.breakages {
        *faults.entry(format!("{:?}", broken.fault)).or_default() += 1;
    }
    verdict.figures.push(format!(
        "{} jobs accepted, {} starts, runs {endings:?}",
        facts.accepted.len(),
        facts.starts.len()
    ));
    verdict.figures.push(format!("faults {faults:?}"));
}

fn g01_accepted_jobs_exist(facts: &Facts<'_>, verdict: &mut Verdict) {
    for (key, answers) in &facts.accepted {
        for (job, _) in answers {
            match facts.jobs.get(job) {
                None => verdict.find(1, format!("job {job} for {key} was accepted and is gone")),
                Some(found) if found.key != *key => {
                    verdict.find(
                        1,
                        format!("job {job} was accepted for {key} and holds the request of {}", found.key),
                    );
                }
                Some(_) => {}
            }
        }
    }
}

fn g01_no_job_is_invented(facts: &Facts<'_>, verdict: &mut Verdict) {
    for job in &facts.evidence.jobs {
        if !facts.called.contains_key(job.key.as_str()) {
            verdict.find(1, format!("job {} for {:?} was never asked for", job.id, job.key));
        }
    }
}

fn g02_runs_have_ended(facts: &Facts<'_>, verdict: &mut Verdict) {
    for job in &facts.evidence.jobs {
        for run in job.runs.iter().filter(|run| run.ending == Ending::Live) {
            verdict.find(2, format!("run {} of job {} has not ended, with workers idle", run.run, job.id));
        }
        for attempt in job.attempts.iter().filter(|attempt| attempt.end == AttemptEnd::Running) {
            let FinalAttempt { epoch, worker, .. } = attempt;
            verdict
                .find(2, format!("attempt {epoch} of job {} at {worker} runs on, with workers idle", job.id));
        }
        if job.runs.is_empty() {
            verdict.find(2, format!("job {} has no run", job.id));
        }
    }
}

fn g02_nothing_is_left_over(facts: &Facts<'_>, verdict: &mut Verdict) {
    for left_over in &facts.evidence.left_over {
        verdict.find(2, format!("rows are left over when nothing waits and nothing runs: {left_over}"));
    }
}

fn g03_completed_runs_were_started(facts: &Facts<'_>, verdict: &mut Verdict) {
    let started: HashSet<(i64, i64)> = facts.starts.iter().map(|start| (start.job, start.epoch)).collect();
    for job in &facts.evidence.jobs {
        for run in job.runs.iter().filter(|run| run.ending == Ending::Completed) {
            if !started.contains(&(job.id, run.epoch)) {
                verdict.find(3, format!("run {} of job {} completed without a start", run.run, job.id));
            }
        }
    }
}

/// The same attempt starts again only after its first holder was revoked: so the same epoch never starts twice, and of one
/// attempt number every start but the last is followed by a record that says how that lease ended. Without a record, the
/// server took the lease for one whose answer never arrived: then its holder must have been silent.
fn g03_no_attempt_starts_twice(facts: &Facts<'_>, verdict: &mut Verdict) {
    let mut by_epoch: HashMap<(i64, i64), usize> = HashMap::new();
    let mut by_attempt: HashMap<(i64, i32, i32), Vec<&Start<'_>>> = HashMap::new();
    for start in &facts.starts {
        *by_epoch.entry((start.job, start.epoch)).or_default() += 1;
        by_attempt.entry((start.job, start.run, start.attempt)).or_default().push(start);
    }
    for ((job, epoch), count) in by_epoch.into_iter().filter(|(_, count)| *count > 1) {
        verdict.find(3, format!("attempt {epoch} of job {job} started {count} times"));
    }
    for ((job, run, attempt), mut starts) in by_attempt {
        starts.sort_by_key(|start| start.epoch);
        let last = starts.last().map(|start| start.epoch);
        let Some(found) = facts.jobs.get(&job) else { continue };
        for start in starts.into_iter().filter(|start| Some(start.epoch) != last) {
            let record = found.attempts.iter().find(|attempt| attempt.epoch == start.epoch);
            let revoked = match record.map(|attempt| attempt.end) {
                Some(AttemptEnd::Crashed | AttemptEnd::Released | AttemptEnd::TimedOut) => true,
                Some(_) => false,
                None => facts.had_reason_to_fall_silent(start.actor, job, start.epoch),
            };
            if !revoked {
                let (epoch, actor) = (start.epoch, start.actor);
                verdict.find(
                    3,
                    format!("attempt {attempt} of run {run} of job {job} started again, but {epoch} of {actor} was not revoked"),
                );
            }
        }
    }
}

fn g04_one_outcome_a_run(facts: &Facts<'_>, verdict: &mut Verdict) {
    for job in &facts.evidence.jobs {
        let mut runs = BTreeSet::new();
        for run in &job.runs {
            if !runs.insert(run.run) {
                verdict.find(4, format!("run {} of job {} has two outcomes", run.run, job.id));
            }
        }
        for run in runs {
            let completions =
                job.attempts.iter().filter(|a| a.run == run && a.end == AttemptEnd::Completed).count();
            if completions > 1 {
                verdict.find(4, format!("run {run} of job {} completed {completions} times", job.id));
            }
        }
    }
}

fn g05_fencing_tokens_grow(facts: &Facts<'_>, verdict: &mut Verdict) {
    for job in &facts.evidence.jobs {
        for pair in job.attempts.windows(2) {
            if pair[1].epoch <= pair[0].epoch {
                verdict.find(
                    5,
                    format!(
                        "the fencing token of job {} fell from {} to {}",
                        job.id, pair[0].epoch, pair[1].epoch
                    ),
                );
            }
        }
    }
}

fn g05_one_holder_at_a_time(facts: &Facts<'_>, verdict: &mut Verdict) {
    for job in &facts.evidence.jobs {
        for pair in job.attempts.windows(2) {
            if pair[0].finish.is_none_or(|finish| finish > pair[1].start) {
                verdict.find(
                    5,
                    format!("job {} was held by {} and {} at once", job.id, pair[0].worker, pair[1].worker),
                );
            }
        }
    }
}

/// Nothing of a revoked holder is in the outcome: it is that of the last attempt, and it was returned by its handler.
fn g05_only_the_last_holder_had_an_effect(facts: &Facts<'_>, verdict: &mut Verdict) {
    for job in &facts.evidence.jobs {
        for run in job.runs.iter().filter(|run| run.ending == Ending::Completed) {
            let (id, number, epoch) = (job.id, run.run, run.epoch);
            if run.result_epoch != Some(epoch) {
                verdict.find(
                    5,
                    format!(
                        "run {number} of job {id} ended under {epoch} with the result of {:?}",
                        run.result_epoch
                    ),
                );
            }
            if let Some(later) = job.attempts.iter().find(|a| a.run == number && a.epoch > epoch) {
                verdict.find(
                    5,
                    format!(
                        "run {number} of job {id} ended under {epoch}, but {} came after it",
                        later.epoch
                    ),
                );
            }
            if facts.returns.get(&(id, epoch)) != Some(&true) {
                verdict.find(
                    5,
                    format!(
                        "run {number} of job {id} completed under {epoch}, whose handler returned no result"
                    ),
                );
            }
        }
    }
}

fn g05_log_lines_are_of_their_writer(facts: &Facts<'_>, verdict: &mut Verdict) {
    for job in &facts.evidence.jobs {
        let mut next: HashMap<i64, i64> = HashMap::new();
        for line in &job.lines {
            let writer = line.text.split(' ').next().and_then(|epoch| epoch.parse::<i64>().ok());
            if writer != Some(line.epoch) {
                verdict.find(
                    5,
                    format!("a line of job {} under {} was written by {writer:?}", job.id, line.epoch),
                );
            }
            let wanted = next.entry(line.epoch).or_insert(1);
            if line.sequence != *wanted {
                verdict.find(
                    5,
                    format!(
                        "line {} of attempt {} of job {} follows line {}",
                        line.sequence,
                        line.epoch,
                        job.id,
                        *wanted - 1
                    ),
                );
            }
            *wanted = line.sequence + 1;
        }
    }
}

fn g06_one_intent_one_job(facts: &Facts<'_>, verdict: &mut Verdict) {
    for (key, answers) in &facts.accepted {
        let jobs: BTreeSet<i64> = answers.iter().map(|(job, _)| *job).collect();
        if jobs.len() > 1 {
            verdict.find(6, format!("{key} was answered with the jobs {jobs:?}"));
        }
        let created = answers.iter().filter(|(_, created)| *created).count();
        if created > 1 {
            verdict.find(6, format!("{key} was said to be stored {created} times"));
        }
    }
    let mut by_key: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for FinalJob { id, key, .. } in &facts.evidence.jobs {
        by_key.entry(key).or_default().push(*id);
    }
    for (key, jobs) in by_key.into_iter().filter(|(_, jobs)| jobs.len() > 1) {
        verdict.find(6, format!("{key} made the jobs {jobs:?}"));
    }
    let repeated = facts.accepted.values().filter(|answers| answers.len() > 1 || !answers[0].1).count();
    verdict.figures.push(format!("{repeated} enqueues were repeated after an answer or a lost one"));
}

fn g06_one_requeue_one_run(facts: &Facts<'_>, verdict: &mut Verdict) {
    let mut created: BTreeMap<(i64, i32), usize> = BTreeMap::new();
    for record in &facts.evidence.records {
        if let Event::RequeueAnswered { job, run, created: true } = record.event {
            *created.entry((job, run)).or_default() += 1;
        }
    }
    for ((job, run), count) in created {
        if count > 1 {
            verdict.find(6, format!("run {run} of job {job} was requeued {count} times"));
        }
        if !facts.jobs.get(&job).is_some_and(|found| found.runs.iter().any(|other| other.run == run + 1)) {
            verdict.find(1, format!("run {run} of job {job} was requeued, and run {} is gone", run + 1));
        }
    }
}

/// Restarts, crashes and freezes of servers and of the database take no lease of a worker process that lives.
fn g07_only_silent_workers_lost_leases(facts: &Facts<'_>, verdict: &mut Verdict) {
    for job in &facts.evidence.jobs {
        for attempt in job.attempts.iter().filter(|attempt| attempt.end == AttemptEnd::Crashed) {
            if !facts.had_reason_to_fall_silent(&attempt.worker, job.id, attempt.epoch) {
                verdict.find(
                    7,
                    format!("job {} was taken from {}, which lived all the time", job.id, attempt.worker),
                );
            }
        }
    }
}

/// From the death of a worker process to the next start of what it ran. An outage of ours meanwhile, and the lease time after
/// it, is allowed for.
fn g08_recovery_is_in_time(facts: &Facts<'_>, verdict: &mut Verdict) {
    let promised = facts.evidence.lease + 2 * facts.evidence.tick;
    let (mut longest, mut longest_beside_outage) = (Duration::ZERO, Duration::ZERO);
    let mut count = 0;
    for death in facts.breakages.iter().filter(|broken| broken.fault == Fault::WorkerKilled) {
        let last_starts =
            facts.starts.iter().filter(|start| start.actor == death.target && start.at < death.from);
        for held in last_starts.filter(|start| was_lost(facts, start.job, start.epoch)) {
            let again = facts.starts.iter().find(|start| start.job == held.job && start.epoch > held.epoch);
            let Some(again) = again else { continue };
            // A job that has crashed before waits for a worker process that runs nothing else: no promise in time.
            if crashes_before(facts, held.job, held.run, again.epoch) > 1 {
                continue;
            }
            let took = Duration::from_nanos(again.at.saturating_sub(death.from));
            let outage = Duration::from_nanos(facts.outage(death.from, again.at));
            count += 1;
            if outage.is_zero() {
                longest = longest.max(took);
            } else {
                longest_beside_outage = longest_beside_outage.max(took);
            }
            if took > 3 * promised + outage {
                let (job, who) = (held.job, death.target);
                verdict.find(
                    8,
                    format!("job {job} of {who} started again only {took:?} after the death, promised {promised:?}, outage {outage:?}"),
                );
            }
        }
    }
    verdict.figures.push(format!(
        "recovery of {count} jobs of killed workers: longest {longest:?}, promised {promised:?}; longest beside an outage \
         {longest_beside_outage:?}"
    ));
}

fn was_lost(facts: &Facts<'_>, job: i64, epoch: i64) -> bool {
    let crashed = |attempt: &FinalAttempt| attempt.epoch == epoch && attempt.end == AttemptEnd::Crashed;
    facts.jobs.get(&job).is_some_and(|job| job.attempts.iter().any(crashed))
}

fn crashes_before(facts: &Facts<'_>, job: i64, run: i32, epoch: i64) -> usize {
    let crashed = |attempt: &&FinalAttempt| {
        attempt.run == run && attempt.epoch < epoch && attempt.end == AttemptEnd::Crashed
    };
    facts.jobs.get(&job).map_or(0, |job| job.attempts.iter().filter(crashed).count())
}

fn g11_cancelled_jobs_never_start(facts: &Facts<'_>, verdict: &mut Verdict) {
    for record in &facts.evidence.records {
        let Event::CancelAnswered { job, run, cancelled: Cancelled::AtOnce } = record.event else { continue };
        if let Some(start) =
            facts.starts.iter().find(|start| (start.job, start.run) == (job, run) && start.at > record.at)
        {
            verdict.find(
                11,
                format!(
                    "run {run} of job {job} was cancelled while it waited, and {} started it",
                    start.actor
                ),
            );
        }
        let ending = facts.jobs.get(&job).and_then(|job| job.runs.iter().find(|other| other.run == run));
        if ending.is_some_and(|run| run.ending != Ending::Cancelled) {
            verdict.find(
                11,
                format!("run {run} of job {job} was cancelled while it waited, and ended as {ending:?}"),
            );
        }
    }
}
