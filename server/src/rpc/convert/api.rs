//! API calls: what comes in to enqueue one.

use haulier_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::Settings;
use super::job::{refuse_local_keys, take_trace};
use super::options::{Options, options};
use super::payload::payload;
use crate::engine::{EnqueueCall, Result};
use crate::model::{Payload, Time, Work, limits};
use crate::rpc::check::Check;
use crate::rpc::{Endpoint, NoWay};

/// The HTTP method of a call that names none.
const METHOD_DEFAULT: &str = "POST";

/// Reads EnqueueApi. The trace context is that of the call's metadata unless the options set one.
pub(crate) fn enqueue_api(
    given: pb::EnqueueApiRequest,
    metadata: &MetadataMap,
    settings: &Settings,
    now: Time,
) -> Result<EnqueueCall> {
    let mut check = Check::new();
    check.chars("request_id", &given.request_id, limits::REQUEST_ID_CHARS_MAX);
    check.text("request_id", &given.request_id);
    let request = check.within("request", |check| payload(check, given.request, settings.payload_bytes_max));
    let work = api_work(&mut check, given.api, &request, settings);
    let mut asked = given.options.unwrap_or_default();
    take_trace(&mut asked, metadata);
    let Options { mut spec, ref_policy, delay, parents } =
        check.within("options", |check| options(check, work, asked, settings, now));
    refuse_local_keys(&mut check, &parents);
    spec.request_id = given.request_id;
    check.pass(EnqueueCall { spec, request, ref_policy, delay, parents })
}

/// Reads what is to be called, `api`, with `request`; both are fields of where `check` is at.
pub(crate) fn api_work(
    check: &mut Check,
    given: Option<pb::ApiCall>,
    request: &Payload,
    settings: &Settings,
) -> Work {
    let none = Work::Api { target: String::new(), method: String::new() };
    let Some(pb::ApiCall { target, endpoint }) = given else {
        check.refuse("api", "is not set: say which target to call, and what of it");
        return none;
    };
    check.name("api.target", &target);
    let (field, endpoint) = match endpoint {
        Some(pb::api_call::Endpoint::GrpcMethod(method)) => ("api.grpc_method", Endpoint::Grpc(method)),
        Some(pb::api_call::Endpoint::Http(pb::HttpEndpoint { method, path })) => {
            let method = if method.is_empty() { METHOD_DEFAULT.to_owned() } else { method };
            ("api.http", Endpoint::Http(method, path))
        }
        None => {
            check.refuse("api.endpoint", "is not set: give `grpc_method` or `http`");
            return none;
        }
    };
    let checked = match &settings.egress {
        Some(egress) => egress.check_call(&target, &endpoint, request),
        None => Err(NoWay::Target("is not a target of this server's configuration".into())),
    };
    match checked {
        Ok(method) => return Work::Api { target, method },
        Err(NoWay::Target(why)) => check.refuse("api.target", why),
        Err(NoWay::Endpoint(why)) => check.refuse(field, why),
        Err(NoWay::Request(why)) => check.refuse("request", why),
    }
    none
}
