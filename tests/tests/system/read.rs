//! Reading jobs: one by one, in lists, with their attempts and log lines.

use std::collections::BTreeSet;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command, command_with, completed, failed, fixed_retry, json, text_of};
use haulier_tests::{HandWorker, Server, after, on_both, refusal, seconds, stamp};
use pb::job_result::Record;
use pb::{JobFilter, JobOptions, JobState, ListJobsRequest, ListOrder};
use tonic::Code;

on_both!(
    a_job_has_exactly_one_record_and_that_of_its_state,
    a_job_is_found_by_id_and_by_ref_id_wherever_it_lives,
    a_run_that_does_not_exist_is_refused_by_its_field,
    a_parent_comes_along_when_asked_for,
    jobs_are_listed_newest_first_and_oldest_first_in_pages_without_gaps_or_doubles,
    a_list_is_filtered_by_each_field,
    a_list_of_what_lives_finds_jobs_wherever_they_wait,
    a_list_of_a_month_holds_the_jobs_stored_in_it,
    a_page_that_begins_before_new_jobs_came_goes_on_where_it_stood,
    attempts_are_listed_in_pages_oldest_first,
    log_lines_are_listed_by_page_by_level_and_from_a_sequence,
);

async fn a_job_has_exactly_one_record_and_that_of_its_state(server: &Server) {
    let no_retry = || JobOptions { retry_policy: fixed_retry(0, 1.0), ..Default::default() };
    let delayed = JobOptions { delay: seconds(3_600.0), ..Default::default() };
    let scheduled = server.enqueue(command_with("work", delayed)).await.job_id;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(server.enqueue(command_with("work", no_retry())).await.job_id);
    }
    let cancelled = server.enqueue(command("other")).await.job_id;
    let queued = server.enqueue(command("other")).await.job_id;
    server.cancel(cancelled, "", None).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let jobs = worker.claim(3).await;
    worker.end_well(&jobs[0].lease, completed("1")).await;
    worker.end_well(&jobs[1].lease, failed("no")).await;
    let kind = |record: Option<Record>| match record {
        Some(Record::Queued(_)) => "queued",
        Some(Record::Completed(_)) => "completed",
        Some(Record::Failed(_)) => "failed",
        None => "none",
    };
    for (id, state, record) in [
        (scheduled, JobState::Scheduled, "queued"),
        (queued, JobState::Queued, "queued"),
        (jobs[2].job_id, JobState::Running, "queued"),
        (jobs[0].job_id, JobState::Completed, "completed"),
        (jobs[1].job_id, JobState::Failed, "failed"),
        (cancelled, JobState::Cancelled, "failed"),
    ] {
        let found = server.job(id).await;
        assert_eq!(found.summary.unwrap().state(), state);
        assert_eq!(kind(found.record), record, "{state:?}");
        assert!(!found.payloads_hidden);
    }
}

async fn a_job_is_found_by_id_and_by_ref_id_wherever_it_lives(server: &Server) {
    let options = JobOptions { ref_id: "one".into(), ..Default::default() };
    let stored = server.enqueue(command_with("work", options)).await;
    let both_agree = || async {
        let request = pb::GetJobByRefIdRequest { ref_id: "one".into(), ..Default::default() };
        let by_ref = server.jobs().get_job_by_ref_id(request).await.unwrap().into_inner().job.unwrap();
        assert_eq!(by_ref, server.job(stored.job_id).await);
        by_ref.summary.unwrap().state()
    };
    assert_eq!(both_agree().await, JobState::Queued);
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    assert_eq!(both_agree().await, JobState::Running);
    worker.end_well(&job.lease, completed("1")).await;
    assert_eq!(both_agree().await, JobState::Completed);
    let request = pb::GetJobByRefIdRequest { ref_id: "nobody".into(), ..Default::default() };
    refusal(server.jobs().get_job_by_ref_id(request).await).must_be(Code::NotFound, "JOB_NOT_FOUND");
    let request = pb::GetJobRequest { job_id: 987_654, ..Default::default() };
    refusal(server.jobs().get_job(request).await).must_be(Code::NotFound, "JOB_NOT_FOUND");
}

async fn a_run_that_does_not_exist_is_refused_by_its_field(server: &Server) {
    let stored = server.enqueue(command("work")).await;
    assert_eq!(server.run(stored.job_id, 1).await.summary.unwrap().run, 1);
    let request = pb::GetJobRequest { job_id: stored.job_id, run: 2, include_parent: false };
    refusal(server.jobs().get_job(request).await).must_name("run");
}

async fn a_parent_comes_along_when_asked_for(server: &Server) {
    let parent =
        server.enqueue(pb::EnqueueCommandRequest { request: json("[1]"), ..command("parent") }).await;
    let options = JobOptions { parent_id: parent.job_id, ..Default::default() };
    let child = server.enqueue(command_with("child", options)).await;
    let request = pb::GetJobRequest { job_id: child.job_id, run: 0, include_parent: true };
    let found = server.jobs().get_job(request).await.unwrap().into_inner().job.unwrap();
    let shown = found.parent.unwrap();
    assert_eq!(
        (shown.job_id, shown.ref_id.as_str(), shown.state()),
        (parent.job_id, parent.ref_id.as_str(), JobState::Queued)
    );
    assert_eq!((text_of(&shown.request), shown.command.as_str()), ("[1]", "parent"));
    assert!(server.job(child.job_id).await.parent.is_none());
}

async fn list(server: &Server, request: ListJobsRequest) -> pb::ListJobsResponse {
    server.jobs().list_jobs(request).await.expect("a list is answered").into_inner()
}

/// The ids of all pages of a list.
async fn all_pages(server: &Server, request: ListJobsRequest) -> Vec<i64> {
    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = list(server, ListJobsRequest { page_token, ..request.clone() }).await;
        assert!(request.page_size == 0 || page.jobs.len() <= request.page_size as usize);
        ids.extend(page.jobs.iter().map(|job| job.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return ids;
        }
    }
}

async fn jobs_are_listed_newest_first_and_oldest_first_in_pages_without_gaps_or_doubles(server: &Server) {
    let mut stored = Vec::new();
    for _ in 0..57 {
        stored.push(server.enqueue(command("work")).await.job_id);
    }
    // Some live, some ended, some running: one list over all of them.
    let mut worker = HandWorker::register(server, &["work"]).await;
    for job in worker.claim(20).await.iter().step_by(2) {
        worker.end_well(&job.lease, completed("1")).await;
    }
    for page_size in [1, 10, 57, 500] {
        let oldest =
            ListJobsRequest { page_size, order: ListOrder::OldestFirst.into(), ..Default::default() };
        assert_eq!(all_pages(server, oldest).await, stored, "oldest first, pages of {page_size}");
        let newest = ListJobsRequest { page_size, ..Default::default() };
        let reversed: Vec<_> = stored.iter().rev().copied().collect();
        assert_eq!(all_pages(server, newest).await, reversed, "newest first, pages of {page_size}");
    }
    let first = list(server, ListJobsRequest::default()).await;
    assert_eq!(first.jobs.len(), 50, "the default size of a page");
}

async fn a_list_is_filtered_by_each_field(server: &Server) {
    let before = after(-1.0);
    let parent = server.enqueue(command("plain")).await.job_id;
    let special = JobOptions {
        queue: "mail".into(),
        priority: Some(22),
        tag: "red".into(),
        batch_id: "b1".into(),
        parent_id: parent,
        created_by: "ada".into(),
        user_id: "bob".into(),
        args: [("shop".to_owned(), "7".to_owned()), ("lang".to_owned(), "de".to_owned())].into(),
        ref_id: "order-1".into(),
        ..Default::default()
    };
    let one = server.enqueue(command_with("SendMail", special.clone())).await.job_id;
    let two = JobOptions { ref_id: "order-2".into(), tag: "blue".into(), ..special };
    let two = server.enqueue(command_with("SendMail", two)).await.job_id;
    let mut worker = HandWorker::register(server, &["plain"]).await;
    let job = worker.claim_one().await;
    let outcome = pb::outcome_report::Outcome::Fail(pb::FailOutcome {
        code: "E42".into(),
        message: "the Printer is on fire".into(),
        retryable: Some(false),
        ..Default::default()
    });
    worker.end_well(&job.lease, outcome).await;

    let f = JobFilter::default;
    let args =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let cases = [
        ("nothing", f(), vec![parent, one, two]),
        ("states", JobFilter { states: vec![JobState::Failed.into()], ..f() }, vec![parent]),
        (
            "live states",
            JobFilter { states: vec![JobState::Queued.into(), JobState::Running.into()], ..f() },
            vec![one, two],
        ),
        ("command", JobFilter { command: "SendMail".into(), ..f() }, vec![one, two]),
        ("a command that is only a part", JobFilter { command: "Send".into(), ..f() }, vec![]),
        ("queue", JobFilter { queue: "default".into(), ..f() }, vec![parent]),
        ("priority", JobFilter { priority: Some(22), ..f() }, vec![one, two]),
        ("tag", JobFilter { tag: "red".into(), ..f() }, vec![one]),
        ("tag in other letters", JobFilter { tag: "RED".into(), ..f() }, vec![]),
        ("batch_id", JobFilter { batch_id: "b1".into(), ..f() }, vec![one, two]),
        ("parent_id", JobFilter { parent_id: parent, ..f() }, vec![one, two]),
        ("created_by", JobFilter { created_by: "ada".into(), ..f() }, vec![one, two]),
        ("user_id", JobFilter { user_id: "bob".into(), ..f() }, vec![one, two]),
        ("args", JobFilter { args: args(&[("shop", "7"), ("lang", "de")]), ..f() }, vec![one, two]),
        ("args with another value", JobFilter { args: args(&[("shop", "8")]), ..f() }, vec![]),
        ("ref_id_prefix", JobFilter { ref_id_prefix: "order-".into(), ..f() }, vec![one, two]),
        ("create_time_from", JobFilter { create_time_from: after(3_600.0), ..f() }, vec![]),
        ("create_time_to", JobFilter { create_time_to: before, ..f() }, vec![]),
        (
            "create times",
            JobFilter { create_time_from: before, create_time_to: after(60.0), ..f() },
            vec![parent, one, two],
        ),
        ("error_code", JobFilter { error_code: "E42".into(), ..f() }, vec![parent]),
        ("text in the error", JobFilter { text: "printer".into(), ..f() }, vec![parent]),
        ("text in the command", JobFilter { text: "ENDMAI".into(), ..f() }, vec![one, two]),
        ("text in the ref id", JobFilter { text: "Order-2".into(), ..f() }, vec![two]),
        ("text in the tag", JobFilter { text: "blu".into(), ..f() }, vec![two]),
        ("two fields", JobFilter { command: "SendMail".into(), tag: "blue".into(), ..f() }, vec![two]),
        (
            "two fields that exclude each other",
            JobFilter { command: "plain".into(), tag: "blue".into(), ..f() },
            vec![],
        ),
    ];
    for (what, filter, wanted) in cases {
        for page_size in [0, 1] {
            let request = ListJobsRequest {
                filter: Some(filter.clone()),
                order: ListOrder::OldestFirst.into(),
                page_size,
                ..Default::default()
            };
            assert_eq!(all_pages(server, request).await, wanted, "filtered by {what}, pages of {page_size}");
        }
    }
    // A boundary belongs to `from`, not to `to`.
    let created = server.summary(one).await.create_time;
    let from = JobFilter { create_time_from: created, ..f() };
    let ids = all_pages(server, ListJobsRequest { filter: Some(from), ..Default::default() }).await;
    assert!(ids.contains(&one));
    let to = JobFilter { create_time_to: created, ..f() };
    let ids = all_pages(server, ListJobsRequest { filter: Some(to), ..Default::default() }).await;
    assert!(!ids.contains(&one));
}

async fn a_list_of_what_lives_finds_jobs_wherever_they_wait(server: &Server) {
    let mail = || JobOptions { queue: "mail".into(), ..Default::default() };
    let in_lane = || JobOptions { worker: Some("one".into()), ..mail() };
    let mut worker = HandWorker::register(server, &["held"]).await;
    let held = server.enqueue(command("held")).await.job_id;
    worker.claim_one().await;
    let ready = server.enqueue(command_with("work", mail())).await.job_id;
    let delayed = JobOptions { delay: seconds(3_600.0), ..mail() };
    let delayed = server.enqueue(command_with("work", delayed)).await.job_id;
    let on = pb::Dependency { parent: Some(pb::dependency::Parent::JobId(held)), condition: 0 };
    let blocked = JobOptions { depends_on: vec![on], ..mail() };
    let blocked = server.enqueue(command_with("work", blocked)).await.job_id;
    let first = server.enqueue(command_with("work", in_lane())).await.job_id;
    let second = server.enqueue(command_with("work", in_lane())).await.job_id;
    let later = JobOptions { delay: seconds(3_600.0), ..in_lane() };
    let later = server.enqueue(command_with("work", later)).await.job_id;
    let other_command = server.enqueue(command_with("other", mail())).await.job_id;
    let other_queue = server.enqueue(command("work")).await.job_id;

    let of_work = vec![ready, delayed, blocked, first, second, later];
    let f = JobFilter::default;
    let with = |ids: &[i64], more: i64| [ids, &[more]].concat();
    let cases = [
        ("queue", JobFilter { queue: "mail".into(), ..f() }, with(&of_work, other_command)),
        ("command", JobFilter { command: "work".into(), ..f() }, with(&of_work, other_queue)),
        ("both", JobFilter { queue: "mail".into(), command: "work".into(), ..f() }, of_work),
        ("what runs", JobFilter { command: "held".into(), ..f() }, vec![held]),
        ("a command that nobody knows", JobFilter { command: "nobody".into(), ..f() }, vec![]),
        ("an API", JobFilter { api: "target".into(), ..f() }, vec![]),
    ];
    let live = [JobState::Scheduled, JobState::Blocked, JobState::Queued, JobState::Running];
    for (what, filter, wanted) in cases {
        let filter = JobFilter { states: live.map(i32::from).to_vec(), ..filter };
        for (order, page_size) in [(ListOrder::OldestFirst, 0), (ListOrder::NewestFirst, 2)] {
            let request = ListJobsRequest {
                filter: Some(filter.clone()),
                order: order.into(),
                page_size,
                ..Default::default()
            };
            let mut ids = all_pages(server, request).await;
            if order == ListOrder::NewestFirst {
                ids.reverse();
            }
            assert_eq!(ids, wanted, "by {what}, {order:?}");
        }
    }
    let filter = JobFilter { queue: "mail".into(), command: "work".into(), ..f() };
    let request = pb::CancelJobsRequest { filter: Some(filter), ..Default::default() };
    let done = server.jobs().cancel_jobs(request).await.unwrap().into_inner();
    assert_eq!(done.matched_count, 6, "{done:?}");
    assert_eq!(server.summary(other_command).await.state(), JobState::Queued);
}

async fn a_list_of_a_month_holds_the_jobs_stored_in_it(server: &Server) {
    let stored = server.enqueue(command("work")).await.job_id;
    let micros = stamp(&server.summary(stored).await.create_time);
    let month = month_of(micros);
    let of = |month: &str| ListJobsRequest { month: month.into(), ..Default::default() };
    assert_eq!(all_pages(server, of(&month)).await, [stored]);
    assert!(all_pages(server, of("2001-01")).await.is_empty());
    assert!(all_pages(server, of("2999-12")).await.is_empty());
}

/// `YYYY-MM` of a time, by the civil calendar.
fn month_of(micros: i64) -> String {
    let mut days = micros.div_euclid(86_400_000_000);
    let (mut year, mut month) = (1970, 1);
    loop {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if days < length {
            return format!("{year:04}-{month:02}");
        }
        days -= length;
        (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    }
}

async fn a_page_that_begins_before_new_jobs_came_goes_on_where_it_stood(server: &Server) {
    let mut stored = BTreeSet::new();
    for _ in 0..10 {
        stored.insert(server.enqueue(command("work")).await.job_id);
    }
    let first = list(server, ListJobsRequest { page_size: 4, ..Default::default() }).await;
    for _ in 0..5 {
        server.enqueue(command("work")).await;
    }
    let mut worker = HandWorker::register(server, &["work"]).await;
    for job in worker.claim(6).await {
        worker.end_well(&job.lease, completed("1")).await;
    }
    let mut seen: Vec<i64> = first.jobs.iter().map(|job| job.id).collect();
    let mut page_token = first.next_page_token;
    while !page_token.is_empty() {
        let page = list(server, ListJobsRequest { page_size: 4, page_token, ..Default::default() }).await;
        seen.extend(page.jobs.iter().map(|job| job.id));
        page_token = page.next_page_token;
    }
    assert_eq!(seen.len(), 10, "{seen:?}");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), stored);
}

async fn attempts_are_listed_in_pages_oldest_first(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(10, 0.05), ..Default::default() };
    let stored = server.enqueue(command_with("work", options)).await.job_id;
    let mut worker = HandWorker::register(server, &["work"]).await;
    for _ in 0..5 {
        let job = worker.claim_one().await;
        worker.end_well(&job.lease, failed("no")).await;
    }
    worker.claim_one().await;
    let mut numbers = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListJobAttemptsRequest { job_id: stored, run: 0, page_size: 2, page_token };
        let page = server.jobs().list_job_attempts(request).await.unwrap().into_inner();
        assert!(page.attempts.len() <= 2);
        numbers.extend(page.attempts.iter().map(|attempt| (attempt.attempt, attempt.finish_time.is_some())));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(numbers, [(1, true), (2, true), (3, true), (4, true), (5, true), (6, false)]);
    let request = pb::ListJobAttemptsRequest { job_id: 987_654, ..Default::default() };
    refusal(server.jobs().list_job_attempts(request).await).must_be(Code::NotFound, "JOB_NOT_FOUND");
    let epochs: Vec<_> = server.attempts(stored).await.iter().map(|attempt| attempt.epoch).collect();
    assert!(epochs.is_sorted() && epochs.iter().all(|epoch| *epoch > 0));
}

async fn log_lines_are_listed_by_page_by_level_and_from_a_sequence(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(3, 0.05), ..Default::default() };
    let stored = server.enqueue(command_with("work", options)).await.job_id;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let mut epochs = Vec::new();
    for attempt in 1..=2 {
        let job = worker.claim_one().await;
        epochs.push(job.fencing_token);
        let entry = |line: i64| pb::LogEntry {
            message: format!("{attempt}.{line}"),
            level: if line % 3 == 0 { pb::LogLevel::Error.into() } else { pb::LogLevel::Debug.into() },
            ..Default::default()
        };
        let report =
            pb::LogReport { lease: job.lease.clone(), from_sequence: 0, lines: (1..=9).map(entry).collect() };
        worker.report(pb::ReportJobsRequest { logs: vec![report], ..Default::default() }).await;
        worker.end_after(&job.lease, 9, failed("no")).await;
    }
    let texts = |request: pb::ListJobLogsRequest| async move {
        let mut texts = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = pb::ListJobLogsRequest { page_token, ..request.clone() };
            let page = server.jobs().list_job_logs(request).await.unwrap().into_inner();
            texts.extend(page.lines.into_iter().map(|line| line.message));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return texts;
            }
        }
    };
    let of = || pb::ListJobLogsRequest { job_id: stored, ..Default::default() };
    let all: Vec<String> =
        (1..=2).flat_map(|attempt| (1..=9).map(move |line| format!("{attempt}.{line}"))).collect();
    for page_size in [0, 1, 4, 9, 18] {
        assert_eq!(texts(pb::ListJobLogsRequest { page_size, ..of() }).await, all, "pages of {page_size}");
    }
    let errors = ["1.3", "1.6", "1.9", "2.3", "2.6", "2.9"];
    for page_size in [0, 2] {
        let request = pb::ListJobLogsRequest { min_level: pb::LogLevel::Warn.into(), page_size, ..of() };
        assert_eq!(texts(request).await, errors, "pages of {page_size}");
    }
    let second = pb::ListJobLogsRequest { epoch: epochs[1], ..of() };
    assert_eq!(texts(second.clone()).await, all[9..]);
    assert_eq!(texts(pb::ListJobLogsRequest { from_sequence: 7, ..second }).await, all[15..]);
    let from_first = pb::ListJobLogsRequest { epoch: epochs[0], from_sequence: 9, ..of() };
    assert_eq!(texts(from_first).await, all[8..], "later attempts of the run follow");
    let request = pb::ListJobLogsRequest { job_id: 987_654, ..Default::default() };
    refusal(server.jobs().list_job_logs(request).await).must_be(Code::NotFound, "JOB_NOT_FOUND");
}
