//! Recurring tasks: schedules, due times and what becomes of them.

use std::collections::BTreeSet;
use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{cancelled, completed, failed, json, text_of};
use haulier_tests::{
    HandWorker, Pause, Registration, Server, haulier_binary, on_both, on_two_servers, refusal,
};
use pb::recurring_task_service_client::RecurringTaskServiceClient;
use pb::schedule::Timing;
use pb::{CatchUpPolicy, JobFilter, JobOptions, JobState, OverlapPolicy, PutResult, RecurringTask, Schedule};
use tonic::Code;
use tonic::transport::Channel;

on_both!(
    a_preview_is_exact_to_the_second_and_carries_the_offset,
    a_preview_of_an_interval_counts_from_the_given_time,
    a_schedule_that_is_wrong_is_refused_where_it_is_wrong,
    a_put_is_idempotent_and_never_fires_resets_or_unpauses,
    a_changed_schedule_moves_the_next_run_and_a_changed_request_does_not,
    a_put_that_breaks_a_rule_names_the_field,
    due_times_become_jobs_one_each,
    a_run_is_what_its_task_says,
    a_run_waits_for_the_parents_of_its_options_and_is_skipped_when_there_is_none,
    a_paused_task_is_not_due_and_a_resumed_one_goes_on_from_now,
    a_triggered_run_is_one_for_each_request_id,
    a_task_is_due_from_its_start_to_its_end,
    a_due_time_is_skipped_while_an_earlier_run_has_not_ended,
    one_run_is_buffered_behind_the_one_before,
    a_run_takes_the_place_of_the_one_before,
    what_was_missed_is_made_up_for_as_the_policy_says,
    tasks_are_listed_by_name_and_filter,
    a_deleted_task_is_gone_and_its_jobs_stay,
    the_command_line_puts_shows_and_changes_tasks,
    a_run_command_task_stores_nothing_of_its_runs,
    a_run_command_task_is_skipped_when_nobody_serves_it,
    a_run_command_task_is_triggered_as_a_transient_run,
    what_a_run_command_task_cannot_have_is_refused_by_its_field,
);

on_two_servers!(a_run_command_task_runs_where_its_worker_process_is_attached);

fn tasks(server: &Server) -> RecurringTaskServiceClient<Channel> {
    RecurringTaskServiceClient::new(server.channel()).max_decoding_message_size(16 << 20)
}

fn cron(text: &str) -> Option<Schedule> {
    cron_in(text, "")
}

fn cron_in(text: &str, zone: &str) -> Option<Schedule> {
    let timing = Some(Timing::Cron(text.into()));
    Some(Schedule { timing, time_zone: zone.into(), seed: String::new() })
}

fn every(seconds: i64) -> Option<Schedule> {
    let timing = Some(Timing::Interval(prost_types::Duration { seconds, nanos: 0 }));
    Some(Schedule { timing, ..Default::default() })
}

fn task(name: &str, schedule: Option<Schedule>) -> RecurringTask {
    let work = Some(pb::recurring_task::Work::Command("work".into()));
    RecurringTask { name: name.into(), work, schedule, ..Default::default() }
}

fn time(text: &str) -> prost_types::Timestamp {
    text.parse().unwrap()
}

async fn put(server: &Server, task: RecurringTask) -> (RecurringTask, PutResult) {
    let request = pb::PutRecurringTaskRequest { task: Some(task) };
    let answer = tasks(server).put_recurring_task(request).await.unwrap().into_inner();
    (answer.task.clone().unwrap(), answer.result())
}

async fn get(server: &Server, name: &str) -> RecurringTask {
    let request = pb::GetRecurringTaskRequest { name: name.into() };
    tasks(server).get_recurring_task(request).await.unwrap().into_inner().task.unwrap()
}

async fn pause(server: &Server, name: &str) -> RecurringTask {
    let request = pb::PauseRecurringTaskRequest { name: name.into(), reason: "for now".into() };
    tasks(server).pause_recurring_task(request).await.unwrap().into_inner().task.unwrap()
}

async fn trigger(server: &Server, name: &str, request_id: &str) -> pb::TriggerRecurringTaskResponse {
    let request = pb::TriggerRecurringTaskRequest { name: name.into(), request_id: request_id.into() };
    tasks(server).trigger_recurring_task(request).await.unwrap().into_inner()
}

/// The runs of a task, the oldest first.
async fn runs(server: &Server, name: &str) -> Vec<pb::JobSummary> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListJobsRequest {
            filter: Some(JobFilter { recurring_task: name.into(), ..Default::default() }),
            order: pb::ListOrder::OldestFirst.into(),
            page_size: 500,
            page_token,
            ..Default::default()
        };
        let answer = server.jobs().list_jobs(request).await.unwrap().into_inner();
        all.extend(answer.jobs);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

/// The due times of runs, in seconds, by their ref ids.
fn due_seconds(task: &RecurringTask, runs: &[pb::JobSummary]) -> Vec<i64> {
    let start = format!("~t{}-", task.id);
    runs.iter().map(|run| time(run.ref_id.strip_prefix(&start).unwrap()).seconds).collect()
}

async fn until_runs(server: &Server, name: &str, count: usize) -> Vec<pb::JobSummary> {
    for _ in 0..600 {
        let runs = runs(server, name).await;
        if runs.len() >= count {
            return runs;
        }
        Pause::brief().await;
    }
    panic!("{name} did not run {count} times: {:?}", get(server, name).await);
}

fn failed_for_good(message: &str) -> pb::outcome_report::Outcome {
    let fail = pb::FailOutcome { message: message.into(), retryable: Some(false), ..Default::default() };
    pb::outcome_report::Outcome::Fail(fail)
}

async fn until_task(server: &Server, name: &str, is_so: impl Fn(&RecurringTask) -> bool) -> RecurringTask {
    for _ in 0..600 {
        let task = get(server, name).await;
        if is_so(&task) {
            return task;
        }
        Pause::brief().await;
    }
    panic!("never came to pass: {:?}", get(server, name).await);
}

async fn preview(server: &Server, request: pb::PreviewScheduleRequest) -> pb::PreviewScheduleResponse {
    tasks(server).preview_schedule(request).await.unwrap().into_inner()
}

async fn a_preview_is_exact_to_the_second_and_carries_the_offset(server: &Server) {
    let answer = preview(
        server,
        pb::PreviewScheduleRequest {
            schedule: cron_in("30 2 * * *", "europe/vienna"),
            count: 4,
            after_time: Some(time("2026-03-27T12:00:00Z")),
            ..Default::default()
        },
    )
    .await;
    let local = [
        "2026-03-28T02:30:00+01:00[Europe/Vienna]",
        "2026-03-29T03:00:00+02:00[Europe/Vienna]",
        "2026-03-30T02:30:00+02:00[Europe/Vienna]",
        "2026-03-31T02:30:00+02:00[Europe/Vienna]",
    ];
    assert_eq!(answer.local_times, local);
    let utc =
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"];
    assert_eq!(answer.times, utc.map(time));
    // An end cuts, and a time in UTC says so.
    let answer = preview(
        server,
        pb::PreviewScheduleRequest {
            schedule: cron("15 30 6 * * *"),
            count: 500,
            after_time: Some(time("2026-11-25T06:30:14.999999999Z")),
            end_time: Some(time("2026-11-27T06:30:15Z")),
        },
    )
    .await;
    assert_eq!(answer.local_times, ["2026-11-25T06:30:15+00:00[UTC]", "2026-11-26T06:30:15+00:00[UTC]"]);
    let answer =
        preview(server, pb::PreviewScheduleRequest { schedule: cron("@hourly"), ..Default::default() });
    assert_eq!(answer.await.times.len(), 5);
    // A seed draws `H`, the same each time.
    let seeded = |seed: &str| pb::PreviewScheduleRequest {
        schedule: cron("H H * * *").map(|schedule| Schedule { seed: seed.into(), ..schedule }),
        after_time: Some(time("2026-11-25T00:00:00Z")),
        ..Default::default()
    };
    assert_eq!(preview(server, seeded("a")).await, preview(server, seeded("a")).await);
    assert_ne!(preview(server, seeded("a")).await, preview(server, seeded("b")).await);
}

async fn a_preview_of_an_interval_counts_from_the_given_time(server: &Server) {
    let answer = preview(
        server,
        pb::PreviewScheduleRequest {
            schedule: every(90),
            count: 3,
            after_time: Some(time("2026-11-25T10:00:00.5Z")),
            ..Default::default()
        },
    )
    .await;
    let times = ["2026-11-25T10:01:30.5Z", "2026-11-25T10:03:00.5Z", "2026-11-25T10:04:30.5Z"];
    assert_eq!(answer.times, times.map(time));
    assert_eq!(answer.local_times[0], "2026-11-25T10:01:30.5+00:00[UTC]");
}

async fn a_schedule_that_is_wrong_is_refused_where_it_is_wrong(server: &Server) {
    let seeded = cron("@daily").map(|schedule| Schedule { seed: "x".repeat(256), ..schedule });
    let interval = |seconds, nanos| {
        let timing = Some(Timing::Interval(prost_types::Duration { seconds, nanos }));
        Some(Schedule { timing, ..Default::default() })
    };
    for (schedule, field, why) in [
        (None, "schedule.timing", "give `cron` or `interval`"),
        (
            cron("61 * * * *"),
            "schedule.cron",
            "at position 1, minute: a minute from 0 to 59 belongs here, not `61`",
        ),
        (cron("* * * *"), "schedule.cron", "at position 8: there are 4 fields"),
        (cron("0 0 30 2 *"), "schedule.cron", "at position 5, day of month: it is never due"),
        (cron("H * * * *"), "schedule.cron", "`H` needs a seed to be drawn from: set `seed`"),
        (cron("@fortnightly"), "schedule.cron", "`@fortnightly` is not a macro"),
        (cron(&"1,".repeat(200)), "schedule.cron", "has 400 characters, at most 255 are allowed"),
        (cron_in("@daily", "Europe/Wien"), "schedule.time_zone", "`Europe/Wien` is not a time zone"),
        (seeded, "schedule.seed", "has 256 characters"),
        (interval(0, 999_000_000), "schedule.interval", "at least 1 seconds are needed"),
        (interval(6 * 366 * 86_400, 0), "schedule.interval", "at most 1830 days are allowed"),
        (interval(2, 500), "schedule.interval", "give whole microseconds"),
        (interval(-2, 0), "schedule.interval", "is negative"),
    ] {
        let request = pb::PreviewScheduleRequest { schedule, ..Default::default() };
        let refused = refusal(tasks(server).preview_schedule(request).await);
        refused.must_be(Code::InvalidArgument, "INVALID_FIELD");
        assert!(refused.message.contains(field) && refused.message.contains(why), "{why}: {refused:?}");
    }
    let request = pb::PreviewScheduleRequest { schedule: cron("@daily"), count: 501, ..Default::default() };
    let refused = refusal(tasks(server).preview_schedule(request).await);
    assert!(refused.message.contains("count is 501: it must be 1 to 500"), "{refused:?}");
}

async fn a_put_is_idempotent_and_never_fires_resets_or_unpauses(server: &Server) {
    let given = RecurringTask { request: json("{\"a\": 1}"), ..task("", every(3_600)) };
    let (made, result) = put(server, given.clone()).await;
    assert_eq!((made.name.as_str(), result), ("work", PutResult::Created), "the name is that of the command");
    assert_eq!((made.run_count, made.enabled, made.paused), (0, Some(true), false));
    let next = made.next_time.unwrap();
    assert_eq!(next.seconds - made.create_time.unwrap().seconds, 3_600);
    assert_eq!(made.upcoming_times.len(), 5);
    assert_eq!(made.upcoming_times[1].seconds, next.seconds + 3_600);
    let (again, result) = put(server, given.clone()).await;
    assert_eq!((result, &again), (PutResult::Unchanged, &made));
    let paused = pause(server, "work").await;
    assert!(paused.paused && paused.next_time.is_none() && paused.upcoming_times.is_empty());
    let (again, result) = put(server, given.clone()).await;
    assert_eq!((result, &again), (PutResult::Unchanged, &paused));
    let described = RecurringTask { description: "what for".into(), ..given };
    let (updated, result) = put(server, described).await;
    assert_eq!((result, updated.paused, updated.id), (PutResult::Updated, true, made.id));
    assert_eq!(updated.pause_reason, "for now");
    assert!(updated.next_time.is_none());
    assert!(runs(server, "work").await.is_empty(), "a put never fires");
}

async fn a_changed_schedule_moves_the_next_run_and_a_changed_request_does_not(server: &Server) {
    let (first, _) = put(server, task("t", every(3_600))).await;
    let (second, result) = put(server, RecurringTask { request: json("2"), ..task("t", every(3_600)) }).await;
    assert_eq!((result, second.next_time), (PutResult::Updated, first.next_time));
    assert_eq!(text_of(&second.request), "2");
    let (third, _) = put(server, task("t", every(60))).await;
    assert!(third.next_time.unwrap().seconds < first.next_time.unwrap().seconds);
    // Spaces and the case of a zone's letters change nothing.
    let (spaced, _) = put(server, task("c", cron_in("0  0\t1 1 *", "europe/vienna"))).await;
    let (again, result) = put(server, task("c", cron_in(" 0 0 1 1 * ", "Europe/Vienna"))).await;
    assert_eq!((result, again), (PutResult::Unchanged, spaced));
    let off = RecurringTask { enabled: Some(false), ..task("c", cron_in("0 0 1 1 *", "Europe/Vienna")) };
    let (disabled, _) = put(server, off).await;
    assert_eq!((disabled.enabled, disabled.next_time), (Some(false), None));
    let (still, result) = put(server, task("c", cron_in("0 0 1 1 *", "Europe/Vienna"))).await;
    assert_eq!((still.enabled, result), (Some(false), PutResult::Unchanged), "unset leaves it as it was");
}

async fn a_put_that_breaks_a_rule_names_the_field(server: &Server) {
    let d = || task("t", cron("@daily"));
    let options = |set: fn(&mut JobOptions)| {
        let mut options = JobOptions::default();
        set(&mut options);
        RecurringTask { options: Some(options), ..d() }
    };
    let window = Some(prost_types::Duration { seconds: 31 * 86_400, nanos: 0 });
    let all = CatchUpPolicy::All.into();
    for (given, field) in [
        (RecurringTask { work: None, ..d() }, "task.work"),
        (
            RecurringTask { work: Some(pb::recurring_task::Work::Command("a b".into())), ..d() },
            "task.command",
        ),
        (RecurringTask { name: "x".repeat(256), ..d() }, "task.name"),
        (RecurringTask { name: "a\nb".into(), ..d() }, "task.name"),
        (RecurringTask { description: "x".repeat(1_025), ..d() }, "task.description"),
        (RecurringTask { request: json("{"), ..d() }, "task.request.json"),
        (RecurringTask { schedule: None, ..d() }, "task.schedule.timing"),
        (RecurringTask { schedule: cron("* * 32 * *"), ..d() }, "task.schedule.cron"),
        (options(|options| options.ref_id = "r".into()), "task.options.ref_id"),
        (options(|options| options.run_after = Some(time("2030-01-01T00:00:00Z"))), "task.options.run_after"),
        (
            options(|options| options.expire_time = Some(time("2030-01-01T00:00:00Z"))),
            "task.options.expire_time",
        ),
        (options(|options| options.priority = Some(31)), "task.options.priority"),
        (
            options(|options| {
                let parent = Some(pb::dependency::Parent::LocalKey("a".into()));
                options.depends_on = vec![pb::Dependency { parent, ..Default::default() }];
            }),
            "task.options.depends_on",
        ),
        (RecurringTask { overlap_policy: 77, ..d() }, "task.overlap_policy"),
        (RecurringTask { catch_up_window: window, catch_up_policy: all, ..d() }, "task.catch_up_window"),
        (
            RecurringTask { catch_up_window: Some(prost_types::Duration { seconds: 5, nanos: 0 }), ..d() },
            "task.catch_up_window means nothing without the catch-up policy ALL",
        ),
        (
            RecurringTask {
                start_time: Some(time("2027-01-02T00:00:00Z")),
                end_time: Some(time("2027-01-02T00:00:00Z")),
                ..d()
            },
            "task.end_time",
        ),
    ] {
        let request = pb::PutRecurringTaskRequest { task: Some(given) };
        let refused = refusal(tasks(server).put_recurring_task(request).await);
        refused.must_be(Code::InvalidArgument, "INVALID_FIELD");
        assert!(refused.message.contains(field), "{field}: {refused:?}");
    }
    let refused = refusal(tasks(server).put_recurring_task(pb::PutRecurringTaskRequest::default()).await);
    assert!(refused.message.contains("task is not set"), "{refused:?}");
    let unknown = pb::GetRecurringTaskRequest { name: "none".into() };
    let refused = refusal(tasks(server).get_recurring_task(unknown).await);
    refused.must_be(Code::NotFound, "RESOURCE_NOT_FOUND");
    assert_eq!(
        (refused.metadata["kind"].as_str(), refused.metadata["name"].as_str()),
        ("recurring task", "none")
    );
}

async fn due_times_become_jobs_one_each(server: &Server) {
    let (by_cron, _) = put(server, task("cron", cron("* * * * * *"))).await;
    let (by_interval, _) = put(server, task("interval", every(1))).await;
    for made in [&by_cron, &by_interval] {
        let runs = until_runs(server, &made.name, 4).await;
        let first = made.next_time.unwrap().seconds;
        let expected: Vec<i64> = (first..).take(runs.len()).collect();
        assert_eq!(due_seconds(made, &runs), expected, "each second once, from the first on");
        assert!(runs.iter().all(|run| run.recurring_task == made.name));
        let nanos: BTreeSet<i32> =
            runs.iter().map(|run| time(run.ref_id.split_once('-').unwrap().1).nanos).collect();
        assert_eq!(
            nanos.into_iter().collect::<Vec<_>>(),
            [made.next_time.unwrap().nanos],
            "it does not drift"
        );
    }
    let newest = until_task(server, "cron", |task| task.run_count >= 4).await;
    let by_ref = pb::GetJobByRefIdRequest { ref_id: newest.last_ref_id.clone(), ..Default::default() };
    let found = server.jobs().get_job_by_ref_id(by_ref).await.unwrap().into_inner().job.unwrap();
    assert_eq!(found.summary.unwrap().id, newest.last_job_id);
    assert_eq!(newest.last_state(), JobState::Queued);
    assert_eq!(newest.skip_count, 0);
    // The last run's end is seen on the task.
    pause(server, "cron").await;
    pause(server, "interval").await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    while let [job] = worker.claim(1).await.as_slice() {
        worker.end(&job.lease, failed("so bad")).await;
        if get(server, "cron").await.last_error.is_some() {
            break;
        }
    }
    let ended = get(server, "cron").await;
    assert_eq!(ended.last_error.unwrap().message, "so bad");
}

async fn a_run_is_what_its_task_says(server: &Server) {
    let options = JobOptions {
        queue: "nights".into(),
        priority: Some(20),
        tag: "nightly".into(),
        timeout: Some(prost_types::Duration { seconds: 77, nanos: 0 }),
        user_id: "anna".into(),
        args: [("k".to_owned(), "v".to_owned())].into(),
        ..Default::default()
    };
    let given = RecurringTask {
        request: json("{ \"all\":true }"),
        options: Some(options),
        ..task("nightly", cron("@every_second"))
    };
    let (made, _) = put(server, given).await;
    assert_eq!(made.options.as_ref().unwrap().queue, "nights");
    let mut registration = Registration::of(&["work"]);
    registration.0.queues = vec!["nights".into()];
    let mut worker = HandWorker::begin(server, registration).await;
    let job = worker.claim_one().await;
    assert_eq!((text_of(&job.request), job.recurring_task.as_str()), ("{ \"all\":true }", "nightly"));
    let options = job.options.unwrap();
    assert_eq!((job.user_id.as_str(), options.timeout.unwrap().seconds), ("anna", 77));
    assert_eq!(
        (options.queue.as_str(), options.priority, options.tag.as_str()),
        ("nights", Some(20), "nightly")
    );
    assert_eq!(options.args["k"], "v");
}

async fn a_run_waits_for_the_parents_of_its_options_and_is_skipped_when_there_is_none(server: &Server) {
    let depends_on = |ref_id: &str| {
        let parent = Some(pb::dependency::Parent::RefId(ref_id.into()));
        let condition = pb::DependencyCondition::Success.into();
        JobOptions { depends_on: vec![pb::Dependency { parent, condition }], ..Default::default() }
    };
    let given = RecurringTask { options: Some(depends_on("import")), ..task("t", cron("* * * * * *")) };
    let (made, _) = put(server, given.clone()).await;
    assert_eq!(made.options.unwrap().depends_on, depends_on("import").depends_on);
    let skipped = until_task(server, "t", |task| task.skip_count >= 1).await;
    assert!(
        skipped.last_skip_reason.contains("\"import\" is the ref id of no job"),
        "{}",
        skipped.last_skip_reason
    );
    let import = JobOptions { ref_id: "import".into(), ..Default::default() };
    let import =
        pb::EnqueueCommandRequest { command: "import".into(), options: Some(import), ..Default::default() };
    server.enqueue(import).await;
    let runs = until_runs(server, "t", 1).await;
    assert_eq!(runs[0].state(), JobState::Blocked);
}

async fn a_paused_task_is_not_due_and_a_resumed_one_goes_on_from_now(server: &Server) {
    let (made, _) = put(server, task("t", cron("* * * * * *"))).await;
    until_runs(server, "t", 1).await;
    let paused = pause(server, "t").await;
    assert_eq!((paused.paused, paused.pause_reason.as_str()), (true, "for now"));
    let before = runs(server, "t").await.len();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(runs(server, "t").await.len(), before);
    assert_eq!(pause(server, "t").await, paused, "a second pause changes nothing");
    let request = pb::ResumeRecurringTaskRequest { name: "t".into() };
    let resumed =
        tasks(server).resume_recurring_task(request.clone()).await.unwrap().into_inner().task.unwrap();
    assert!(!resumed.paused && resumed.pause_reason.is_empty());
    let all = until_runs(server, "t", before + 2).await;
    let due = due_seconds(&made, &all);
    assert!(due[before] >= due[before - 1] + 2, "what was missed while paused is not made up for: {due:?}");
    assert_eq!(get(server, "t").await.skip_count, 0);
    let again = tasks(server).resume_recurring_task(request).await.unwrap().into_inner().task.unwrap();
    assert!(again.next_time.is_some());
}

async fn a_triggered_run_is_one_for_each_request_id(server: &Server) {
    let (made, _) = put(server, task("t", cron("@yearly"))).await;
    let first = trigger(server, "t", "once").await;
    assert!(first.created && first.job_id > 0);
    let repeat = trigger(server, "t", "once").await;
    assert_eq!((repeat.created, repeat.job_id, &repeat.ref_id), (false, first.job_id, &first.ref_id));
    pause(server, "t").await;
    let other = trigger(server, "t", "").await;
    assert!(other.created && other.job_id != first.job_id, "also while it is paused");
    let now = get(server, "t").await;
    assert_eq!((now.run_count, now.last_job_id, &now.last_ref_id), (2, other.job_id, &other.ref_id));
    assert!(now.last_time.is_some() && now.next_time.is_none());
    assert_eq!(runs(server, "t").await.len(), 2);
    assert_eq!(made.run_count, 0);
    // A request id that stored something else is told so.
    let enqueue =
        pb::EnqueueCommandRequest { command: "work".into(), request_id: "mine".into(), ..Default::default() };
    server.enqueue(enqueue).await;
    let request = pb::TriggerRecurringTaskRequest { name: "t".into(), request_id: "mine".into() };
    refusal(tasks(server).trigger_recurring_task(request).await)
        .must_be(Code::AlreadyExists, "REQUEST_ID_REUSED");
    let request = pb::TriggerRecurringTaskRequest { name: "none".into(), ..Default::default() };
    refusal(tasks(server).trigger_recurring_task(request).await)
        .must_be(Code::NotFound, "RESOURCE_NOT_FOUND");
}

async fn a_task_is_due_from_its_start_to_its_end(server: &Server) {
    let (probe, _) = put(server, task("probe", cron("@yearly"))).await;
    let begin = probe.create_time.unwrap().seconds + 2;
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let bounded = |name: &str, schedule| RecurringTask {
        start_time: at(begin),
        end_time: at(begin + 3),
        ..task(name, schedule)
    };
    let (cron_task, _) = put(server, bounded("cron", cron("* * * * * *"))).await;
    let (interval, _) = put(server, bounded("interval", every(1))).await;
    assert_eq!((cron_task.next_time, interval.next_time), (at(begin), at(begin + 1)));
    assert_eq!(cron_task.upcoming_times.len(), 3);
    for name in ["cron", "interval"] {
        until_task(server, name, |task| task.next_time.is_none()).await;
    }
    assert_eq!(due_seconds(&cron_task, &runs(server, "cron").await), [begin, begin + 1, begin + 2]);
    assert_eq!(due_seconds(&interval, &runs(server, "interval").await), [begin + 1, begin + 2]);
    // Put again after its end it is no mistake, and stays over.
    let (over, result) = put(server, bounded("cron", cron("* * * * * *"))).await;
    assert_eq!((result, over.next_time), (PutResult::Unchanged, None));
}

async fn a_due_time_is_skipped_while_an_earlier_run_has_not_ended(server: &Server) {
    let given =
        RecurringTask { overlap_policy: OverlapPolicy::Skip.into(), ..task("t", cron("* * * * * *")) };
    put(server, given).await;
    let skipping = until_task(server, "t", |task| task.skip_count >= 2).await;
    assert_eq!(skipping.run_count, 1);
    let first = &runs(server, "t").await[0];
    assert_eq!(skipping.last_skip_reason, format!("job {} of an earlier run has not ended", first.id));
    assert!(skipping.last_skip_time.unwrap().seconds > skipping.last_time.unwrap().seconds);
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    worker.end_well(&job.lease, completed("1")).await;
    let next = until_runs(server, "t", 2).await;
    assert_eq!((next[0].state(), next[1].id != first.id), (JobState::Completed, true));
}

async fn one_run_is_buffered_behind_the_one_before(server: &Server) {
    let policy = OverlapPolicy::BufferOne.into();
    put(server, RecurringTask { overlap_policy: policy, ..task("t", cron("* * * * * *")) }).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let first = worker.claim_one().await;
    let full = until_task(server, "t", |task| task.run_count == 2 && task.skip_count >= 1).await;
    let waiting = runs(server, "t").await;
    assert_eq!(waiting.len(), 2);
    assert_eq!((waiting[0].state(), waiting[1].state()), (JobState::Running, JobState::Blocked));
    assert_eq!(full.last_skip_reason, format!("job {} waits already for an earlier run", waiting[1].id));
    pause(server, "t").await;
    // However the one before ends.
    worker.end_well(&first.lease, failed_for_good("no")).await;
    let second = worker.claim_one().await;
    assert_eq!(second.job_id, waiting[1].id);
}

async fn a_run_takes_the_place_of_the_one_before(server: &Server) {
    let policy = OverlapPolicy::CancelPrevious.into();
    put(server, RecurringTask { overlap_policy: policy, ..task("t", cron("* * * * * *")) }).await;
    // While nobody runs them each is cancelled by the next.
    let waiting = until_runs(server, "t", 3).await;
    let first = server.job(waiting[0].id).await.summary.unwrap();
    assert_eq!((first.state(), first.cancel_reason()), (JobState::Cancelled, pb::CancelReason::Superseded));
    assert!(
        first.cancel_message.contains("a later run of the recurring task \"t\""),
        "{}",
        first.cancel_message
    );
    // One that runs is told to stop, and the next waits until it has.
    let mut worker = HandWorker::register(server, &["work"]).await;
    let running = worker.claim_one().await;
    let told = worker.converse().await.cancel_of(&running.lease).await;
    assert!(told.reason.contains("takes its place"), "{told:?}");
    pause(server, "t").await;
    let all = runs(server, "t").await;
    assert_eq!(all.last().unwrap().state(), JobState::Blocked);
    worker.end_well(&running.lease, cancelled("as told")).await;
    let ended = server.summary(running.job_id).await;
    assert_eq!(ended.cancel_reason(), pb::CancelReason::Superseded, "{ended:?}");
    let next = worker.claim_one().await;
    assert_eq!(next.job_id, all.last().unwrap().id);
}

async fn what_was_missed_is_made_up_for_as_the_policy_says(server: &Server) {
    let policies = [CatchUpPolicy::Last, CatchUpPolicy::None, CatchUpPolicy::All];
    let mut made = Vec::new();
    for policy in policies {
        let name = policy.as_str_name();
        let given = RecurringTask { catch_up_policy: policy.into(), ..task(name, cron("* * * * * *")) };
        made.push(put(server, given).await.0);
    }
    for made in &made {
        until_runs(server, &made.name, 1).await;
    }
    server.kill9();
    tokio::time::sleep(Duration::from_secs(7)).await;
    server.restart().await;
    let mut gaps = Vec::new();
    for made in &made {
        let before = runs(server, &made.name).await.len();
        let due = due_seconds(made, &until_runs(server, &made.name, before.max(1) + 9).await);
        let gap = due
            .windows(2)
            .filter(|pair| pair[1] != pair[0] + 1)
            .map(|pair| pair[1] - pair[0] - 1)
            .collect::<Vec<_>>();
        let task = get(server, &made.name).await;
        assert_eq!(gap.iter().sum::<i64>(), task.skip_count, "{}: what did not run was skipped", made.name);
        gaps.push((gap, task.last_skip_reason));
    }
    let [(last, reason), (none, _), (all, _)] = gaps.as_slice() else { panic!("{gaps:?}") };
    assert!(all.is_empty(), "each was made up for: {gaps:?}");
    assert!(none.len() == 1 && none[0] >= 4, "none was made up for: {gaps:?}");
    assert!(last.len() == 1 && last[0] == none[0] - 1, "the last was made up for: {gaps:?}");
    assert_eq!(reason, "it was missed while no server ran");
}

async fn tasks_are_listed_by_name_and_filter(server: &Server) {
    for name in ["mail/b", "mail/a", "mail", "report"] {
        put(server, RecurringTask { request: json("1"), ..task(name, cron("@yearly")) }).await;
    }
    let other = Some(pb::recurring_task::Work::Command("other".into()));
    put(server, RecurringTask { work: other, enabled: Some(false), ..task("mail/c", cron("@yearly")) }).await;
    pause(server, "mail/a").await;
    let names = |request: pb::ListRecurringTasksRequest| async move {
        let answer = tasks(server).list_recurring_tasks(request).await.unwrap().into_inner();
        assert!(answer.tasks.iter().all(|task| task.request.is_none()));
        let names: Vec<String> = answer.tasks.into_iter().map(|task| task.name).collect();
        (names, answer.next_page_token)
    };
    let d = pb::ListRecurringTasksRequest::default;
    assert_eq!(names(d()).await.0, ["mail", "mail/a", "mail/b", "mail/c", "report"]);
    let prefix = || pb::ListRecurringTasksRequest { name_prefix: "mail/".into(), ..d() };
    assert_eq!(names(prefix()).await.0, ["mail/a", "mail/b", "mail/c"]);
    assert_eq!(names(pb::ListRecurringTasksRequest { command: "other".into(), ..d() }).await.0, ["mail/c"]);
    assert_eq!(names(pb::ListRecurringTasksRequest { paused: Some(true), ..d() }).await.0, ["mail/a"]);
    assert_eq!(names(pb::ListRecurringTasksRequest { enabled: Some(false), ..d() }).await.0, ["mail/c"]);
    let (first, token) = names(pb::ListRecurringTasksRequest { page_size: 2, ..prefix() }).await;
    assert_eq!(first, ["mail/a", "mail/b"]);
    let next = pb::ListRecurringTasksRequest { page_size: 2, page_token: token.clone(), ..prefix() };
    assert_eq!(names(next).await, (vec!["mail/c".to_owned()], String::new()));
    let other_query = pb::ListRecurringTasksRequest { page_token: token, ..d() };
    refusal(tasks(server).list_recurring_tasks(other_query).await)
        .must_be(Code::InvalidArgument, "BAD_TOKEN");
}

async fn a_deleted_task_is_gone_and_its_jobs_stay(server: &Server) {
    put(server, task("t", cron("* * * * * *"))).await;
    until_runs(server, "t", 1).await;
    let delete = pb::DeleteRecurringTaskRequest { name: "t".into() };
    let gone = tasks(server).delete_recurring_task(delete.clone()).await.unwrap().into_inner().task.unwrap();
    let before = runs(server, "t").await;
    assert_eq!(gone.run_count, before.len() as i64);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(runs(server, "t").await.len(), before.len());
    refusal(tasks(server).delete_recurring_task(delete).await).must_be(Code::NotFound, "RESOURCE_NOT_FOUND");
    let (anew, result) = put(server, task("t", cron("@yearly"))).await;
    assert_eq!((result, anew.run_count), (PutResult::Created, 0));
    assert!(anew.id > gone.id);
}

/// Runs `haulier recurring ..`; answers its exit code and what it said.
fn recurring(server: &Server, args: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(haulier_binary())
        .arg("recurring")
        .args(args)
        .args(["--address", &server.address()])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

async fn the_command_line_puts_shows_and_changes_tasks(server: &Server) {
    let says = |args: &[&str], code: i32, wanted: &[&str]| {
        let (is, said) = recurring(server, args);
        assert_eq!(is, Some(code), "{args:?}: {said}");
        wanted.iter().for_each(|text| assert!(said.contains(text), "{args:?} wanted {text:?}: {said}"));
    };
    let put: &[&str] = &[
        "put",
        "work",
        "{\"a\": 1}",
        "--cron",
        "0 6 * * MON-FRI",
        "--time-zone",
        "Europe/Vienna",
        "--name",
        "early",
        "--overlap",
        "buffer-one",
        "--catch-up",
        "all",
        "--catch-up-window",
        "2h",
        "--tag",
        "t",
    ];
    says(put, 0, &["early\tcreated\tnext 20"]);
    says(put, 0, &["early\tunchanged"]);
    says(&["put", "work", "--every", "90s"], 0, &["work\tcreated"]);
    says(&["list"], 0, &["early", "0 6 * * MON-FRI (Europe/Vienna)", "every 90s"]);
    says(&["get", "early"], 0, &["buffer one", "{\"a\": 1}"]);
    says(&["pause", "early", "--reason", "holidays"], 0, &["early\tpaused"]);
    says(&["get", "early"], 0, &["yes holidays"]);
    says(&["list", "--paused"], 0, &["early"]);
    says(&["trigger", "early", "--request-id", "one"], 0, &["\t~"]);
    says(&["resume", "early"], 0, &["early\tresumed\tnext 20"]);
    says(&["delete", "early"], 0, &["early\tdeleted"]);
    says(&["get", "early"], 1, &["there is no recurring task early"]);
    let preview = [
        "preview",
        "--cron",
        "30 2 * * *",
        "--time-zone",
        "Europe/Vienna",
        "--after",
        "2026-03-28T12:00:00Z",
    ];
    says(&preview, 0, &["2026-03-29T01:00:00Z\t2026-03-29T03:00:00+02:00[Europe/Vienna]"]);
    says(
        &["preview", "--cron", "* * * *"],
        2,
        &["schedule.cron: is wrong at position 8: there are 4 fields"],
    );
    says(&["put", "work"], 2, &["--cron"]);
    says(&["put", "work", "--every", "5s", "--catch-up-window", "1h"], 2, &["--catch-up all"]);
}

fn run_command(name: &str) -> RecurringTask {
    RecurringTask { run_command: true, request: json("{\"n\":1}"), ..task(name, every(1)) }
}

async fn a_run_command_task_stores_nothing_of_its_runs(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let (shown, _) = put(server, run_command("tick")).await;
    assert!(shown.run_command);
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let job = worker.claim_one().await;
        assert_eq!(text_of(&job.request), "{\"n\":1}");
        assert!(seen.insert(job.ref_id.clone()), "one run a due time: {seen:?}");
        assert!(job.ref_id.starts_with(&format!("~t{}-", shown.id)), "{}", job.ref_id);
        worker.end_well(&job.lease, completed("1")).await;
    }
    let paused = pause(server, "tick").await;
    assert!(paused.run_count >= 3 && paused.skip_count == 0, "{paused:?}");
    assert_eq!((paused.last_job_id, paused.last_ref_id.is_empty()), (0, false));
    let stored = server.jobs().list_jobs(pb::ListJobsRequest::default()).await.unwrap().into_inner().jobs;
    assert!(stored.is_empty(), "{stored:?}");
}

async fn a_run_command_task_is_skipped_when_nobody_serves_it(server: &Server) {
    put(server, run_command("tick")).await;
    let skipped = until_task(server, "tick", |task| task.skip_count >= 2).await;
    assert_eq!((skipped.run_count, skipped.last_job_id), (0, 0));
    assert!(skipped.last_skip_reason.contains("serves work"), "{}", skipped.last_skip_reason);
    // One that comes is given the runs from then on.
    let mut worker = HandWorker::register(server, &["work"]).await;
    worker.claim_one().await;
}

async fn a_run_command_task_is_triggered_as_a_transient_run(server: &Server) {
    put(server, RecurringTask { schedule: every(86_400), ..run_command("tick") }).await;
    let request = pb::TriggerRecurringTaskRequest { name: "tick".into(), ..Default::default() };
    let refused = refusal(tasks(server).trigger_recurring_task(request).await);
    refused.must_be(Code::Unavailable, "NO_WORKER_HERE");
    let mut worker = HandWorker::register(server, &["work"]).await;
    let triggered = trigger(server, "tick", "").await;
    assert_eq!((triggered.job_id, triggered.ref_id.is_empty()), (0, false));
    let job = worker.claim_one().await;
    assert_eq!(job.ref_id, triggered.ref_id);
    worker.end_well(&job.lease, completed("1")).await;
    let shown = get(server, "tick").await;
    assert_eq!((shown.run_count, shown.last_ref_id.as_str()), (1, triggered.ref_id.as_str()));
    assert_eq!(shown.last_state(), JobState::Completed, "as long as this server remembers it");
}

async fn what_a_run_command_task_cannot_have_is_refused_by_its_field(server: &Server) {
    let options = JobOptions { retry_policy: Some(Default::default()), ..Default::default() };
    for (task, field) in [
        (
            RecurringTask { overlap_policy: OverlapPolicy::Skip.into(), ..run_command("a") },
            "task.overlap_policy",
        ),
        (RecurringTask { options: Some(options), ..run_command("a") }, "task.options.retry_policy"),
    ] {
        let request = pb::PutRecurringTaskRequest { task: Some(task) };
        refusal(tasks(server).put_recurring_task(request).await).must_name(field);
    }
}

async fn a_run_command_task_runs_where_its_worker_process_is_attached(server: &Server, replica: &Server) {
    let mut worker = HandWorker::register(replica, &["work"]).await;
    put(server, run_command("tick")).await;
    for _ in 0..3 {
        let job = worker.claim_one().await;
        worker.end_well(&job.lease, completed("1")).await;
    }
    let shown = get(server, "tick").await;
    assert_eq!(shown.skip_count, 0, "the server without a worker process leaves it to the other: {shown:?}");
}
