//! `haulier.v1.RecurringTaskService`: tasks that recur. Convert, call the engine, convert.

use haulier_proto::v1 as pb;
use haulier_proto::v1::recurring_task_service_server::RecurringTaskService;
use tonic::{Request, Response, Status};

use super::check::Check;
use super::convert::{self, Settings};
use super::status;
use crate::engine::{Engine, Error, PutTask};
use crate::model::limits;

/// What a method answers.
type Answer<T> = Result<Response<T>, Status>;

/// Serves recurring tasks.
#[derive(Clone)]
pub(crate) struct RecurringTasks {
    pub(crate) engine: Engine,
    pub(crate) settings: Settings,
}

#[tonic::async_trait]
impl RecurringTaskService for RecurringTasks {
    async fn put_recurring_task(
        &self,
        request: Request<pb::PutRecurringTaskRequest>,
    ) -> Answer<pb::PutRecurringTaskResponse> {
        let now = self.engine.now();
        let call = convert::put_task(request.into_inner(), &self.settings, now).map_err(status::of)?;
        let (task, put) = self.engine.put_task(call).await.map_err(status::of)?;
        let result = match put {
            PutTask::Created => pb::PutResult::Created,
            PutTask::Updated => pb::PutResult::Updated,
            PutTask::Unchanged => pb::PutResult::Unchanged,
        };
        let task = convert::task_message(&task, self.engine.now());
        Ok(Response::new(pb::PutRecurringTaskResponse { task: Some(task), result: result.into() }))
    }

    async fn get_recurring_task(
        &self,
        request: Request<pb::GetRecurringTaskRequest>,
    ) -> Answer<pb::GetRecurringTaskResponse> {
        let name = task_name(request.into_inner().name).map_err(status::of)?;
        let task = self.engine.task(name).await.map_err(status::of)?;
        let task = convert::task_message(&task, self.engine.now());
        Ok(Response::new(pb::GetRecurringTaskResponse { task: Some(task) }))
    }

    async fn list_recurring_tasks(
        &self,
        request: Request<pb::ListRecurringTasksRequest>,
    ) -> Answer<pb::ListRecurringTasksResponse> {
        let call = convert::list_tasks(request.into_inner()).map_err(status::of)?;
        let page = self.engine.tasks(call).await.map_err(status::of)?;
        let now = self.engine.now();
        let tasks = page.items.iter().map(|task| convert::task_message(task, now)).collect();
        Ok(Response::new(pb::ListRecurringTasksResponse { tasks, next_page_token: page.next }))
    }

    async fn delete_recurring_task(
        &self,
        request: Request<pb::DeleteRecurringTaskRequest>,
    ) -> Answer<pb::DeleteRecurringTaskResponse> {
        let name = task_name(request.into_inner().name).map_err(status::of)?;
        let task = self.engine.delete_task(name).await.map_err(status::of)?;
        let task = convert::task_message(&task, self.engine.now());
        Ok(Response::new(pb::DeleteRecurringTaskResponse { task: Some(task) }))
    }

    async fn pause_recurring_task(
        &self,
        request: Request<pb::PauseRecurringTaskRequest>,
    ) -> Answer<pb::PauseRecurringTaskResponse> {
        let given = request.into_inner();
        let mut check = Check::new();
        check.required_text("name", &given.name);
        check.bytes("reason", &given.reason, limits::REASON_BYTES_MAX);
        let (name, reason) = check.pass((given.name, given.reason)).map_err(status::of)?;
        let task = self.engine.pause_task(name, reason).await.map_err(status::of)?;
        let task = convert::task_message(&task, self.engine.now());
        Ok(Response::new(pb::PauseRecurringTaskResponse { task: Some(task) }))
    }

    async fn resume_recurring_task(
        &self,
        request: Request<pb::ResumeRecurringTaskRequest>,
    ) -> Answer<pb::ResumeRecurringTaskResponse> {
        let name = task_name(request.into_inner().name).map_err(status::of)?;
        let task = self.engine.resume_task(name).await.map_err(status::of)?;
        let task = convert::task_message(&task, self.engine.now());
        Ok(Response::new(pb::ResumeRecurringTaskResponse { task: Some(task) }))
    }

    async fn trigger_recurring_task(
        &self,
        request: Request<pb::TriggerRecurringTaskRequest>,
    ) -> Answer<pb::TriggerRecurringTaskResponse> {
        let given = request.into_inner();
        let mut check = Check::new();
        check.required_text("name", &given.name);
        check.chars("request_id", &given.request_id, limits::REQUEST_ID_CHARS_MAX);
        check.text("request_id", &given.request_id);
        let (name, request_id) = check.pass((given.name, given.request_id)).map_err(status::of)?;
        let run = self.engine.trigger_task(name, request_id).await.map_err(status::of)?;
        Ok(Response::new(pb::TriggerRecurringTaskResponse {
            job_id: run.job.0,
            ref_id: run.ref_id,
            created: run.created,
        }))
    }

    async fn preview_schedule(
        &self,
        request: Request<pb::PreviewScheduleRequest>,
    ) -> Answer<pb::PreviewScheduleResponse> {
        let answer = convert::preview(request.into_inner(), self.engine.now()).map_err(status::of)?;
        Ok(Response::new(answer))
    }
}

fn task_name(name: String) -> Result<String, Error> {
    let mut check = Check::new();
    check.required_text("name", &name);
    check.pass(name)
}
