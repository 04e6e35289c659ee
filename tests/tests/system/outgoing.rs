//! Servers that call out: what their tests share.

use haulier_proto::v1 as pb;
use haulier_tests::messages::json;
use haulier_tests::{Database, Launch, Server, until};
use pb::api_call::Endpoint;

/// Makes two tests of each named scenario, `async fn(Database)`, whose servers have settings of their own.
macro_rules! on_both_databases {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$scenario(haulier_tests::Database::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mariadb() {
                super::$scenario(haulier_tests::Database::MariaDb).await;
            }
        }
    )+ };
}
pub(crate) use on_both_databases;

/// A server with a settings file, which lives as long.
pub(crate) struct Configured {
    pub(crate) server: Server,
    _folder: tempfile::TempDir,
}

impl std::ops::Deref for Configured {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Starts a server with these settings.
pub(crate) async fn configured(database: Database, settings: &str) -> Configured {
    configured_with(database, settings, &[]).await
}

/// As [`configured`], with further arguments.
pub(crate) async fn configured_with(database: Database, settings: &str, args: &[&str]) -> Configured {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("haulier.toml");
    std::fs::write(&file, settings).unwrap();
    let mut launch = Launch::from(database);
    launch.args = vec!["--config".into(), file.display().to_string()];
    launch.args.extend(args.iter().map(|arg| (*arg).to_owned()));
    Configured { server: Server::start(launch).await, _folder: folder }
}

/// An enqueue of a call of an HTTP endpoint, `METHOD /path`, or of a gRPC method; no request for empty JSON.
pub(crate) fn call(target: &str, endpoint: &str, request: &str) -> pb::EnqueueApiRequest {
    let endpoint = match endpoint.split_once(' ') {
        Some((method, path)) => Endpoint::Http(pb::HttpEndpoint { method: method.into(), path: path.into() }),
        None => Endpoint::GrpcMethod(endpoint.into()),
    };
    pb::EnqueueApiRequest {
        api: Some(pb::ApiCall { target: target.into(), endpoint: Some(endpoint) }),
        request: if request.is_empty() { None } else { json(request) },
        ..Default::default()
    }
}

/// As [`call`], with options.
pub(crate) fn call_with(
    target: &str,
    endpoint: &str,
    request: &str,
    options: pb::JobOptions,
) -> pb::EnqueueApiRequest {
    pb::EnqueueApiRequest { options: Some(options), ..call(target, endpoint, request) }
}

/// Enqueues a call.
pub(crate) async fn enqueue(server: &Server, request: pb::EnqueueApiRequest) -> i64 {
    server.jobs().enqueue_api(request).await.expect("a call is accepted").into_inner().job_id
}

/// The notifications of a job, newest first.
pub(crate) async fn deliveries(server: &Server, job_id: i64) -> Vec<pb::Delivery> {
    let request = pb::ListDeliveriesRequest { job_id, ..Default::default() };
    server.jobs().list_deliveries(request).await.unwrap().into_inner().deliveries
}

/// Waits until the one notification of a job is in this state.
pub(crate) async fn wait_for_delivery(
    server: &Server,
    job_id: i64,
    state: pb::DeliveryState,
) -> pb::Delivery {
    until(&format!("the notification of job {job_id} is {state:?}"), || async {
        deliveries(server, job_id).await.into_iter().find(|delivery| delivery.state() == state)
    })
    .await
}
