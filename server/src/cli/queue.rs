//! `haulier queue`: look at queues, pause and resume them.

use clap::{Args, Subcommand};
use futures::TryStreamExt as _;

use super::{OK, Server, show};

/// Arguments of `queue`.
#[derive(Args)]
pub struct Queue {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum What {
    /// List queues with their live jobs
    List,
    /// Show a queue
    Show {
        /// Name of the queue
        name: String,
    },
    /// Pause a queue: running jobs go on, no other starts
    Pause {
        /// Name of the queue
        name: String,
        /// Why, in words
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Resume a queue
    Resume {
        /// Name of the queue
        name: String,
    },
}

pub(super) async fn queue(arguments: Queue) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    let queues = match arguments.what {
        What::List => client.queues().try_collect().await?,
        What::Show { name } => vec![client.get_queue(name).await?],
        What::Pause { name, reason } => vec![client.pause_queue(name, reason).await?],
        What::Resume { name } => vec![client.resume_queue(name).await?],
    };
    show::queues(&queues);
    Ok(OK)
}
