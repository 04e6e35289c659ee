//! Recurring tasks and schedules: checked on the way in, shown as they stand on the way out.

use haulier_proto::v1 as pb;

use super::api::api_work;
use super::job::{error_of, work};
use super::options::{Options, dependency, options, options_message};
use super::payload::{payload, payload_message};
use super::{Settings, duration, job_error, state, timestamp};
use crate::engine::{ListTasksCall, ParentCall, ParentKey, PutTaskCall, Result, TaskView};
use crate::model::schedule::Zone;
use crate::model::{
    CatchUp, Definition, Dependency, Overlap, Payload, Spec, Task, TaskParent, Time, Timing, Work, limits,
    upcoming,
};
use crate::rpc::check::{Check, up_to};
use crate::rpc::run::refuse_what_is_stored;

/// Reads PutRecurringTask.
pub(crate) fn put_task(
    given: pb::PutRecurringTaskRequest,
    settings: &Settings,
    now: Time,
) -> Result<PutTaskCall> {
    let mut check = Check::new();
    let call = check.within("task", |check| match given.task {
        Some(task) => read_task(check, task, settings, now),
        None => {
            check.refuse("", "is not set: give the task");
            None
        }
    });
    // Where there is no call, something was refused.
    let nothing = || PutTaskCall {
        name: String::new(),
        definition: definition(Timing::Every(limits::INTERVAL_MIN)),
        enabled: None,
        request: Payload::None,
    };
    check.pass(call.unwrap_or_else(nothing))
}

fn definition(timing: Timing) -> Definition {
    Definition {
        spec: Box::new(Spec::new(Work::Command(String::new()))),
        parents: Vec::new(),
        delay: None,
        timing,
        start_time: None,
        end_time: None,
        overlap: Overlap::default(),
        catch_up: CatchUp::default(),
        run_command: false,
        enabled: true,
        description: String::new(),
    }
}

fn read_task(
    check: &mut Check,
    given: pb::RecurringTask,
    settings: &Settings,
    now: Time,
) -> Option<PutTaskCall> {
    let request = check.within("request", |check| payload(check, given.request, settings.payload_bytes_max));
    let work = read_work(check, given.work, &request, settings)?;
    let name = if given.name.is_empty() { default_name(&work) } else { given.name };
    check.text("name", &name);
    check.chars("description", &given.description, limits::DESCRIPTION_CHARS_MAX);
    if given.run_command && matches!(work, Work::Api { .. }) {
        check.refuse(
            "run_command",
            "cannot be set together with `api`: only a command can run without being stored",
        );
    }
    let asked = given.options.unwrap_or_default();
    let Options { spec, delay, parents, .. } = check.within("options", |check| {
        refuse_options(check, &asked);
        if given.run_command {
            refuse_what_is_stored(check, &asked);
        }
        options(check, work, asked, settings, now)
    });
    let timing = check.within("schedule", |check| timing(check, given.schedule, Some(&name)));
    let start_time = check.near_time("start_time", given.start_time, now);
    let end_time = check.time("end_time", given.end_time);
    if let (Some(start), Some(end)) = (start_time, end_time)
        && end <= start
    {
        check.refuse("end_time", "is not later than `start_time`: it would never be due");
    }
    let overlap = match check.one_of("overlap_policy", given.overlap_policy) {
        pb::OverlapPolicy::Unspecified | pb::OverlapPolicy::Allow => Overlap::Allow,
        pb::OverlapPolicy::Skip => Overlap::Skip,
        pb::OverlapPolicy::BufferOne => Overlap::BufferOne,
        pb::OverlapPolicy::CancelPrevious => Overlap::CancelPrevious,
    };
    if given.run_command && overlap != Overlap::Allow {
        let message = "can only be ALLOW with `run_command`, whose runs are not stored: set `options.worker` to have \
            them run one at a time";
        check.refuse("overlap_policy", message);
    }
    let catch_up = catch_up(check, given.catch_up_policy, given.catch_up_window);
    let definition = Definition {
        spec,
        parents: parents.into_iter().filter_map(|parent| task_parent(check, parent)).collect(),
        delay,
        start_time,
        end_time,
        overlap,
        catch_up,
        run_command: given.run_command,
        description: given.description,
        ..definition(timing?)
    };
    Some(PutTaskCall { name, definition, enabled: given.enabled, request })
}

fn read_work(
    check: &mut Check,
    given: Option<pb::recurring_task::Work>,
    request: &Payload,
    settings: &Settings,
) -> Option<Work> {
    match given {
        Some(pb::recurring_task::Work::Command(command)) => {
            check.name("command", &command);
            Some(Work::Command(command))
        }
        Some(pb::recurring_task::Work::Api(api)) => Some(api_work(check, Some(api), request, settings)),
        None => {
            check.refuse("work", "is not set: give `command` or `api`");
            None
        }
    }
}

fn default_name(work: &Work) -> String {
    match work {
        Work::Command(command) => command.clone(),
        Work::Api { target, method } => format!("{target} {method}"),
    }
}

/// What a run gets from its task cannot be said for all of them at once.
fn refuse_options(check: &mut Check, given: &pb::JobOptions) {
    if !given.ref_id.is_empty() {
        check.refuse("ref_id", "cannot be set: each run gets one made of the task's id and the due time");
    }
    if given.ref_id_policy != 0 {
        check.refuse("ref_id_policy", "cannot be set: each run has a ref id of its own");
    }
    if given.run_after.is_some() {
        check.refuse(
            "run_after",
            "cannot be set: the schedule says when a run starts, and `delay` how much later",
        );
    }
    if given.expire_time.is_some() {
        check.refuse("expire_time", "cannot be set: a run starts when it is due, or is skipped");
    }
}

fn task_parent(check: &mut Check, parent: ParentCall) -> Option<TaskParent> {
    match parent.key {
        ParentKey::Id(id) => Some(TaskParent::Id(Dependency { parent: id, condition: parent.condition })),
        ParentKey::Ref(ref_id) => Some(TaskParent::Ref(ref_id, parent.condition)),
        ParentKey::Local(_) => {
            check.refuse(
                "options.depends_on",
                "names a `local_key`, which is for items of a batch: use `ref_id`",
            );
            None
        }
    }
}

fn catch_up(check: &mut Check, policy: i32, window: Option<prost_types::Duration>) -> CatchUp {
    let is_set = window.is_some();
    let window = check.duration("catch_up_window", window, up_to(limits::CATCH_UP_WINDOW_MAX));
    let policy = match check.one_of("catch_up_policy", policy) {
        pb::CatchUpPolicy::All => return CatchUp::All(window.unwrap_or(limits::CATCH_UP_WINDOW_DEFAULT)),
        pb::CatchUpPolicy::Unspecified | pb::CatchUpPolicy::Last => CatchUp::Last,
        pb::CatchUpPolicy::None => CatchUp::None,
    };
    if is_set {
        check.refuse(
            "catch_up_window",
            "means nothing without the catch-up policy ALL: set that, or leave it out",
        );
    }
    policy
}

/// Reads a schedule, as it is compared and stored; the field is the path that `check` is at.
fn timing(check: &mut Check, given: Option<pb::Schedule>, owner: Option<&str>) -> Option<Timing> {
    let pb::Schedule { timing, time_zone, seed } = given.unwrap_or_default();
    check.chars("seed", &seed, limits::SCHEDULE_CHARS_MAX);
    match timing {
        Some(pb::schedule::Timing::Cron(text)) => {
            let zone = read_zone(check, &time_zone).name().to_owned();
            if text.chars().count() > limits::SCHEDULE_CHARS_MAX {
                check.chars("cron", &text, limits::SCHEDULE_CHARS_MAX);
                return None;
            }
            let timing = Timing::Cron { text: text.clone(), zone: zone.clone(), seed: seed.clone() };
            if let Err(error) = timing.schedule(owner) {
                check.refuse("cron", format!("is wrong {error}"));
            }
            // Two that differ in spaces only are the same.
            let words: Vec<&str> = text.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            Some(Timing::Cron { text: words.join(" "), zone, seed })
        }
        Some(pb::schedule::Timing::Interval(interval)) => {
            if !time_zone.is_empty() {
                check.refuse("time_zone", "means nothing with an interval: leave it out");
            }
            if !seed.is_empty() {
                check.refuse("seed", "means nothing with an interval: leave it out");
            }
            let bounds = limits::INTERVAL_MIN..=limits::FUTURE_MAX;
            let interval = check.duration("interval", Some(interval), bounds)?;
            if !interval.subsec_nanos().is_multiple_of(1_000) {
                check.refuse("interval", "has a part of a microsecond: give whole microseconds");
            }
            Some(Timing::Every(interval))
        }
        None => {
            check.refuse("timing", "is not set: give `cron` or `interval`");
            None
        }
    }
}

fn read_zone(check: &mut Check, name: &str) -> Zone {
    if name.chars().count() > limits::SCHEDULE_CHARS_MAX {
        check.chars("time_zone", name, limits::SCHEDULE_CHARS_MAX);
        return Zone::UTC;
    }
    Zone::named(name).unwrap_or_else(|error| {
        check.refuse("time_zone", format!("is wrong: {error}"));
        Zone::UTC
    })
}

/// Reads ListRecurringTasks.
pub(crate) fn list_tasks(given: pb::ListRecurringTasksRequest) -> Result<ListTasksCall> {
    let mut check = Check::new();
    check.text("name_prefix", &given.name_prefix);
    check.optional_name("command", &given.command);
    // A task's name is part of the token, and longer than other tokens are.
    check.bytes("page_token", &given.page_token, 4 * crate::rpc::check::wire::TOKEN_BYTES_MAX);
    let page_size = check.page_size("page_size", given.page_size);
    check.pass(ListTasksCall {
        name_prefix: given.name_prefix,
        command: given.command,
        paused: given.paused,
        enabled: given.enabled,
        page_size,
        page_token: given.page_token,
    })
}

/// Answers PreviewSchedule.
pub(crate) fn preview(given: pb::PreviewScheduleRequest, now: Time) -> Result<pb::PreviewScheduleResponse> {
    let mut check = Check::new();
    let count = check.number_or("count", given.count, limits::PREVIEW_DEFAULT, 1..=limits::PREVIEW_MAX);
    // Rounded up as times are: what is due in between is after it.
    let is_rounded = given.after_time.is_some_and(|time| time.nanos % 1_000 != 0);
    let after = check.time("after_time", given.after_time).unwrap_or(now);
    let after = if is_rounded { Time(after.0 - 1) } else { after };
    let end = check.time("end_time", given.end_time);
    let timing = check.within("schedule", |check| timing(check, given.schedule, None));
    let timing = check.pass(timing)?;
    let schedule = timing.map(|timing| timing.schedule(None)).transpose();
    let Ok(Some(schedule)) = schedule else {
        return Err(crate::engine::Error::Internal("a schedule that was read cannot be read".into()));
    };
    let zone = match &schedule {
        crate::model::schedule::Schedule::Cron { zone, .. } => zone.clone(),
        crate::model::schedule::Schedule::Every(_) => Zone::UTC,
    };
    let times: Vec<Time> = schedule
        .times(after, after)
        .take_while(|time| end.is_none_or(|end| *time < end))
        .take(usize::try_from(count).unwrap_or_default())
        .collect();
    Ok(pb::PreviewScheduleResponse {
        local_times: times.iter().map(|time| zone.local(*time)).collect(),
        times: times.into_iter().map(timestamp).collect(),
    })
}

/// A task as it stands.
pub(crate) fn task_message(view: &TaskView, now: Time) -> pb::RecurringTask {
    let TaskView { task, last } = view;
    let Task { definition, standing, .. } = task;
    let (catch_up_policy, catch_up_window) = match definition.catch_up {
        CatchUp::Last => (pb::CatchUpPolicy::Last, None),
        CatchUp::None => (pb::CatchUpPolicy::None, None),
        CatchUp::All(window) => (pb::CatchUpPolicy::All, Some(window)),
    };
    let last_error = last.as_ref().and_then(error_of).map(job_error);
    pb::RecurringTask {
        name: task.name.clone(),
        work: Some(match work(&definition.spec.work) {
            pb::job_summary::Work::Command(command) => pb::recurring_task::Work::Command(command),
            pb::job_summary::Work::Api(api) => pb::recurring_task::Work::Api(api),
        }),
        request: payload_message(&task.request),
        options: Some(task_options(definition)),
        schedule: Some(schedule_message(&definition.timing)),
        run_command: definition.run_command,
        overlap_policy: overlap_message(definition.overlap).into(),
        catch_up_policy: catch_up_policy.into(),
        catch_up_window: catch_up_window.map(duration),
        start_time: definition.start_time.map(timestamp),
        end_time: definition.end_time.map(timestamp),
        enabled: Some(definition.enabled),
        description: definition.description.clone(),
        id: task.id.0,
        paused: standing.paused.is_some(),
        pause_reason: standing.paused.clone().unwrap_or_default(),
        create_time: Some(timestamp(task.create_time)),
        update_time: Some(timestamp(task.update_time)),
        next_time: standing.next_time.map(timestamp),
        last_time: standing.last_time.map(timestamp),
        last_job_id: standing.last_job.map_or(0, |job| job.0),
        last_ref_id: standing.last_ref_id.clone(),
        last_state: last.as_ref().map_or(0, |view| state(view.state(now)).into()),
        last_error,
        run_count: standing.run_count,
        skip_count: standing.skip_count,
        last_skip_time: standing.last_skip_time.map(timestamp),
        last_skip_reason: standing.last_skip_reason.clone(),
        upcoming_times: upcoming(task, limits::UPCOMING_SHOWN).into_iter().map(timestamp).collect(),
    }
}

fn overlap_message(overlap: Overlap) -> pb::OverlapPolicy {
    match overlap {
        Overlap::Allow => pb::OverlapPolicy::Allow,
        Overlap::Skip => pb::OverlapPolicy::Skip,
        Overlap::BufferOne => pb::OverlapPolicy::BufferOne,
        Overlap::CancelPrevious => pb::OverlapPolicy::CancelPrevious,
    }
}

fn task_options(definition: &Definition) -> pb::JobOptions {
    let parent = |parent: &TaskParent| match parent {
        TaskParent::Id(known) => dependency(known),
        TaskParent::Ref(ref_id, condition) => pb::Dependency {
            parent: Some(pb::dependency::Parent::RefId(ref_id.clone())),
            ..dependency(&Dependency { parent: Default::default(), condition: *condition })
        },
    };
    pb::JobOptions {
        depends_on: definition.parents.iter().map(parent).collect(),
        delay: definition.delay.map(duration),
        ..options_message(&definition.spec)
    }
}

fn schedule_message(timing: &Timing) -> pb::Schedule {
    match timing {
        Timing::Cron { text, zone, seed } => pb::Schedule {
            timing: Some(pb::schedule::Timing::Cron(text.clone())),
            time_zone: zone.clone(),
            seed: seed.clone(),
        },
        Timing::Every(interval) => pb::Schedule {
            timing: Some(pb::schedule::Timing::Interval(duration(*interval))),
            ..pb::Schedule::default()
        },
    }
}
