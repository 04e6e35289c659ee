//! Recurring tasks: what they are, and the pure decision what becomes of times that are due.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::schedule::{Cron, CronError, Schedule, Seed, UnknownZone, Zone};
use super::{Dependency, JobId, Payload, Spec, Time, limits};

/// A recurring task's id, new each time a task of a name is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub i64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What to do when a task is due and an earlier run of it has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Run it all the same.
    #[default]
    Allow,
    /// Skip the due time.
    Skip,
    /// Run it after the earlier one has ended; skip when one waits so already.
    BufferOne,
    /// Cancel the earlier one, and run it after that has ended.
    CancelPrevious,
}

/// What to do about due times that were missed while no server ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// Run once for the last of them.
    #[default]
    Last,
    /// Skip them.
    None,
    /// Run for each of them within this time, at most [`limits::CATCH_UP_RUNS_MAX`].
    All(Duration),
}

/// When a task is due, as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// By a cron expression.
    Cron {
        /// The expression.
        text: String,
        /// The time zone's name.
        zone: String,
        /// The seed that was asked for; empty: none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        seed: String,
    },
    /// Again and again after this long.
    Every(Duration),
}

/// Why a schedule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The cron expression.
    #[error(transparent)]
    Cron(#[from] CronError),
    /// The time zone.
    #[error(transparent)]
    Zone(#[from] UnknownZone),
}

impl Timing {
    /// The schedule of something of this name, which `H` is drawn from unless a seed was asked for.
    pub fn schedule(&self, owner: Option<&str>) -> Result<Schedule, ScheduleError> {
        match self {
            Timing::Every(interval) => Ok(Schedule::Every(*interval)),
            Timing::Cron { text, zone, seed } => {
                let seed = match (seed.as_str(), owner) {
                    ("", Some(owner)) => Seed::Owner(owner),
                    ("", None) => Seed::None,
                    (seed, _) => Seed::Asked(seed),
                };
                let cron = Cron::parse(text, seed)?;
                Ok(Schedule::Cron { cron: Box::new(cron), zone: Zone::named(zone)? })
            }
        }
    }
}

/// What a program declares of a task; two that are equal need no change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The job of each run; still without ref id.
    pub spec: Box<Spec>,
    /// Jobs that each run must wait for, by id or ref id as they were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<TaskParent>,
    /// Each run starts this long after it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// When it is due.
    pub timing: Timing,
    /// Not due before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// Not due at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// What to do when an earlier run has not ended.
    #[serde(default)]
    pub overlap: Overlap,
    /// What to do about missed due times.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// Each run is a transient one: nothing of it is stored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run_command: bool,
    /// Whether it is due at all.
    pub enabled: bool,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// A job that each run of a task must wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskParent {
    /// By its id.
    Id(Dependency),
    /// By its ref id.
    Ref(String, super::Condition),
}

impl Definition {
    /// Does another definition make the task due at other times? Its end counts apart: it only cuts.
    pub fn is_due_as(&self, other: &Definition) -> bool {
        self.timing == other.timing && self.start_time == other.start_time
    }
}

/// The mark that a job of a task carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRun {
    /// The task's id.
    pub task: TaskId,
    /// The task's name.
    pub name: String,
    /// The due time; none when it was triggered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Time>,
}

/// A recurring task as it stands.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Its name, unique.
    pub name: String,
    /// What its program declares.
    pub definition: Definition,
    /// The request of each run.
    pub request: Payload,
    /// How it stands.
    pub standing: Standing,
    /// Changes with every write; a writer says which it has seen.
    pub revision: i64,
    /// When it was made.
    pub create_time: Time,
    /// When its definition last changed.
    pub update_time: Time,
}

/// What ticks, triggers and operators change of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// What an interval counts from.
    pub anchor: Time,
    /// When it is due next; none: never, or not while it is paused or disabled. Stored in a column of its own.
    #[serde(skip)]
    pub next_time: Option<Time>,
    /// Why an operator paused it; none: it is not paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// When it last ran, by due time or by trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_time: Option<Time>,
    /// The job of the last run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_job: Option<JobId>,
    /// The ref id of the last run; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_ref_id: String,
    /// How often it ran.
    #[serde(default)]
    pub run_count: i64,
    /// How many due times were skipped.
    #[serde(default)]
    pub skip_count: i64,
    /// The due time last skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_skip_time: Option<Time>,
    /// Why it was skipped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_skip_reason: String,
    /// Runs that had not ended when it was last looked, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<JobId>,
}

impl Standing {
    /// How a new task stands.
    pub fn new(anchor: Time) -> Self {
        Self {
            anchor,
            next_time: None,
            paused: None,
            last_time: None,
            last_job: None,
            last_ref_id: String::new(),
            run_count: 0,
            skip_count: 0,
            last_skip_time: None,
            last_skip_reason: String::new(),
            open: Vec::new(),
        }
    }

    /// Notes a run.
    pub fn note_run(&mut self, time: Time, job: JobId, ref_id: String) {
        self.last_time = Some(time);
        self.last_job = Some(job);
        self.last_ref_id = ref_id;
        self.run_count += 1;
        self.open.push(job);
        let surplus = self.open.len().saturating_sub(limits::OPEN_RUNS_MAX);
        self.open.drain(..surplus);
    }

    /// Notes a transient run.
    pub fn note_transient(&mut self, time: Time, ref_id: String) {
        self.last_time = Some(time);
        self.last_job = None;
        self.last_ref_id = ref_id;
        self.run_count += 1;
    }

    /// Notes due times that were skipped.
    pub fn note_skip(&mut self, skip: &Skip, reason: &str) {
        self.skip_count += skip.count;
        self.last_skip_time = Some(skip.last);
        self.last_skip_reason = reason.to_owned();
    }
}

/// When a task is due first, counted from `now`: the due times before it are nobody's.
pub fn first_due(definition: &Definition, schedule: &Schedule, anchor: Time, now: Time) -> Option<Time> {
    // What is due at the start itself is due.
    let from = definition.start_time.map_or(now, |start| now.max(Time(start.0 - 1)));
    within(definition, schedule.next(anchor, from))
}

/// The due times to come, the next one first.
pub fn upcoming(task: &Task, count: usize) -> Vec<Time> {
    let Ok(schedule) = task.definition.timing.schedule(Some(&task.name)) else { return Vec::new() };
    let next = |time: &Time| within(&task.definition, schedule.next(task.standing.anchor, *time));
    std::iter::successors(task.standing.next_time, next).take(count).collect()
}

fn within(definition: &Definition, time: Option<Time>) -> Option<Time> {
    time.filter(|time| definition.end_time.is_none_or(|end| *time < end))
}

/// Due times in a row that are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// The first.
    pub first: Time,
    /// The last.
    pub last: Time,
    /// How many.
    pub count: i64,
}

impl Skip {
    /// One due time.
    pub fn one(time: Time) -> Skip {
        Skip { first: time, last: time, count: 1 }
    }

    fn and(skip: Option<Skip>, time: Time) -> Option<Skip> {
        Some(skip.map_or(Skip::one(time), |skip| Skip { last: time, count: skip.count + 1, ..skip }))
    }
}

/// What becomes of the due times at the head: some are skipped, then one runs. What is due after that is decided next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Missed due times that are not made up for.
    pub skip: Option<Skip>,
    /// The due time that runs.
    pub run: Option<Time>,
    /// When it is due next.
    pub next: Option<Time>,
}

/// Due times looked at in one decision; what is left is decided in the next.
const LOOKED_AT_MAX: usize = 10_000;

/// Decides what becomes of the due times from `first` on.
///
/// A due time before `watched_since`, when servers last came back from an outage of them all or of the database, was missed,
/// and the catch-up policy says what becomes of it. One after that runs, however late it is. `first` is due by `now`.
pub fn decide(
    definition: &Definition,
    schedule: &Schedule,
    anchor: Time,
    first: Time,
    times: Moments,
) -> Due {
    let next = |time: Time| within(definition, schedule.next(anchor, time));
    let Moments { now, watched_since } = times;
    if first >= watched_since {
        return Due { skip: None, run: Some(first), next: next(first) };
    }
    let is_missed = |time: &Time| *time < watched_since && *time <= now;
    let (kept_max, oldest) = match definition.catch_up {
        CatchUp::None => (0, Time(i64::MAX)),
        CatchUp::Last => (1, Time(i64::MIN)),
        CatchUp::All(window) => (limits::CATCH_UP_RUNS_MAX, watched_since.minus(window)),
    };
    let (mut skip, mut kept, mut looked_at) = (None, VecDeque::new(), 0);
    let mut time = Some(first);
    while let Some(missed) = time.filter(|time| is_missed(time) && looked_at < LOOKED_AT_MAX) {
        looked_at += 1;
        if missed < oldest {
            skip = Skip::and(skip, missed);
        } else {
            kept.push_back(missed);
            if kept.len() > kept_max {
                skip = kept.pop_front().map_or(skip, |oldest| Skip::and(skip, oldest));
            }
        }
        time = next(missed);
    }
    // What follows was not looked at when there is too much of it: then only the skipping is certain.
    let is_all = time.is_none_or(|time| !is_missed(&time));
    match kept.pop_front() {
        Some(run) if is_all => Due { skip, run: Some(run), next: kept.pop_front().or(time) },
        Some(run) => Due { skip, run: None, next: Some(run) },
        None => Due { skip, run: None, next: time },
    }
}

/// When it is, and since when somebody looks at what is due.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// The database's time.
    pub now: Time,
    /// When servers last came back from an outage.
    pub watched_since: Time,
}

/// The ref id of the run of a due time: a task and a due time have one, whoever makes it.
pub fn due_ref_id(task: TaskId, due: Time) -> String {
    match jiff::Timestamp::from_microsecond(due.0) {
        Ok(time) => format!("~t{task}-{time}"),
        Err(_) => format!("~t{task}-{due}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Work;

    const SECOND: i64 = 1_000_000;

    fn definition(catch_up: CatchUp) -> Definition {
        Definition {
            spec: Box::new(Spec::new(Work::Command("work".into()))),
            parents: Vec::new(),
            delay: None,
            timing: Timing::Every(Duration::from_secs(1)),
            start_time: None,
            end_time: None,
            overlap: Overlap::Allow,
            catch_up,
            run_command: false,
            enabled: true,
            description: String::new(),
        }
    }

    fn at(second: i64) -> Time {
        Time(second * SECOND)
    }

    fn skip(first: i64, last: i64) -> Option<Skip> {
        Some(Skip { first: at(first), last: at(last), count: last - first + 1 })
    }

    /// A task due every second, first at `first`; it is `now`, and servers came back at `since`.
    fn decided(definition: &Definition, first: i64, since: i64, now: i64) -> Due {
        let schedule = definition.timing.schedule(None).unwrap();
        let moments = Moments { now: at(now), watched_since: at(since) };
        decide(definition, &schedule, at(0), at(first), moments)
    }

    #[test]
    fn what_was_not_missed_runs_one_by_one_however_late() {
        for catch_up in [CatchUp::Last, CatchUp::None, CatchUp::All(Duration::from_secs(1))] {
            let due = decided(&definition(catch_up), 10, 5, 500);
            assert_eq!(due, Due { skip: None, run: Some(at(10)), next: Some(at(11)) });
        }
    }

    #[test]
    fn of_missed_due_times_the_last_runs_by_default() {
        let due = decided(&definition(CatchUp::Last), 10, 20, 25);
        assert_eq!(due, Due { skip: skip(10, 18), run: Some(at(19)), next: Some(at(20)) });
        let due = decided(&definition(CatchUp::Last), 19, 20, 25);
        assert_eq!(due, Due { skip: None, run: Some(at(19)), next: Some(at(20)) });
    }

    #[test]
    fn none_skips_all_that_were_missed_and_goes_on() {
        let due = decided(&definition(CatchUp::None), 10, 20, 25);
        assert_eq!(due, Due { skip: skip(10, 19), run: None, next: Some(at(20)) });
    }

    #[test]
    fn all_makes_up_for_those_within_the_window() {
        let all = definition(CatchUp::All(Duration::from_secs(5)));
        let due = decided(&all, 10, 20, 25);
        assert_eq!(due, Due { skip: skip(10, 14), run: Some(at(15)), next: Some(at(16)) });
        let due = decided(&all, 16, 20, 25);
        assert_eq!(due, Due { skip: None, run: Some(at(16)), next: Some(at(17)) });
    }

    #[test]
    fn all_makes_up_for_a_hundred_at_most_the_newest_ones() {
        let all = definition(CatchUp::All(Duration::from_secs(86_400)));
        let due = decided(&all, 10, 1_000, 1_001);
        assert_eq!(due, Due { skip: skip(10, 899), run: Some(at(900)), next: Some(at(901)) });
        let due = decided(&all, 901, 1_000, 1_002);
        assert_eq!(due, Due { skip: None, run: Some(at(901)), next: Some(at(902)) });
    }

    #[test]
    fn a_long_outage_is_decided_in_steps() {
        let day = 86_400;
        let mut due = decided(&definition(CatchUp::Last), 1, day, day);
        assert_eq!((due.run, due.skip), (None, skip(1, 9_999)));
        let mut skipped = 0;
        while due.run.is_none() {
            skipped += due.skip.map_or(0, |skip| skip.count);
            due = decided(&definition(CatchUp::Last), due.next.unwrap().0 / SECOND, day, day);
        }
        skipped += due.skip.map_or(0, |skip| skip.count);
        assert_eq!((due.run, due.next, skipped), (Some(at(day - 1)), Some(at(day)), day - 2));
    }

    #[test]
    fn nothing_is_due_at_the_end_or_after_it() {
        let ends = Definition { end_time: Some(at(12)), ..definition(CatchUp::Last) };
        assert_eq!(decided(&ends, 10, 5, 15), Due { skip: None, run: Some(at(10)), next: Some(at(11)) });
        assert_eq!(decided(&ends, 11, 5, 15), Due { skip: None, run: Some(at(11)), next: None });
        assert_eq!(decided(&ends, 10, 20, 25), Due { skip: skip(10, 10), run: Some(at(11)), next: None });
    }

    #[test]
    fn what_is_due_at_the_start_itself_is_due() {
        let timing = Timing::Cron { text: "* * * * *".into(), zone: "UTC".into(), seed: String::new() };
        let starts = Definition { timing, start_time: Some(at(600)), ..definition(CatchUp::Last) };
        let schedule = starts.timing.schedule(None).unwrap();
        assert_eq!(first_due(&starts, &schedule, at(0), at(30)), Some(at(600)));
        assert_eq!(first_due(&starts, &schedule, at(0), at(660)), Some(at(720)));
        let ends = Definition { end_time: Some(at(600)), ..starts };
        assert_eq!(first_due(&ends, &schedule, at(0), at(30)), None);
        let interval = Definition { start_time: Some(at(600)), ..definition(CatchUp::Last) };
        let schedule = interval.timing.schedule(None).unwrap();
        assert_eq!(first_due(&interval, &schedule, at(600), at(30)), Some(at(601)));
    }

    #[test]
    fn a_run_is_named_after_its_task_and_due_time() {
        assert_eq!(due_ref_id(TaskId(7), Time(1_795_773_600_000_000)), "~t7-2026-11-27T10:00:00Z");
        assert_eq!(due_ref_id(TaskId(7), Time(1_795_773_600_250_000)), "~t7-2026-11-27T10:00:00.25Z");
    }

    proptest! {
        /// Every due time up to now comes to exactly one decision, in order, whatever the policy and the outage.
        #[test]
        fn each_due_time_comes_to_one_decision(
            first in 1i64..50, since in 0i64..400, late in 0i64..50, policy in 0..3, window in 1u64..300,
        ) {
            let now = since.max(first) + late;
            let catch_up = match policy {
                0 => CatchUp::Last,
                1 => CatchUp::None,
                _ => CatchUp::All(Duration::from_secs(window)),
            };
            let definition = definition(catch_up);
            let (mut expected, mut head, mut runs) = (first, first, 0);
            while head <= now {
                let due = decided(&definition, head, since, now);
                prop_assert!(due.skip.is_some() || due.run.is_some());
                if let Some(skip) = due.skip {
                    prop_assert_eq!(skip.first, at(expected));
                    prop_assert!(skip.last < at(since), "only missed ones are skipped");
                    expected += skip.count;
                }
                if let Some(run) = due.run {
                    prop_assert_eq!(run, at(expected));
                    runs += i64::from(run < at(since));
                    expected += 1;
                }
                prop_assert_eq!(due.next, Some(at(expected)));
                head = expected;
            }
            let missed = (since - first).max(0);
            let made_up = match catch_up {
                CatchUp::None => 0,
                CatchUp::Last => missed.min(1),
                CatchUp::All(window) => missed.min(window.as_secs() as i64).min(100),
            };
            prop_assert_eq!(runs, made_up);
        }
    }
}
