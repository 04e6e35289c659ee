//! What is neither gRPC nor gRPC-Web on the same port: liveness, readiness, and a line for people who open it in a browser.
//! CORS is off.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::BoxFuture;

/// How long a readiness check waits for its answer.
const READY_WITHIN: Duration = Duration::from_secs(1);

/// Asks whether the server can do its work now; if not, the answer is a short reason.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The routes. `probe` is asked by each readiness check.
pub fn router(probe: Probe) -> Router {
    Router::new()
        .route("/", get(about))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(probe)
}

/// Was this request made by a gRPC or gRPC-Web client?
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The answer to a path that does not exist, for people.
pub async fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "there is nothing here: see / for what this is\n".into())
}

async fn about() -> Response {
    let text = concat!(
        "Haulier ",
        env!("CARGO_PKG_VERSION"),
        ", a durable background-job service.\n\n",
        "It speaks gRPC and gRPC-Web on this port, package haulier.v1, with server reflection:\n",
        "    grpcurl -plaintext ADDRESS list\n\n",
        "/healthz  the process lives\n",
        "/readyz   it can do its work\n",
    );
    plain(StatusCode::OK, text.into())
}

async fn alive() -> Response {
    plain(StatusCode::OK, "ok\n".into())
}

async fn ready(State(probe): State<Probe>) -> Response {
    match tokio::time::timeout(READY_WITHIN, probe()).await {
        Ok(Ok(())) => plain(StatusCode::OK, "ready\n".into()),
        Ok(Err(reason)) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the database did not answer within 1 s\n".into()),
    }
}

fn plain(status: StatusCode, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, text).into_response()
}
