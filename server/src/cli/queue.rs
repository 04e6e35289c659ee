//! `haulier queue`: look at queues, pause, resume and limit them.

use clap::{Args, Subcommand};
use futures::TryStreamExt as _;
use haulier::proto::{self as pb, RateLimit};

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
    /// Limit how much of a queue runs, over all worker processes; what is not named stays
    Limit {
        /// Name of the queue
        name: String,
        /// Jobs that run at once, or `none`
        #[arg(long, value_name = "NUMBER", value_parser = concurrency)]
        concurrency: Option<Limit<i32>>,
        /// Jobs that start in a time, as in 10/1s, or `none`
        #[arg(long, value_name = "NUMBER/DURATION", value_parser = rate)]
        rate: Option<Limit<RateLimit>>,
    },
}

/// A limit, or that there is none.
#[derive(Clone, Debug)]
enum Limit<T> {
    To(T),
    None,
}

impl<T> Limit<T> {
    fn value(self) -> Option<T> {
        match self {
            Limit::To(value) => Some(value),
            Limit::None => None,
        }
    }
}

fn concurrency(text: &str) -> std::result::Result<Limit<i32>, String> {
    match text {
        "none" => Ok(Limit::None),
        number => number.parse().map(Limit::To).map_err(|_| "is a number of jobs, or none".into()),
    }
}

fn rate(text: &str) -> std::result::Result<Limit<RateLimit>, String> {
    if text == "none" {
        return Ok(Limit::None);
    }
    let wrong = || "is a number of jobs, a slash and a time, as in 10/1s, or none".to_owned();
    let (count, period) = text.split_once('/').ok_or_else(wrong)?;
    let count = count.parse().map_err(|_| wrong())?;
    let period = prost_types::Duration::try_from(super::duration(period)?).map_err(|_| wrong())?;
    Ok(Limit::To(RateLimit { count, period: Some(period) }))
}

pub(super) async fn queue(arguments: Queue) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    let queues = match arguments.what {
        What::List => client.queues().try_collect().await?,
        What::Show { name } => vec![client.get_queue(name).await?],
        What::Pause { name, reason } => vec![client.pause_queue(name, reason).await?],
        What::Resume { name } => vec![client.resume_queue(name).await?],
        What::Limit { name, concurrency, rate } => {
            let named = [("concurrency_limit", concurrency.is_some()), ("rate_limit", rate.is_some())];
            let paths =
                named.iter().filter(|(_, is_set)| *is_set).map(|(path, _)| (*path).to_owned()).collect();
            let queue = pb::Queue {
                name,
                concurrency_limit: concurrency.and_then(Limit::value),
                rate_limit: rate.and_then(Limit::value),
                ..Default::default()
            };
            let update_mask = Some(prost_types::FieldMask { paths });
            vec![client.update_queue(pb::UpdateQueueRequest { queue: Some(queue), update_mask }).await?]
        }
    };
    show::queues(&queues);
    Ok(OK)
}
