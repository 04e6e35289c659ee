//! `haulier history`: months of history, listed, exported as JSON lines, dropped.

use std::io::Write as _;

use clap::{Args, Subcommand};
use futures::TryStreamExt as _;
use haulier::proto::{DropHistoryMonthRequest, ExportHistoryMonthRequest, ExportHistoryMonthResponse};
use haulier::{Error, Result};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use super::{FAILED, OK, Server, show};

/// Arguments of `history`.
#[derive(Args)]
pub struct History {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum What {
    /// List months with what they hold
    List,
    /// Write a month to stdout as JSON lines: each finished run, then its attempts, then its log lines
    Export {
        /// Month, as in 2026-11
        month: String,
        /// Leave attempts out
        #[arg(long)]
        no_attempts: bool,
        /// Leave log lines out
        #[arg(long)]
        no_logs: bool,
        /// Go on after the line with this `resumeToken`
        #[arg(long, default_value = "")]
        after: String,
    },
    /// Drop a month with its attempts and logs: it must be over, and all its jobs ended
    Drop {
        /// Month, as in 2026-11
        month: String,
        /// Only show what it holds
        #[arg(long)]
        dry_run: bool,
    },
}

pub(super) async fn history(arguments: History) -> Result<u8> {
    let client = arguments.server.connect().await?;
    match arguments.what {
        What::List => show::months(&client.list_history_months().try_collect::<Vec<_>>().await?),
        What::Export { month, no_attempts, no_logs, after } => {
            let request = ExportHistoryMonthRequest {
                month,
                include_attempts: Some(!no_attempts),
                include_logs: Some(!no_logs),
                resume_token: after,
            };
            return export(&client, request).await;
        }
        What::Drop { month, dry_run } => {
            let request = DropHistoryMonthRequest { month, validate_only: dry_run };
            show::months(&[client.drop_history_month(request).await?]);
        }
    }
    Ok(OK)
}

/// A line a message, in the JSON of protobuf. A reader that has gone, such as `head`, ends it.
async fn export(client: &haulier::Client, request: ExportHistoryMonthRequest) -> Result<u8> {
    let descriptor = descriptor()?;
    let mut messages = std::pin::pin!(client.export_history_month(request).await?);
    let mut out = std::io::stdout().lock();
    while let Some(message) = messages.try_next().await? {
        let line = as_json(&descriptor, &message)?;
        if writeln!(out, "{line}").is_err() {
            return Ok(FAILED);
        }
    }
    Ok(OK)
}

fn descriptor() -> Result<MessageDescriptor> {
    let pool = DescriptorPool::decode(haulier_proto::FILE_DESCRIPTOR_SET).map_err(broken)?;
    pool.get_message_by_name("haulier.v1.ExportHistoryMonthResponse").ok_or_else(|| broken("it is missing"))
}

fn as_json(descriptor: &MessageDescriptor, message: &ExportHistoryMonthResponse) -> Result<String> {
    let dynamic =
        DynamicMessage::decode(descriptor.clone(), message.encode_to_vec().as_slice()).map_err(broken)?;
    serde_json::to_string(&dynamic).map_err(broken)
}

fn broken(why: impl std::fmt::Display) -> Error {
    Error::Decode { what: "a message of the export", expected: "JSON", why: why.to_string() }
}
