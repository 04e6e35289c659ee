//! Months of history: listed, exported, dropped; and what retention forgets.

use std::process::Command;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command_with, completed, failed, fixed_retry, json, text_of};
use haulier_tests::{Database, HandWorker, Launch, Server, haulier_binary, lines, on_both, refusal, until};
use pb::admin_service_client::AdminServiceClient;
use pb::export_history_month_response::Record;
use pb::{HistoryState, JobOptions, JobState};
use tonic::Code;
use tonic::transport::Channel;

on_both!(
    the_current_month_is_counted_exported_and_cannot_be_dropped,
    an_export_that_was_cut_goes_on_after_its_token,
    bad_months_and_tokens_are_named,
);

fn admin(server: &Server) -> AdminServiceClient<Channel> {
    AdminServiceClient::new(server.channel())
}

/// One job of each ending, the failed one with a log line and a second run.
async fn some_history(server: &Server) -> [i64; 3] {
    let options =
        JobOptions { retry_policy: fixed_retry(0, 1.0), ref_id: "bad".into(), ..Default::default() };
    let good = server
        .enqueue(pb::EnqueueCommandRequest {
            request: json("[1]"),
            ..command_with("work", JobOptions { tag: "t".into(), ..Default::default() })
        })
        .await
        .job_id;
    let bad = server.enqueue(command_with("work", options)).await.job_id;
    let gone = server.enqueue(command_with("unserved", JobOptions::default())).await.job_id;
    server.cancel(gone, "no", None).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    for _ in 0..2 {
        let job = worker.claim_one().await;
        if job.job_id == good {
            worker.end_well(&job.lease, completed("7")).await;
            continue;
        }
        let logs = vec![lines(&job.lease, 0, &["one", "two"])];
        worker.report(pb::ReportJobsRequest { logs, ..Default::default() }).await;
        assert_eq!(worker.end_after(&job.lease, 2, failed("no")).await.state(), JobState::Failed);
    }
    server.requeue(bad).await;
    let job = worker.claim_one().await;
    worker.end_well(&job.lease, failed("again")).await;
    [good, bad, gone]
}

async fn this_month(server: &Server) -> pb::HistoryMonth {
    let answer = admin(server).list_history_months(pb::ListHistoryMonthsRequest::default()).await;
    answer.unwrap().into_inner().months.remove(0)
}

async fn export(server: &Server, resume_token: &str) -> Vec<pb::ExportHistoryMonthResponse> {
    let month = this_month(server).await.month;
    let request =
        pb::ExportHistoryMonthRequest { month, resume_token: resume_token.into(), ..Default::default() };
    let mut stream = admin(server).export_history_month(request).await.unwrap().into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        messages.push(message);
    }
    messages
}

async fn the_current_month_is_counted_exported_and_cannot_be_dropped(server: &Server) {
    let [good, bad, gone] = some_history(server).await;
    server.enqueue(command_with("unserved", JobOptions::default())).await;
    let month = this_month(server).await;
    assert_eq!(month.state(), HistoryState::Open);
    let counts = (month.completed_count, month.failed_count, month.cancelled_count, month.live_count);
    assert_eq!(counts, (1, 2, 1, 1));
    assert!(month.last_finish_time.is_some() && month.drop_time.is_none());
    let exported = export(server, "").await;
    let of = |id: i64| exported.iter().filter(move |message| message.job_id == id);
    let runs: Vec<&pb::JobResult> = exported
        .iter()
        .filter_map(|message| match &message.record {
            Some(Record::Job(job)) => Some(job),
            _ => None,
        })
        .collect();
    let told: Vec<(i64, i32)> =
        runs.iter().map(|job| job.summary.as_ref().map(|is| (is.id, is.run)).unwrap()).collect();
    assert_eq!(told, [(good, 1), (bad, 1), (bad, 2), (gone, 1)]);
    let Some(pb::job_result::Record::Completed(done)) = &runs[0].record else { panic!("{:?}", runs[0]) };
    assert_eq!((text_of(&done.request), text_of(&done.result)), ("[1]", "7"));
    assert_eq!(of(bad).filter(|message| matches!(message.record, Some(Record::Attempt(_)))).count(), 2);
    assert_eq!(of(bad).filter(|message| matches!(message.record, Some(Record::LogLine(_)))).count(), 2);
    for validate_only in [false] {
        let request = pb::DropHistoryMonthRequest { month: month.month.clone(), validate_only };
        let refused = refusal(admin(server).drop_history_month(request).await);
        refused.must_be(Code::FailedPrecondition, "MONTH_IN_USE");
    }
    let request = pb::DropHistoryMonthRequest { month: month.month.clone(), validate_only: true };
    let looked = admin(server).drop_history_month(request).await.unwrap().into_inner().month.unwrap();
    assert_eq!((looked.month, looked.failed_count), (month.month.clone(), 2));
    assert_eq!(server.summary(good).await.state(), JobState::Completed);
    let output = Command::new(haulier_binary())
        .args(["history", "export", &month.month, "--address", &server.address()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let written: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(written.len(), exported.len(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(written[0]["job"]["summary"]["state"], "JOB_STATE_COMPLETED");
}

async fn an_export_that_was_cut_goes_on_after_its_token(server: &Server) {
    some_history(server).await;
    let all = export(server, "").await;
    for cut in 0..all.len() {
        let rest = export(server, &all[cut].resume_token).await;
        assert_eq!(rest, all[cut + 1..], "cut after {cut}");
    }
}

async fn bad_months_and_tokens_are_named(server: &Server) {
    let drop = |month: &str| {
        let request = pb::DropHistoryMonthRequest { month: month.into(), ..Default::default() };
        let mut admin = admin(server);
        async move { refusal(admin.drop_history_month(request).await) }
    };
    drop("").await.must_name("month");
    drop("last").await.must_name("month");
    drop("2020-13").await.must_name("month");
    drop("2019-01").await.must_be(Code::NotFound, "RESOURCE_NOT_FOUND");
    let request = pb::ExportHistoryMonthRequest { month: "2019-01".into(), ..Default::default() };
    refusal(admin(server).export_history_month(request).await.map(|_| ()))
        .must_be(Code::NotFound, "RESOURCE_NOT_FOUND");
    let month = this_month(server).await.month;
    let request =
        pb::ExportHistoryMonthRequest { month, resume_token: "nonsense".into(), ..Default::default() };
    let mut stream = admin(server).export_history_month(request).await.unwrap().into_inner();
    refusal(stream.message().await).must_be(Code::InvalidArgument, "BAD_TOKEN");
}

async fn nothing_is_kept_of_a_success(database: Database) {
    let config = "[retention]\ncompleted = \"0s\"\n".to_owned();
    let server = Server::start(Launch { config, ..Launch::from(database) }).await;
    let [good, bad, gone] = some_history(&server).await;
    until("the completed job is forgotten", async || {
        let request = pb::GetJobRequest { job_id: good, ..Default::default() };
        server.jobs().get_job(request).await.is_err().then_some(())
    })
    .await;
    let request = pb::GetJobRequest { job_id: good, ..Default::default() };
    refusal(server.jobs().get_job(request).await).must_be(Code::NotFound, "JOB_NOT_FOUND");
    assert_eq!(server.summary(bad).await.state(), JobState::Failed);
    assert_eq!(server.summary(gone).await.state(), JobState::Cancelled);
    let filter = Some(pb::JobFilter { tag: "t".into(), ..Default::default() });
    let request = pb::ListJobsRequest { filter, ..Default::default() };
    assert!(server.jobs().list_jobs(request).await.unwrap().into_inner().jobs.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_of_a_success_on_sqlite() {
    nothing_is_kept_of_a_success(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_of_a_success_on_mariadb() {
    nothing_is_kept_of_a_success(Database::MariaDb).await;
}
