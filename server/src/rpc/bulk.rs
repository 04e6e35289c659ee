//! Cancel and requeue by filter: what is asked for, and what is answered.

use haulier_proto::v1 as pb;

use super::check::{Check, up_to};
use super::convert;
use crate::engine::{Bulk, CancelManyCall, CancelledMany, RequeueManyCall, RequeuedMany, Result};
use crate::model::{Filter, limits};

/// Reads CancelJobs.
pub(crate) fn cancel_many(given: pb::CancelJobsRequest) -> Result<CancelManyCall> {
    let mut check = Check::new();
    check.bytes("reason", &given.reason, limits::REASON_BYTES_MAX);
    let grace = check.duration("grace", given.grace, up_to(limits::CANCEL_GRACE_MAX));
    let call = CancelManyCall {
        filter: told_filter(&mut check, given.filter),
        text: given.reason,
        grace: grace.unwrap_or(limits::CANCEL_GRACE_DEFAULT),
        bulk: bulk(given.validate_only),
    };
    check.pass(call)
}

/// Reads RequeueJobs.
pub(crate) fn requeue_many(given: pb::RequeueJobsRequest) -> Result<RequeueManyCall> {
    let mut check = Check::new();
    let call = RequeueManyCall {
        filter: told_filter(&mut check, given.filter),
        month: check.month("month", &given.month),
        dependants: given.include_dependants,
        bulk: bulk(given.validate_only),
    };
    check.pass(call)
}

/// A filter that says something: what changes many jobs at once is never asked for by leaving everything out.
fn told_filter(check: &mut Check, given: Option<pb::JobFilter>) -> Filter {
    if given.as_ref().is_none_or(|given| *given == pb::JobFilter::default()) {
        check.refuse("filter", "is empty: say which jobs, and for all of them name their states");
    }
    check.within("filter", |check| convert::filter(check, given))
}

fn bulk(validate_only: bool) -> Bulk {
    if validate_only { Bulk::Count } else { Bulk::Act }
}

/// The answer to CancelJobs.
pub(crate) fn cancelled(done: CancelledMany) -> pb::CancelJobsResponse {
    pb::CancelJobsResponse {
        matched_count: done.matched,
        cancelled_count: done.cancelled,
        requested_count: done.requested,
    }
}

/// The answer to RequeueJobs.
pub(crate) fn requeued(done: RequeuedMany) -> pb::RequeueJobsResponse {
    pb::RequeueJobsResponse { matched_count: done.matched, requeued_count: done.requeued }
}
