//! `haulier queue`: look at queues, pause, resume and limit them.

use std::time::Duration;

use clap::{Args, Subcommand};
use futures::TryStreamExt as _;
use haulier::QueueLimits;

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
        rate: Option<Limit<(i32, Duration)>>,
    },
}

/// A limit, or that there is none.
#[derive(Clone, Debug)]
enum Limit<T> {
    To(T),
    None,
}

fn concurrency(text: &str) -> std::result::Result<Limit<i32>, String> {
    match text {
        "none" => Ok(Limit::None),
        number => number.parse().map(Limit::To).map_err(|_| "is a number of jobs, or none".into()),
    }
}

fn rate(text: &str) -> std::result::Result<Limit<(i32, Duration)>, String> {
    if text == "none" {
        return Ok(Limit::None);
    }
    let wrong = || "is a number of jobs, a slash and a time, as in 10/1s, or none".to_owned();
    let (count, period) = text.split_once('/').ok_or_else(wrong)?;
    let count = count.parse().map_err(|_| wrong())?;
    Ok(Limit::To((count, super::duration(period)?)))
}

pub(super) async fn queue(arguments: Queue) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    let queues = match arguments.what {
        What::List => client.list_queues().try_collect().await?,
        What::Show { name } => vec![client.get_queue(name).await?],
        What::Pause { name, reason } => vec![client.pause_queue(name, reason).await?],
        What::Resume { name } => vec![client.resume_queue(name).await?],
        What::Limit { name, concurrency, rate } => {
            let limits = QueueLimits::new();
            let limits = match concurrency {
                Some(Limit::To(jobs)) => limits.concurrency_limit(jobs),
                Some(Limit::None) => limits.no_concurrency_limit(),
                None => limits,
            };
            let limits = match rate {
                Some(Limit::To((starts, period))) => limits.rate_limit(starts, period),
                Some(Limit::None) => limits.no_rate_limit(),
                None => limits,
            };
            vec![client.update_queue(name, limits).await?]
        }
    };
    show::queues(&queues);
    Ok(OK)
}
