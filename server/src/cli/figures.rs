//! `haulier overview`, `commands`, `servers`, `workers`: how everything fares.

use clap::Args;
use futures::TryStreamExt as _;
use haulier::Result;
use haulier::proto::ListWorkersRequest;

use super::{OK, Server, show};

/// Arguments of `overview`.
#[derive(Args)]
pub struct Overview {
    /// How many hours back
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=168))]
    hours: u16,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `commands`.
#[derive(Args)]
pub struct Commands {
    /// Only commands whose name starts so
    #[arg(long, default_value = "")]
    prefix: String,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `servers`.
#[derive(Args)]
pub struct Servers {
    #[command(flatten)]
    server: Server,
}

/// Arguments of `workers`.
#[derive(Args)]
pub struct Workers {
    /// Only worker processes that serve this command
    #[arg(long, default_value = "")]
    command: String,
    /// Only worker processes that serve this queue
    #[arg(long, default_value = "")]
    queue: String,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn overview(arguments: Overview) -> Result<u8> {
    show::overview(&arguments.server.connect().await?.get_overview(arguments.hours).await?);
    Ok(OK)
}

pub(super) async fn commands(arguments: Commands) -> Result<u8> {
    let commands = arguments.server.connect().await?.list_commands(arguments.prefix);
    show::commands(&commands.try_collect::<Vec<_>>().await?);
    Ok(OK)
}

pub(super) async fn servers(arguments: Servers) -> Result<u8> {
    show::servers(&arguments.server.connect().await?.list_servers().try_collect::<Vec<_>>().await?);
    Ok(OK)
}

pub(super) async fn workers(arguments: Workers) -> Result<u8> {
    let Workers { command, queue, server } = arguments;
    let workers =
        server.connect().await?.list_workers(ListWorkersRequest { command, queue, ..Default::default() });
    show::workers(&workers.try_collect::<Vec<_>>().await?);
    Ok(OK)
}
