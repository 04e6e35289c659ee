use super::*;
use crate::engine::Result as Answered;

fn field_of<T: std::fmt::Debug>(answer: Answered<T>) -> String {
    match answer {
        Err(Error::Invalid(violations)) => violations[0].field.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_watch_needs_a_target_and_shows_log_lines_unless_told_not_to() {
    use pb::watch_job_request::Target;
    assert_eq!(field_of(watch_call(pb::WatchJobRequest::default())), "target");
    let by_id = pb::WatchJobRequest { target: Some(Target::JobId(3)), until: 2, ..Default::default() };
    assert!(watch_call(by_id.clone()).unwrap().logs);
    assert!(!watch_call(pb::WatchJobRequest { include_logs: Some(false), ..by_id.clone() }).unwrap().logs);
    assert_eq!(field_of(watch_call(pb::WatchJobRequest { until: 3, ..by_id })), "until");
    let by_nothing = pb::WatchJobRequest { target: Some(Target::RefId(String::new())), ..Default::default() };
    assert_eq!(field_of(watch_call(by_nothing)), "ref_id");
}

#[test]
fn a_cancel_has_a_bounded_reason_and_grace() {
    use pb::cancel_job_request::Target;
    let given = |reason: usize, seconds: i64| pb::CancelJobRequest {
        target: Some(Target::JobId(3)),
        reason: "x".repeat(reason),
        grace: Some(prost_types::Duration { seconds, nanos: 0 }),
    };
    let most = 30 * 86_400;
    assert_eq!(cancel_call(given(4_096, most)).unwrap().grace, limits::CANCEL_GRACE_MAX);
    assert_eq!(field_of(cancel_call(given(4_097, 1))), "reason");
    assert_eq!(field_of(cancel_call(given(1, most + 1))), "grace");
    assert_eq!(field_of(cancel_call(given(1, 0))), "grace");
    let plain = pb::CancelJobRequest { target: Some(Target::JobId(3)), ..Default::default() };
    assert_eq!(cancel_call(plain).unwrap().grace, limits::CANCEL_GRACE_DEFAULT);
}

#[test]
fn log_lines_are_counted_from_one_within_their_attempt() {
    let given = pb::ListJobLogsRequest { job_id: 3, epoch: 9, from_sequence: 5, ..Default::default() };
    let call = logs_call(given.clone()).unwrap();
    assert_eq!((call.after_sequence, call.page_size, call.level), (4, 50, Level::Trace));
    let without_epoch = pb::ListJobLogsRequest { epoch: 0, ..given };
    assert_eq!(field_of(logs_call(without_epoch)), "from_sequence");
}

#[test]
fn a_list_takes_month_order_and_page() {
    let given =
        pb::ListJobsRequest { month: "2026-11".into(), order: 2, page_size: 500, ..Default::default() };
    let call = list_call(given).unwrap();
    assert_eq!((call.page_size, call.month.map(|month| month.0)), (500, Some(202_611)));
    assert_eq!(field_of(list_call(pb::ListJobsRequest { order: 7, ..Default::default() })), "order");
    assert_eq!(
        field_of(list_call(pb::ListJobsRequest { page_size: 501, ..Default::default() })),
        "page_size"
    );
}
