//! Services of the contract that are not built yet: registered, so that reflection and callers see them, and every method
//! answers UNIMPLEMENTED with a sentence.

use haulier_proto::v1 as pb;
use haulier_proto::v1::recurring_task_service_server::RecurringTaskService;
use tonic::{Request, Response, Status};

use super::status::not_built;

/// Stands for each of these services.
#[derive(Clone, Copy)]
pub(crate) struct NotBuilt;

macro_rules! not_built {
    ($service:ident { $($method:ident($request:ident) -> $response:ty, $name:literal;)* } $($stream:item)*) => {
        #[tonic::async_trait]
        impl $service for NotBuilt {
            $($stream)*
            $(
                async fn $method(&self, _: Request<pb::$request>) -> Result<Response<$response>, Status> {
                    Err(not_built(concat!(stringify!($service), ".", $name)))
                }
            )*
        }
    };
}

not_built!(RecurringTaskService {
    put_recurring_task(PutRecurringTaskRequest) -> pb::PutRecurringTaskResponse, "PutRecurringTask";
    get_recurring_task(GetRecurringTaskRequest) -> pb::GetRecurringTaskResponse, "GetRecurringTask";
    list_recurring_tasks(ListRecurringTasksRequest) -> pb::ListRecurringTasksResponse, "ListRecurringTasks";
    delete_recurring_task(DeleteRecurringTaskRequest) -> pb::DeleteRecurringTaskResponse, "DeleteRecurringTask";
    pause_recurring_task(PauseRecurringTaskRequest) -> pb::PauseRecurringTaskResponse, "PauseRecurringTask";
    resume_recurring_task(ResumeRecurringTaskRequest) -> pb::ResumeRecurringTaskResponse, "ResumeRecurringTask";
    trigger_recurring_task(TriggerRecurringTaskRequest) -> pb::TriggerRecurringTaskResponse, "TriggerRecurringTask";
    preview_schedule(PreviewScheduleRequest) -> pb::PreviewScheduleResponse, "PreviewSchedule";
});
