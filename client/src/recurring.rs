//! Recurring tasks: when something runs again and again, and what operators do with it.

use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use haulier_proto::v1 as pb;
use haulier_proto::v1::recurring_task_service_client::RecurringTaskServiceClient;
use serde::Serialize;

use crate::client::Client;
use crate::command::{Command, command_name};
use crate::connect::{MESSAGE_BYTES_MAX, Transport};
use crate::enqueue::fresh_request_id;
use crate::errors::{Error, Result};
use crate::handle::JobHandle;
use crate::options::{ApiCall, JobOptions, duration, job_option_setters};
use crate::pages::{Page, Pages};
use crate::payload::Payload;
use crate::retry::Repeat;

pub use pb::{OverlapPolicy, PutResult};

type Tasks = RecurringTaskServiceClient<Transport>;

/// When something is due: by cron or by an interval.
///
/// ```
/// use std::time::Duration;
/// use haulier::Schedule;
///
/// let nightly = Schedule::cron("30 2 * * MON-FRI").time_zone("Europe/Vienna");
/// let often = Schedule::every(Duration::from_secs(90));
/// # let _ = (nightly, often);
/// ```
#[must_use = "a schedule does nothing until a task gets it"]
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule(pb::Schedule);

impl Schedule {
    /// By a cron expression of 5 fields, or 6 with seconds first, or a macro from `@every_second` to `@yearly`. The dialect is
    /// that of Cronos: `* , - / ?`, ranges that wrap, names, `L`, `W`, `LW`, `#`, `H`; day of month and day of week must both
    /// match when both are given. The server refuses what is wrong and says where.
    pub fn cron(expression: impl Into<String>) -> Self {
        let timing = Some(pb::schedule::Timing::Cron(expression.into()));
        Self(pb::Schedule { timing, ..Default::default() })
    }

    /// Again and again after this long, the first time this long after the task was made; it does not drift. At least 1 s.
    pub fn every(interval: Duration) -> Self {
        let timing = Some(pb::schedule::Timing::Interval(duration(interval)));
        Self(pb::Schedule { timing, ..Default::default() })
    }

    /// At the beginning of every minute.
    pub fn every_minute() -> Self {
        Self::cron("@every_minute")
    }

    /// At the beginning of every hour.
    pub fn hourly() -> Self {
        Self::cron("@hourly")
    }

    /// Every day at midnight.
    pub fn daily() -> Self {
        Self::cron("@daily")
    }

    /// Every Sunday at midnight.
    pub fn weekly() -> Self {
        Self::cron("@weekly")
    }

    /// On the first of every month at midnight.
    pub fn monthly() -> Self {
        Self::cron("@monthly")
    }

    /// On 1 January at midnight.
    pub fn yearly() -> Self {
        Self::cron("@yearly")
    }

    /// Time zone of a cron expression by its IANA name, as in `Europe/Vienna`. Default: UTC.
    ///
    /// When clocks go forward, what falls into the gap is due once right after it. When they go back, fixed times are due once,
    /// and what keeps an interval keeps it.
    pub fn time_zone(mut self, name: impl Into<String>) -> Self {
        self.0.time_zone = name.into();
        self
    }

    /// What `H` in the expression is drawn from; macros are spread by it too, `@hourly` to `H H * * * *`. Default: `H` is drawn
    /// from the task's name, and macros are not spread.
    pub fn seed(mut self, seed: impl Into<String>) -> Self {
        self.0.seed = seed.into();
        self
    }
}

impl From<Schedule> for pb::Schedule {
    fn from(Schedule(schedule): Schedule) -> Self {
        schedule
    }
}

/// What to do about due times that were missed while no server ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CatchUpPolicy {
    /// Run once for the last of them.
    #[default]
    Last,
    /// Skip them.
    None,
    /// Run for each of them that is not older than this, at most the newest 100. At most 30 days.
    All(Duration),
}

/// A recurring task, to be put by [`Client::put_recurring_task`] or each time a worker process starts by `Worker::recurring`.
///
/// Putting it again changes nothing: it never fires, resets or unpauses. Only a changed schedule changes when it is due next.
///
/// ```no_run
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] struct Report { kind: String }
/// # impl haulier::Command for Report { type Output = (); }
/// # async fn example(client: haulier::Client) -> haulier::Result<()> {
/// use haulier::{OverlapPolicy, RecurringTask, Schedule};
///
/// let report = Report { kind: "sales".into() };
/// let task = RecurringTask::command(report, Schedule::cron("0 6 * * *").time_zone("Europe/Vienna"))
///     .name("sales report")
///     .overlap_policy(OverlapPolicy::Skip)
///     .retry_limit(5);
/// client.put_recurring_task(task).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a task is only stored when it is put"]
#[derive(Debug, Clone)]
pub struct RecurringTask {
    task: pb::RecurringTask,
    request: Result<Payload, String>,
}

impl RecurringTask {
    /// Runs a command. The task has the command's name unless it is given one.
    pub fn command<C: Command>(command: C, schedule: Schedule) -> Self {
        Self::of_command(command_name::<C>().to_owned(), Payload::json(&command), schedule)
    }

    /// As [`Self::command`], for a command known by its name only.
    pub fn named<A: Serialize>(command: impl Into<String>, args: A, schedule: Schedule) -> Self {
        Self::of_command(command.into(), Payload::json(&args), schedule)
    }

    /// As [`Self::named`], with a payload as it is: JSON text, raw bytes or nothing.
    pub fn payload(command: impl Into<String>, request: Payload, schedule: Schedule) -> Self {
        Self::of_command(command.into(), Ok(request), schedule)
    }

    /// Lets the server itself call an API of a target that its configuration names. The task is named after the API unless it is
    /// given a name.
    pub fn api<A: Serialize>(api: ApiCall, request: A, schedule: Schedule) -> Self {
        Self::of(pb::recurring_task::Work::Api(api.into()), Payload::json(&request), schedule)
    }

    fn of_command(command: String, request: Result<Payload>, schedule: Schedule) -> Self {
        Self::of(pb::recurring_task::Work::Command(command), request, schedule)
    }

    fn of(work: pb::recurring_task::Work, request: Result<Payload>, Schedule(schedule): Schedule) -> Self {
        let task = pb::RecurringTask {
            work: Some(work),
            schedule: Some(schedule),
            options: Some(pb::JobOptions::default()),
            ..Default::default()
        };
        Self { task, request: request.map_err(|error| error.to_string()) }
    }

    /// Unique name. Default: that of the command or API.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.task.name = name.into();
        self
    }

    /// For people; at most 1,024 characters. Default: none.
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.task.description = text.into();
        self
    }

    /// What to do when it is due and an earlier run has not ended. Default: run it all the same.
    pub fn overlap_policy(mut self, policy: OverlapPolicy) -> Self {
        self.task.overlap_policy = policy.into();
        self
    }

    /// What to do about due times that were missed while no server ran. Default: run once for the last of them.
    pub fn catch_up_policy(mut self, policy: CatchUpPolicy) -> Self {
        let (policy, window) = match policy {
            CatchUpPolicy::Last => (pb::CatchUpPolicy::Last, None),
            CatchUpPolicy::None => (pb::CatchUpPolicy::None, None),
            CatchUpPolicy::All(window) => (pb::CatchUpPolicy::All, Some(duration(window))),
        };
        self.task.catch_up_policy = policy.into();
        self.task.catch_up_window = window;
        self
    }

    /// Not due before this time. Default: from now on.
    pub fn start_time(mut self, time: SystemTime) -> Self {
        self.task.start_time = Some(time.into());
        self
    }

    /// Not due at or after this time. Default: it never ends.
    pub fn end_time(mut self, time: SystemTime) -> Self {
        self.task.end_time = Some(time.into());
        self
    }

    /// Whether it is due at all. Default: a new task is, another stays as it was.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.task.enabled = Some(enabled);
        self
    }

    /// Runs it without storing anything, at most once for each due time.
    pub fn run_command(mut self) -> Self {
        self.task.run_command = true;
        self
    }

    /// Options of each run, over those set before. Not `ref_id`, `run_after` and `expire_time`: the schedule says when, and each
    /// run has a ref id of its own.
    pub fn options(mut self, options: impl Into<JobOptions>) -> Self {
        self.task.options = Some(options.into().into());
        self
    }

    job_option_setters!();

    fn options_mut(&mut self) -> &mut pb::JobOptions {
        self.task.options.get_or_insert_default()
    }

    fn message(&self) -> Result<pb::RecurringTask> {
        let request =
            self.request.clone().map_err(|why| Error::config("the request of a recurring task", why))?;
        Ok(pb::RecurringTask { request: request.into(), ..self.task.clone() })
    }
}

impl Client {
    /// Makes or changes a recurring task; answers the task as it is now, and whether it was made, changed, or so already.
    pub async fn put_recurring_task(&self, task: RecurringTask) -> Result<(pb::RecurringTask, PutResult)> {
        let request = pb::PutRecurringTaskRequest { task: Some(task.message()?) };
        let put = async |mut tasks: Tasks, request| tasks.put_recurring_task(request).await;
        let answer =
            self.call_service(self.task_service(), "PutRecurringTask", Repeat::Safe, request, put).await?;
        let result = answer.result();
        Ok((answer.task.unwrap_or_default(), result))
    }

    /// A recurring task by its name.
    pub async fn get_recurring_task(&self, name: impl Into<String>) -> Result<pb::RecurringTask> {
        let request = pb::GetRecurringTaskRequest { name: name.into() };
        let get = async |mut tasks: Tasks, request| tasks.get_recurring_task(request).await;
        let answer =
            self.call_service(self.task_service(), "GetRecurringTask", Repeat::Safe, request, get).await?;
        Ok(answer.task.unwrap_or_default())
    }

    /// Recurring tasks in the order of their names, without their requests.
    pub fn list_recurring_tasks(&self) -> ListRecurringTasks {
        ListRecurringTasks { client: self.clone(), request: Default::default() }
    }

    /// Deletes a recurring task; its jobs stay. Answers the task as it was.
    pub async fn delete_recurring_task(&self, name: impl Into<String>) -> Result<pb::RecurringTask> {
        let request = pb::DeleteRecurringTaskRequest { name: name.into() };
        let delete = async |mut tasks: Tasks, request| tasks.delete_recurring_task(request).await;
        // Done twice it is NOT_FOUND, which would be told of a delete that was done.
        let answer = self
            .call_service(self.task_service(), "DeleteRecurringTask", Repeat::Unsafe, request, delete)
            .await?;
        Ok(answer.task.unwrap_or_default())
    }

    /// Pauses a recurring task: it is not due until it is resumed.
    pub async fn pause_recurring_task(
        &self,
        name: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<pb::RecurringTask> {
        let request = pb::PauseRecurringTaskRequest { name: name.into(), reason: reason.into() };
        let pause = async |mut tasks: Tasks, request| tasks.pause_recurring_task(request).await;
        let answer = self
            .call_service(self.task_service(), "PauseRecurringTask", Repeat::Safe, request, pause)
            .await?;
        Ok(answer.task.unwrap_or_default())
    }

    /// Resumes a recurring task: it goes on with the next due time from now.
    pub async fn resume_recurring_task(&self, name: impl Into<String>) -> Result<pb::RecurringTask> {
        let request = pb::ResumeRecurringTaskRequest { name: name.into() };
        let resume = async |mut tasks: Tasks, request| tasks.resume_recurring_task(request).await;
        let answer = self
            .call_service(self.task_service(), "ResumeRecurringTask", Repeat::Safe, request, resume)
            .await?;
        Ok(answer.task.unwrap_or_default())
    }

    /// Runs a recurring task now, paused or not, whatever its overlap policy; when it is due next stays as it is. Await the builder to
    /// send it.
    pub fn trigger_recurring_task(&self, name: impl Into<String>) -> TriggerRecurringTask {
        TriggerRecurringTask { client: self.clone(), name: name.into(), request_id: None }
    }

    /// The next times of a schedule, without storing anything. Await the builder to send it.
    pub fn preview_schedule(&self, schedule: Schedule) -> PreviewSchedule {
        let request = pb::PreviewScheduleRequest { schedule: Some(schedule.into()), ..Default::default() };
        PreviewSchedule { client: self.clone(), request }
    }

    fn task_service(&self) -> Tasks {
        RecurringTaskServiceClient::new(self.transport())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// A list of tasks: which, then [`ListRecurringTasks::pages`].
#[must_use = "nothing is sent until its pages are read"]
#[derive(Debug)]
pub struct ListRecurringTasks {
    client: Client,
    request: pb::ListRecurringTasksRequest,
}

impl ListRecurringTasks {
    /// Only tasks whose name starts so.
    pub fn name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.request.name_prefix = prefix.into();
        self
    }

    /// Only tasks that run this command.
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.request.command = command.into();
        self
    }

    /// Only tasks that are paused, or only those that are not.
    pub fn paused(mut self, paused: bool) -> Self {
        self.request.paused = Some(paused);
        self
    }

    /// Only tasks that are enabled, or only those that are not.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.request.enabled = Some(enabled);
        self
    }

    /// Tasks of a page at most; at most 500. Default: 50.
    pub fn page_size(mut self, size: i32) -> Self {
        self.request.page_size = size;
        self
    }

    /// The list, page by page.
    pub fn pages(self) -> Pages<pb::RecurringTask> {
        let Self { client, request } = self;
        Pages::new(move |page_token| {
            let (client, request) =
                (client.clone(), pb::ListRecurringTasksRequest { page_token, ..request.clone() });
            Box::pin(async move {
                let list = async |mut tasks: Tasks, request| tasks.list_recurring_tasks(request).await;
                let answer = client
                    .call_service(client.task_service(), "ListRecurringTasks", Repeat::Safe, request, list)
                    .await?;
                Ok(Page { items: answer.tasks, next_page_token: answer.next_page_token })
            })
        })
    }
}

/// A task about to run now. Await it to send it.
#[must_use = "nothing is sent until this is awaited"]
#[derive(Debug)]
pub struct TriggerRecurringTask {
    client: Client,
    name: String,
    request_id: Option<String>,
}

impl TriggerRecurringTask {
    /// Id of this intent, at most 128 characters: calls that carry the same one within 24 h make one run. Default: a fresh one
    /// for each await.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    async fn send(self) -> Result<JobHandle<serde_json::Value>> {
        let request_id = self.request_id.unwrap_or_else(fresh_request_id);
        let request = pb::TriggerRecurringTaskRequest { name: self.name, request_id };
        let trigger = async |mut tasks: Tasks, request| tasks.trigger_recurring_task(request).await;
        let answer = self
            .client
            .call_service(self.client.task_service(), "TriggerRecurringTask", Repeat::Safe, request, trigger)
            .await?;
        let job = pb::EnqueuedJob {
            job_id: answer.job_id,
            ref_id: answer.ref_id,
            created: answer.created,
            state: pb::JobState::Queued.into(),
            ..Default::default()
        };
        Ok(JobHandle::new(self.client, job))
    }
}

impl IntoFuture for TriggerRecurringTask {
    type Output = Result<JobHandle<serde_json::Value>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// The next times of a schedule. Await it to send it.
#[must_use = "nothing is sent until this is awaited"]
#[derive(Debug)]
pub struct PreviewSchedule {
    client: Client,
    request: pb::PreviewScheduleRequest,
}

impl PreviewSchedule {
    /// How many times; at most 500. Default: 5.
    pub fn count(mut self, count: i32) -> Self {
        self.request.count = count;
        self
    }

    /// Only times after this one; an interval counts from it. Default: now.
    pub fn after_time(mut self, time: SystemTime) -> Self {
        self.request.after_time = Some(time.into());
        self
    }

    /// Only times before this one. Default: no end.
    pub fn end_time(mut self, time: SystemTime) -> Self {
        self.request.end_time = Some(time.into());
        self
    }

    async fn send(self) -> Result<pb::PreviewScheduleResponse> {
        let preview = async |mut tasks: Tasks, request| tasks.preview_schedule(request).await;
        self.client
            .call_service(self.client.task_service(), "PreviewSchedule", Repeat::Safe, self.request, preview)
            .await
    }
}

impl IntoFuture for PreviewSchedule {
    type Output = Result<pb::PreviewScheduleResponse>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_helper_is_the_macro_of_its_name() {
        for (schedule, text) in [
            (Schedule::every_minute(), "@every_minute"),
            (Schedule::hourly(), "@hourly"),
            (Schedule::daily(), "@daily"),
            (Schedule::weekly(), "@weekly"),
            (Schedule::monthly(), "@monthly"),
            (Schedule::yearly(), "@yearly"),
        ] {
            assert_eq!(schedule, Schedule::cron(text));
        }
    }

    #[test]
    fn what_is_set_goes_where_its_name_says() {
        let task =
            RecurringTask::named("work", [1, 2], Schedule::daily().time_zone("Europe/Vienna").seed("s"))
                .name("nightly")
                .description("what for")
                .overlap_policy(OverlapPolicy::BufferOne)
                .catch_up_policy(CatchUpPolicy::All(Duration::from_secs(5)))
                .enabled(false)
                .queue("nights")
                .tag("t");
        let message = task.message().unwrap();
        assert_eq!((message.name.as_str(), message.description.as_str()), ("nightly", "what for"));
        assert_eq!(message.overlap_policy(), OverlapPolicy::BufferOne);
        assert_eq!(message.catch_up_policy(), pb::CatchUpPolicy::All);
        assert_eq!(message.catch_up_window.unwrap().seconds, 5);
        assert_eq!(message.enabled, Some(false));
        let schedule = message.schedule.unwrap();
        assert_eq!((schedule.time_zone.as_str(), schedule.seed.as_str()), ("Europe/Vienna", "s"));
        let options = message.options.unwrap();
        assert_eq!((options.queue.as_str(), options.tag.as_str()), ("nights", "t"));
        let api = RecurringTask::api(ApiCall::http("shop", "PUT", "/sync"), (), Schedule::hourly())
            .message()
            .unwrap();
        assert!(matches!(api.work, Some(pb::recurring_task::Work::Api(api)) if api.target == "shop"));
    }

    #[test]
    fn a_request_that_cannot_be_written_is_told_when_it_is_put() {
        let odd = std::collections::HashMap::from([(vec![1u8], 1)]);
        let error = RecurringTask::named("work", odd, Schedule::daily()).message().unwrap_err();
        assert!(error.to_string().contains("request of a recurring task"), "{error}");
    }
}
