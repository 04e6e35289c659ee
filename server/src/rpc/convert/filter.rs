//! Filters over jobs, and the order of lists.

use haulier_proto::v1 as pb;

use crate::model::{Filter, Order, Reply, State, limits};
use crate::rpc::check::{Check, wire};

/// Reads a filter; the field is the path that `check` is at.
pub(crate) fn filter(check: &mut Check, given: Option<pb::JobFilter>) -> Filter {
    let given = given.unwrap_or_default();
    check_texts(check, &given);
    let filter = Filter {
        states: states(check, &given.states),
        command: given.command,
        api: given.api,
        queue: given.queue,
        priority: given.priority.map(|is| check.number("priority", is, 1..=limits::PRIORITY_MAX)),
        worker: given.worker,
        tag: given.tag,
        batch_id: given.batch_id,
        parent_id: check.optional_job_id("parent_id", given.parent_id),
        created_by: given.created_by,
        user_id: given.user_id,
        args: given.args.into_iter().collect(),
        recurring_task: given.recurring_task,
        reply_to: Reply::without_credentials(&given.reply_to),
        ref_id_prefix: given.ref_id_prefix,
        create_time_from: check.time("create_time_from", given.create_time_from),
        create_time_to: check.time("create_time_to", given.create_time_to),
        error_code: given.error_code,
        text: given.text,
    };
    if let (Some(from), Some(to)) = (filter.create_time_from, filter.create_time_to)
        && to <= from
    {
        check.refuse("create_time_to", "is not later than `create_time_from`: nothing would match");
    }
    filter
}

/// Reads the order of a list.
pub(crate) fn list_order(check: &mut Check, order: i32) -> Order {
    match check.one_of("order", order) {
        pb::ListOrder::Unspecified | pb::ListOrder::NewestFirst => Order::NewestFirst,
        pb::ListOrder::OldestFirst => Order::OldestFirst,
    }
}

fn check_texts(check: &mut Check, given: &pb::JobFilter) {
    check.optional_name("command", &given.command);
    check.bytes("api", &given.api, wire::API_BYTES_MAX);
    check.optional_name("queue", &given.queue);
    for (field, text) in [
        ("tag", &given.tag),
        ("batch_id", &given.batch_id),
        ("created_by", &given.created_by),
        ("user_id", &given.user_id),
        ("recurring_task", &given.recurring_task),
        ("ref_id_prefix", &given.ref_id_prefix),
        ("error_code", &given.error_code),
    ] {
        check.text(field, text);
    }
    check.optional_name("worker", &given.worker);
    check.chars("text", &given.text, limits::TEXT_CHARS_MAX);
    check.count("args", given.args.len(), limits::FILTER_ARGS_MAX);
    check.bytes("reply_to", &given.reply_to, limits::REPLY_TO_BYTES_MAX);
}

/// UNSPECIFIED among them stands for all states.
fn states(check: &mut Check, given: &[i32]) -> Vec<State> {
    let mut states = Vec::new();
    for (index, number) in given.iter().enumerate() {
        match state(check.one_of(format_args!("states[{index}]"), *number)) {
            Some(state) if states.contains(&state) => {}
            Some(state) => states.push(state),
            None => return Vec::new(),
        }
    }
    states
}

fn state(given: pb::JobState) -> Option<State> {
    Some(match given {
        pb::JobState::Unspecified => return None,
        pb::JobState::Scheduled => State::Scheduled,
        pb::JobState::Blocked => State::Blocked,
        pb::JobState::Queued => State::Queued,
        pb::JobState::Running => State::Running,
        pb::JobState::Executed => State::Executed,
        pb::JobState::Completed => State::Completed,
        pb::JobState::Failed => State::Failed,
        pb::JobState::Cancelled => State::Cancelled,
    })
}
