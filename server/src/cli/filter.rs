//! Which jobs: the flags that lists, cancels and requeues share.

use clap::Args;
use haulier::proto::JobFilter;

use super::StateName;

/// Flags that say which jobs; all that are given must match.
#[derive(Args, Clone, Default)]
#[group(id = "filter", multiple = true)]
pub struct FilterFlags {
    /// Only jobs in this state; may be repeated
    #[arg(long, value_enum)]
    state: Vec<StateName>,
    /// Only jobs of this command
    #[arg(long)]
    command: Option<String>,
    /// Only jobs of this queue
    #[arg(long)]
    queue: Option<String>,
    /// Only jobs with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only jobs of this batch
    #[arg(long)]
    batch_id: Option<String>,
    /// Only jobs that descend from this one
    #[arg(long)]
    parent_id: Option<i64>,
    /// Only jobs with this text for who made them
    #[arg(long)]
    created_by: Option<String>,
    /// Only jobs on behalf of this user
    #[arg(long)]
    user_id: Option<String>,
    /// Only jobs with this argument; may be repeated
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = super::pair)]
    args: Vec<(String, String)>,
    /// Only jobs whose ref id starts so
    #[arg(long)]
    ref_id_prefix: Option<String>,
    /// Only jobs whose error has this code
    #[arg(long)]
    error_code: Option<String>,
    /// Only jobs whose command, ref id, tag, status or error holds this text
    #[arg(long)]
    text: Option<String>,
}

impl FilterFlags {
    /// The filter; without any flag it is empty.
    pub(super) fn filter(&self) -> JobFilter {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        JobFilter {
            states: self.state.iter().map(|name| name.state().into()).collect(),
            command: text(&self.command),
            queue: text(&self.queue),
            tag: text(&self.tag),
            batch_id: text(&self.batch_id),
            parent_id: self.parent_id.unwrap_or_default(),
            created_by: text(&self.created_by),
            user_id: text(&self.user_id),
            args: self.args.iter().cloned().collect(),
            ref_id_prefix: text(&self.ref_id_prefix),
            error_code: text(&self.error_code),
            text: text(&self.text),
            ..JobFilter::default()
        }
    }
}
