//! Notifications: how they are asked for and shown.

use haulier_proto::v1 as pb;

use super::{duration, timestamp};
use crate::engine::{ListDeliveriesCall, Result};
use crate::model::{Delivery, DeliveryId, DeliveryState, DeliveryTry};
use crate::rpc::check::Check;

/// The method of an address that names none.
const METHOD_DEFAULT: &str = "POST";

/// Reads ListDeliveries.
pub(crate) fn list_deliveries(given: pb::ListDeliveriesRequest) -> Result<ListDeliveriesCall> {
    let mut check = Check::new();
    check.token("page_token", &given.page_token);
    let call = ListDeliveriesCall {
        job: check.optional_job_id("job_id", given.job_id),
        states: states(&mut check, &given.states),
        page_size: check.page_size("page_size", given.page_size),
        page_token: given.page_token,
    };
    check.pass(call)
}

/// Reads ReplayDelivery.
pub(crate) fn replay_delivery(given: &pb::ReplayDeliveryRequest) -> Result<DeliveryId> {
    let mut check = Check::new();
    let id = check.number("delivery_id", given.delivery_id, 1..=i64::MAX);
    check.pass(DeliveryId(id))
}

/// UNSPECIFIED among them stands for all states.
fn states(check: &mut Check, given: &[i32]) -> Vec<DeliveryState> {
    let mut states = Vec::new();
    for (index, number) in given.iter().enumerate() {
        let state = match check.one_of(format_args!("states[{index}]"), *number) {
            pb::DeliveryState::Unspecified => return Vec::new(),
            pb::DeliveryState::Pending => DeliveryState::Pending,
            pb::DeliveryState::Sending => DeliveryState::Sending,
            pb::DeliveryState::Delivered => DeliveryState::Delivered,
            pb::DeliveryState::GivenUp => DeliveryState::GivenUp,
        };
        if !states.contains(&state) {
            states.push(state);
        }
    }
    states.sort_unstable();
    states
}

/// A notification with its tries.
pub(crate) fn delivery(of: &Delivery) -> pb::Delivery {
    let (method, url) = of.to.split_once(' ').unwrap_or((METHOD_DEFAULT, &of.to));
    pb::Delivery {
        id: of.id.0,
        job_id: of.job.0,
        run: of.run.0,
        method: method.to_owned(),
        url: url.to_owned(),
        state: state(of.state).into(),
        attempts: of.tries.iter().map(attempt).collect(),
        create_time: Some(timestamp(of.create_time)),
        next_time: of.next_time.filter(|_| of.state == DeliveryState::Pending).map(timestamp),
        finish_time: of.finish_time.map(timestamp),
        attempt_count: of.attempt_count,
    }
}

fn state(of: DeliveryState) -> pb::DeliveryState {
    match of {
        DeliveryState::Pending => pb::DeliveryState::Pending,
        DeliveryState::Sending => pb::DeliveryState::Sending,
        DeliveryState::Delivered => pb::DeliveryState::Delivered,
        DeliveryState::GivenUp => pb::DeliveryState::GivenUp,
    }
}

fn attempt(of: &DeliveryTry) -> pb::DeliveryAttempt {
    pb::DeliveryAttempt {
        start_time: Some(timestamp(of.start_time)),
        duration: Some(duration(of.duration)),
        http_status: i32::from(of.http_status),
        error: of.error.clone(),
    }
}
