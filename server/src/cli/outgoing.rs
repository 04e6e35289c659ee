//! Jobs that call an API, and the notifications of outcomes.

use clap::{Args, Subcommand};
use futures::{StreamExt as _, TryStreamExt as _};
use haulier::ApiCall;
use haulier::proto::DeliveryState;

use super::{JobFlags, OK, Server, follow, options, request, show, usage};

/// Arguments of `enqueue-api`.
#[derive(Args)]
pub struct EnqueueApi {
    /// Name of the target in the server's configuration
    target: String,
    /// What to call: a gRPC method as in shop.v1.Orders/Send, or an HTTP method and a path as in "POST /v1/invoices"
    endpoint: String,
    /// Request as JSON; `-` reads it from standard input [default: nothing]
    request: Option<String>,
    /// Follow the job until its outcome
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    job: JobFlags,
    #[command(flatten)]
    server: Server,
}

/// What to do with notifications.
#[derive(Subcommand)]
pub enum Deliveries {
    /// List notifications with their last try, the newest first
    List(ListDeliveries),
    /// Send a notification once more, delivered or given up
    Replay(ReplayDelivery),
}

/// Arguments of `deliveries list`.
#[derive(Args)]
pub struct ListDeliveries {
    /// Only those of this job
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    job: i64,
    /// Only those in this state; may be repeated
    #[arg(long, value_enum)]
    state: Vec<StateName>,
    /// Notifications at most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `deliveries replay`.
#[derive(Args)]
pub struct ReplayDelivery {
    /// Id of the notification
    id: i64,
    #[command(flatten)]
    server: Server,
}

/// A state of a notification, as it is written on the command line.
#[derive(Clone, Copy, clap::ValueEnum)]
enum StateName {
    Pending,
    Sending,
    Delivered,
    GivenUp,
}

pub(super) async fn enqueue_api(arguments: EnqueueApi) -> haulier::Result<u8> {
    let request = match request(arguments.request.as_deref()) {
        Ok(request) => request,
        Err(message) => return Ok(usage(&message)),
    };
    let (target, endpoint) = (&arguments.target, arguments.endpoint.trim());
    let client = arguments.server.connect().await?;
    let api = match endpoint.split_once(' ') {
        Some((method, path)) => ApiCall::http(target, method, path.trim()),
        None if endpoint.starts_with('/') => ApiCall::http(target, "", endpoint),
        None => ApiCall::grpc(target, endpoint),
    };
    let mut call = client.enqueue_api_payload(api, request).options(options(&arguments.job));
    if let Some(id) = arguments.job.request_id {
        call = call.request_id(id);
    }
    let job = call.await?;
    if arguments.watch {
        return follow::follow(&client, job.id().into()).await;
    }
    show::line(&format!("{}\t{}\t{}", job.id(), job.ref_id(), show::state(job.state())));
    Ok(OK)
}

pub(super) async fn deliveries(command: Deliveries) -> haulier::Result<u8> {
    match command {
        Deliveries::List(arguments) => list(arguments).await,
        Deliveries::Replay(arguments) => replay(arguments).await,
    }
}

async fn list(arguments: ListDeliveries) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    let states = arguments.state.iter().map(|name| name.state()).collect();
    let found: Vec<_> =
        client.list_deliveries(arguments.job, states).take(arguments.limit).try_collect().await?;
    show::deliveries(&found);
    Ok(OK)
}

async fn replay(arguments: ReplayDelivery) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    let delivery = client.replay_delivery(arguments.id).await?;
    show::line(&format!("{}\tis sent to {} once more", delivery.id, delivery.url));
    Ok(OK)
}

impl StateName {
    fn state(self) -> DeliveryState {
        match self {
            StateName::Pending => DeliveryState::Pending,
            StateName::Sending => DeliveryState::Sending,
            StateName::Delivered => DeliveryState::Delivered,
            StateName::GivenUp => DeliveryState::GivenUp,
        }
    }
}
