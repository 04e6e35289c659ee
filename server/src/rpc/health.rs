//! `grpc.health.v1`: says serving or not, of the server and of each service, and nothing else.

use haulier_proto::v1::admin_service_server::SERVICE_NAME as ADMIN;
use haulier_proto::v1::job_service_server::SERVICE_NAME as JOBS;
use haulier_proto::v1::lock_service_server::SERVICE_NAME as LOCKS;
use haulier_proto::v1::queue_service_server::SERVICE_NAME as QUEUES;
use haulier_proto::v1::recurring_task_service_server::SERVICE_NAME as RECURRING_TASKS;
use haulier_proto::v1::worker_service_server::SERVICE_NAME as WORKERS;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

/// The services, and the empty name for the server as a whole.
const NAMES: [&str; 7] = ["", JOBS, WORKERS, RECURRING_TASKS, QUEUES, LOCKS, ADMIN];

/// What health checks are told.
#[derive(Clone, Debug, Default)]
pub struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// Ready for calls.
    pub async fn serve(&self) {
        self.tell(ServingStatus::Serving).await;
    }

    /// About to stop: call another server.
    pub async fn drain(&self) {
        self.tell(ServingStatus::NotServing).await;
    }

    pub(super) fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    async fn tell(&self, status: ServingStatus) {
        for name in NAMES {
            self.reporter.set_service_status(name, status).await;
        }
    }
}
