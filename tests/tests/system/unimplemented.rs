//! What is in the contract and not built yet says so by its name: no method and no field is passed over in silence.

use haulier_proto::v1 as pb;
use haulier_tests::{Refusal, Server, on_both, refusal};
use pb::admin_service_client::AdminServiceClient;
use pb::queue_service_client::QueueServiceClient;
use pb::recurring_task_service_client::RecurringTaskServiceClient;
use tonic::Code;

on_both!(
    each_method_that_is_not_built_says_so_by_its_name,
    other_fields_that_are_not_built_say_so_by_their_name,
    a_method_that_no_contract_has_is_unimplemented,
);

#[track_caller]
fn must_say(refused: &Refusal, name: &str) {
    refused.must_be(Code::Unimplemented, "NOT_SUPPORTED");
    assert!(refused.message.contains(name), "wanted {name} in {refused:?}");
}

async fn each_method_that_is_not_built_says_so_by_its_name(server: &Server) {
    let channel = server.channel();
    macro_rules! check {
        ($client:expr; $($method:ident: $request:ident = $name:literal),+ $(,)?) => {
            let mut client = $client;
            $(must_say(&refusal(client.$method(pb::$request::default()).await), $name);)+
        };
    }
    check!(QueueServiceClient::new(channel.clone());
        update_queue: UpdateQueueRequest = "UpdateQueue",
    );
    check!(AdminServiceClient::new(channel);
        get_overview: GetOverviewRequest = "GetOverview",
        list_commands: ListCommandsRequest = "ListCommands",
        list_servers: ListServersRequest = "ListServers",
    );
}

async fn other_fields_that_are_not_built_say_so_by_their_name(server: &Server) {
    let command = pb::recurring_task::Work::Command("work".into());
    let every = pb::schedule::Timing::Cron("@daily".into());
    let schedule = Some(pb::Schedule { timing: Some(every), ..Default::default() });
    let task = pb::RecurringTask { work: Some(command), schedule, run_command: true, ..Default::default() };
    let request = pb::PutRecurringTaskRequest { task: Some(task) };
    let put = RecurringTaskServiceClient::new(server.channel()).put_recurring_task(request).await;
    must_say(&refusal(put), "task.run_command");
}

async fn a_method_that_no_contract_has_is_unimplemented(server: &Server) {
    let mut grpc = tonic::client::Grpc::new(server.channel());
    grpc.ready().await.unwrap();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/haulier.v1.JobService/Nonsense");
    let codec = tonic_prost::ProstCodec::<pb::GetJobRequest, pb::GetJobResponse>::default();
    let refused = refusal(grpc.unary(tonic::Request::new(pb::GetJobRequest::default()), path, codec).await);
    assert_eq!(refused.code, Code::Unimplemented);
}
