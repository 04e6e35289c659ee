//! Filters over jobs: which jobs a list or a watch is about.

use std::collections::BTreeMap;

use super::{JobId, Phase, State, Time, View, Work};

/// The order of a list, by job id, which is the order of creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The newest first.
    #[default]
    NewestFirst,
    /// The oldest first.
    OldestFirst,
}

/// All that is set must hold; an empty filter matches every job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Any of these states.
    pub states: Vec<State>,
    /// The command.
    pub command: String,
    /// The API: its target, or target and method with a space between.
    pub api: String,
    /// The queue.
    pub queue: String,
    /// The named worker.
    pub worker: String,
    /// The priority.
    pub priority: Option<i32>,
    /// The tag.
    pub tag: String,
    /// The batch.
    pub batch_id: String,
    /// The parent.
    pub parent_id: Option<JobId>,
    /// Who created it.
    pub created_by: String,
    /// On whose behalf it runs.
    pub user_id: String,
    /// Arguments that must be there with these values.
    pub args: BTreeMap<String, String>,
    /// The name of the recurring task that made it.
    pub recurring_task: String,
    /// Where the outcome is told, without credentials.
    pub reply_to: String,
    /// The start of the ref id.
    pub ref_id_prefix: String,
    /// Enqueued at this time or later.
    pub create_time_from: Option<Time>,
    /// Enqueued before this time.
    pub create_time_to: Option<Time>,
    /// The code of its error.
    pub error_code: String,
    /// A text within its command, ref id, tag, status or error message, in any case of letters.
    pub text: String,
}

impl Filter {
    /// Does this job match?
    pub fn matches(&self, view: &View, now: Time) -> bool {
        let spec = &view.job.spec;
        (self.states.is_empty() || self.states.contains(&view.state(now)))
            && self.matches_work(&spec.work)
            && is_or_empty(&self.queue, &spec.queue)
            && is_or_empty(&self.worker, &spec.worker.name)
            && self.priority.is_none_or(|priority| priority == spec.priority)
            && is_or_empty(&self.tag, &spec.tag)
            && is_or_empty(&self.batch_id, &spec.batch_id)
            && (self.parent_id.is_none() || self.parent_id == spec.parent_id)
            && is_or_empty(&self.created_by, &spec.created_by)
            && is_or_empty(&self.user_id, &spec.user_id)
            && self.args.iter().all(|(key, value)| spec.args.get(key) == Some(value))
            && is_or_empty(&self.recurring_task, spec.task.as_ref().map_or("", |run| &run.name))
            && is_or_empty(&self.reply_to, spec.reply.as_ref().map_or("", |reply| reply.to.as_str()))
            && (self.ref_id_prefix.is_empty() || view.job.ref_id().starts_with(&self.ref_id_prefix))
            && self.create_time_from.is_none_or(|from| view.job.create_time >= from)
            && self.create_time_to.is_none_or(|to| view.job.create_time < to)
            && self.matches_error_code(view)
            && self.matches_text(view)
    }

    /// Does it ask only for jobs that have not ended? Then the live tables answer.
    pub fn wants_only_live(&self) -> bool {
        let live = [State::Scheduled, State::Blocked, State::Queued, State::Running];
        !self.states.is_empty() && self.states.iter().all(|state| live.contains(state))
    }

    /// Does it name anything that a route does?
    pub fn names_route(&self) -> bool {
        !(self.queue.is_empty() && self.command.is_empty() && self.api.is_empty())
    }

    /// May jobs of a queue and of the work of a route match it? A route knows the target of its calls, not their methods.
    pub fn may_match(&self, queue: &str, work: &Work) -> bool {
        let is_work = match work {
            Work::Command(_) => self.matches_work(work),
            Work::Api { target, .. } => {
                let wanted = self.api.split(' ').next().unwrap_or_default();
                self.command.is_empty() && is_or_empty(wanted, target)
            }
        };
        is_work && is_or_empty(&self.queue, queue)
    }

    fn matches_work(&self, work: &Work) -> bool {
        match work {
            Work::Command(command) => self.api.is_empty() && is_or_empty(&self.command, command),
            Work::Api { target, method } => {
                self.command.is_empty()
                    && (self.api.is_empty()
                        || self.api == *target
                        || self.api == format!("{target} {method}"))
            }
        }
    }

    fn matches_error_code(&self, view: &View) -> bool {
        self.error_code.is_empty() || error_of(view).is_some_and(|error| error.code == self.error_code)
    }

    fn matches_text(&self, view: &View) -> bool {
        if self.text.is_empty() {
            return true;
        }
        let wanted = self.text.to_lowercase();
        let within = |text: &str| text.to_lowercase().contains(&wanted);
        let work = match &view.job.spec.work {
            Work::Command(command) => within(command),
            Work::Api { target, method } => within(target) || within(method),
        };
        work || within(&view.job.ref_id())
            || within(&view.job.spec.tag)
            || within(&view.status)
            || error_of(view).is_some_and(|error| within(&error.message))
    }
}

fn is_or_empty(wanted: &str, is: &str) -> bool {
    wanted.is_empty() || wanted == is
}

fn error_of(view: &View) -> Option<&super::JobError> {
    match &view.phase {
        Phase::Ended(outcome) => outcome.error.as_ref(),
        _ => view.last_error.as_ref(),
    }
}
