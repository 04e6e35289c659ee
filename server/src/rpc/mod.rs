//! gRPC: convert, call the engine, convert. The only room that knows protobuf.
//!
//! Requests are checked field by field while they are converted ([`check`], [`convert`]); errors become statuses in one
//! table ([`status`]). A handler that is dropped because its caller went away drops nothing else: the engine's verbs run
//! in tasks of their own.

mod admin_service;
mod bulk;
mod check;
mod convert;
mod deadline;
mod egress;
mod health;
mod job_service;
mod lock_service;
mod paging;
mod queue_service;
mod recurring_task_service;
mod report_stream;
mod run;
mod status;
mod worker_service;

use haulier_proto::v1::admin_service_server::AdminServiceServer;
use haulier_proto::v1::job_service_server::JobServiceServer;
use haulier_proto::v1::lock_service_server::LockServiceServer;
use haulier_proto::v1::queue_service_server::QueueServiceServer;
use haulier_proto::v1::recurring_task_service_server::RecurringTaskServiceServer;
use haulier_proto::v1::worker_service_server::WorkerServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::service::{Routes, RoutesBuilder};
use tonic_reflection::server::Builder as Reflection;
use tonic_web::GrpcWebLayer;
use tower::Layer as _;
use tower_http::catch_panic::CatchPanicLayer;

pub use convert::Settings;
pub use deadline::time_for;
pub use egress::{Egress, Endpoint, NoWay, ReplyAddress};
pub use health::Health;

use crate::engine::Engine;
use crate::model::limits;
use admin_service::Admin;
use job_service::Jobs;
use lock_service::Locks;
use queue_service::Queues;
use recurring_task_service::RecurringTasks;
use report_stream::Reports;
use worker_service::Workers;

/// Turns a panic of a handler into INTERNAL.
pub type CatchPanics = CatchPanicLayer<fn(Box<dyn std::any::Any + Send + 'static>) -> Response<Body>>;

/// Every service on its path, with health and reflection. Each speaks gRPC and gRPC-Web; report streams end when `stop`
/// is cancelled.
pub fn routes(engine: &Engine, settings: Settings, health: &Health, stop: &CancellationToken) -> Routes {
    let mut routes = Routes::builder();
    let reports = Reports { engine: engine.clone(), settings: settings.clone(), stop: stop.clone() };
    let admin = Admin { engine: engine.clone(), retention: settings.retention };
    let jobs = Jobs { engine: engine.clone(), settings: settings.clone() };
    // The layer goes around each service: around the server it would refuse every plain HTTP/1.1 request.
    macro_rules! add {
        ($service:expr) => {
            add!($service, limits::MESSAGE_IN_BYTES_MAX);
        };
        ($service:expr, $bytes_in:expr) => {
            let service = $service
                .max_decoding_message_size($bytes_in)
                .max_encoding_message_size(limits::MESSAGE_BULK_BYTES_MAX);
            routes.add_service(GrpcWebLayer::new().layer(service));
        };
    }
    // Batches are large.
    add!(JobServiceServer::new(jobs), limits::MESSAGE_BULK_BYTES_MAX);
    add!(WorkerServiceServer::new(Workers { reports }));
    add!(QueueServiceServer::new(Queues { engine: engine.clone() }));
    add!(LockServiceServer::new(Locks { engine: engine.clone() }));
    add!(AdminServiceServer::new(admin));
    add!(RecurringTaskServiceServer::new(RecurringTasks { engine: engine.clone(), settings }));
    routes.add_service(GrpcWebLayer::new().layer(health.service()));
    add_reflection(&mut routes);
    routes.routes()
}

/// Around all routes: one request that panics does not take its connection down.
pub fn catch_panics() -> CatchPanics {
    CatchPanicLayer::custom(status::of_panic)
}

/// The answer to a gRPC call of a method that does not exist.
pub fn unknown_method(path: &str) -> Response<Body> {
    status::unknown_method(path)
}

/// The answer to a call whose deadline passed.
pub fn deadline_exceeded() -> Response<Body> {
    status::deadline_exceeded()
}

fn add_reflection(routes: &mut RoutesBuilder) {
    let reflection = || {
        Reflection::configure()
            .register_encoded_file_descriptor_set(haulier_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection().build_v1();
    let v1alpha = reflection()
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        .build_v1alpha();
    routes.add_service(v1.expect("the descriptors are those that the build made"));
    routes.add_service(v1alpha.expect("the descriptors are those that the build made"));
}
