//! Job options: checked and completed with defaults on the way in, given back with the defaults filled in.

use std::time::Duration;

use haulier_proto::v1 as pb;

use super::{Settings, duration, timestamp};
use crate::engine::{ParentCall, ParentKey};
use crate::model::{
    Backoff, Callback, Condition, Dependency, Hidden, JobId, NamedWorker, Priority, RefPolicy, Reply,
    ReplyBody, ReplyMode, RetryPolicy, Spec, Time, Work, limits,
};
use crate::rpc::ReplyAddress;
use crate::rpc::check::{Check, up_to, wire};

/// Options as the engine takes them.
pub(crate) struct Options {
    /// What was asked for; still without work and request id.
    pub(crate) spec: Box<Spec>,
    /// What to do when the ref id is taken.
    pub(crate) ref_policy: RefPolicy,
    /// Not before this long after it was stored.
    pub(crate) delay: Option<Duration>,
    /// Jobs to wait for, as they were named.
    pub(crate) parents: Vec<ParentCall>,
}

/// Reads the options of a job that does `work`; the field is the path that `check` is at.
pub(crate) fn options(
    check: &mut Check,
    work: Work,
    given: pb::JobOptions,
    settings: &Settings,
    now: Time,
) -> Options {
    let reply = reply(check, &given, settings);
    check_texts(check, &given);
    let worker = named_worker(check, &given);
    let parents = parents(check, &given.depends_on);
    let callback = given
        .callback
        .clone()
        .map(|callback| check.within("callback", |check| read_callback(check, callback)));
    let start = start(check, &given, now);
    let ref_policy = match check.one_of("ref_id_policy", given.ref_id_policy) {
        pb::RefIdPolicy::ReturnExisting => RefPolicy::ReturnExisting,
        pb::RefIdPolicy::Fail | pb::RefIdPolicy::Unspecified => RefPolicy::Fail,
    };
    let priority = priority(check, given.priority, given.priority_name);
    let timeout = check.duration("timeout", given.timeout, up_to(limits::TIMEOUT_MAX));
    let retry = check.within("retry_policy", |check| retry_policy(check, given.retry_policy, settings));
    let spec = Box::new(Spec {
        worker,
        callback,
        reply,
        queue: if given.queue.is_empty() { limits::QUEUE_DEFAULT.into() } else { given.queue },
        priority,
        ref_id: given.ref_id,
        run_after: start.run_after,
        expire_time: start.expire_time,
        timeout: timeout.unwrap_or(settings.timeout),
        retry,
        strict: given.strict,
        tag: given.tag,
        batch_id: given.batch_id,
        parent_id: check.optional_job_id("parent_id", given.parent_id),
        user_id: given.user_id,
        user_claims: check.map("user_claims", given.user_claims),
        created_by: given.created_by,
        args: check.map("args", given.args),
        traceparent: given.traceparent,
        tracestate: given.tracestate,
        ..Spec::new(work)
    });
    Options { spec, ref_policy, delay: start.delay, parents }
}

/// Options given back, their defaults filled in.
pub(crate) fn options_message(spec: &Spec) -> pb::JobOptions {
    pb::JobOptions {
        ref_id: spec.ref_id.clone(),
        queue: spec.queue.clone(),
        worker: (spec.worker.is_own || !spec.worker.name.is_empty()).then(|| spec.worker.name.clone()),
        worker_order: worker_order(spec).into(),
        depends_on: spec.depends_on.iter().map(dependency).collect(),
        callback: spec.callback.as_ref().map(|callback| pb::Callback {
            command: callback.command.clone(),
            args: callback.args.clone().into_iter().collect(),
        }),
        priority: Some(spec.priority),
        run_after: spec.run_after.map(timestamp),
        expire_time: spec.expire_time.map(timestamp),
        timeout: Some(duration(spec.timeout)),
        retry_policy: Some(retry_message(&spec.retry)),
        strict: spec.strict,
        tag: spec.tag.clone(),
        batch_id: spec.batch_id.clone(),
        parent_id: spec.parent_id.map_or(0, |JobId(id)| id),
        user_id: spec.user_id.clone(),
        user_claims: spec.user_claims.clone().into_iter().collect(),
        created_by: spec.created_by.clone(),
        args: spec.args.clone().into_iter().collect(),
        traceparent: spec.traceparent.clone(),
        tracestate: spec.tracestate.clone(),
        ..reply_options(spec.reply.as_ref())
    }
}

/// As [`options_message`], for the handler: what it is to carry it is given whole.
pub(super) fn carried_options(spec: &Spec) -> pb::JobOptions {
    let mut message = options_message(spec);
    if let Some(reply) = spec.reply.as_ref().filter(|reply| reply.mode == ReplyMode::Carry) {
        message.reply_to = reply.whole();
    }
    message
}

fn reply_options(reply: Option<&Reply>) -> pb::JobOptions {
    let Some(reply) = reply else { return pb::JobOptions::default() };
    let mode = match reply.mode {
        ReplyMode::Deliver => pb::ReplyMode::Deliver,
        ReplyMode::Carry => pb::ReplyMode::Carry,
    };
    let body = match reply.body {
        ReplyBody::Result => pb::ReplyBody::Result,
        ReplyBody::Envelope => pb::ReplyBody::Envelope,
    };
    pb::JobOptions {
        reply_to: reply.to.clone(),
        reply_mode: mode.into(),
        reply_body: body.into(),
        reply_on_success_only: reply.on_success_only,
        ..pb::JobOptions::default()
    }
}

/// Where to notify of the outcome. What says how is of no use without where.
fn reply(check: &mut Check, given: &pb::JobOptions, settings: &Settings) -> Option<Reply> {
    let mode = match check.one_of("reply_mode", given.reply_mode) {
        pb::ReplyMode::Carry => ReplyMode::Carry,
        pb::ReplyMode::Deliver | pb::ReplyMode::Unspecified => ReplyMode::Deliver,
    };
    let body = match check.one_of("reply_body", given.reply_body) {
        pb::ReplyBody::Envelope => ReplyBody::Envelope,
        pb::ReplyBody::Result | pb::ReplyBody::Unspecified => ReplyBody::Result,
    };
    let on_success_only = given.reply_on_success_only;
    if given.reply_to.is_empty() {
        let set = [
            ("reply_mode", given.reply_mode() != pb::ReplyMode::Unspecified),
            ("reply_body", given.reply_body() != pb::ReplyBody::Unspecified),
            ("reply_on_success_only", on_success_only),
        ];
        for (field, _) in set.into_iter().filter(|(_, is_set)| *is_set) {
            check.refuse(
                field,
                "is set without `reply_to`, of which it speaks: set that too, or leave it out",
            );
        }
        return None;
    }
    let checked = match &settings.egress {
        Some(egress) => egress.check_reply_to(&given.reply_to, mode),
        None => Err("cannot be notified: this server calls nobody".into()),
    };
    match checked {
        Ok(ReplyAddress { shown, credentials }) => {
            Some(Reply { to: shown, credentials: Hidden(credentials), mode, body, on_success_only })
        }
        Err(why) => {
            check.refuse("reply_to", why);
            None
        }
    }
}

/// An empty name says that the job has no named worker, whatever its command declares.
fn named_worker(check: &mut Check, given: &pb::JobOptions) -> NamedWorker {
    let order: pb::WorkerOrder = check.one_of("worker_order", given.worker_order);
    let name = given.worker.clone().unwrap_or_default();
    check.optional_name("worker", &name);
    NamedWorker { name, is_own: given.worker.is_some(), relaxed: order == pb::WorkerOrder::Relaxed }
}

fn worker_order(spec: &Spec) -> pb::WorkerOrder {
    match (spec.worker.name.is_empty(), spec.worker.relaxed) {
        (true, false) => pb::WorkerOrder::Unspecified,
        (_, true) => pb::WorkerOrder::Relaxed,
        (false, false) => pb::WorkerOrder::Strict,
    }
}

fn parents(check: &mut Check, given: &[pb::Dependency]) -> Vec<ParentCall> {
    check.count("depends_on", given.len(), limits::PARENTS_MAX);
    let mut parents: Vec<ParentCall> = Vec::with_capacity(given.len());
    for (at, dependency) in given.iter().enumerate() {
        let parent = check.within(format_args!("depends_on[{at}]"), |check| read_parent(check, dependency));
        let Some(parent) = parent else { continue };
        if parents.iter().any(|other| other.key == parent.key) {
            check.refuse(format_args!("depends_on[{at}]"), "names a parent twice: name each once");
        }
        parents.push(parent);
    }
    parents
}

fn read_parent(check: &mut Check, given: &pb::Dependency) -> Option<ParentCall> {
    use pb::dependency::Parent;
    let condition = match check.one_of("condition", given.condition) {
        pb::DependencyCondition::Unspecified | pb::DependencyCondition::Success => Condition::Success,
        pb::DependencyCondition::Finished => Condition::Finished,
        pb::DependencyCondition::Failure => Condition::Failure,
    };
    let key = match &given.parent {
        Some(Parent::JobId(id)) => ParentKey::Id(check.job_id("job_id", *id)),
        Some(Parent::RefId(id)) => {
            check.required_text("ref_id", id);
            ParentKey::Ref(id.clone())
        }
        Some(Parent::LocalKey(key)) => {
            check.required_text("local_key", key);
            ParentKey::Local(key.clone())
        }
        None => {
            check.refuse("parent", "is not set: give `job_id`, `ref_id` or `local_key`");
            return None;
        }
    };
    Some(ParentCall { key, condition })
}

pub(super) fn dependency(dependency: &Dependency) -> pb::Dependency {
    let condition = match dependency.condition {
        Condition::Success => pb::DependencyCondition::Success,
        Condition::Finished => pb::DependencyCondition::Finished,
        Condition::Failure => pb::DependencyCondition::Failure,
    };
    let parent = Some(pb::dependency::Parent::JobId(dependency.parent.0));
    pb::Dependency { parent, condition: condition.into() }
}

fn read_callback(check: &mut Check, given: pb::Callback) -> Callback {
    check.name("command", &given.command);
    Callback { command: given.command, args: check.map("args", given.args) }
}

fn check_texts(check: &mut Check, given: &pb::JobOptions) {
    check.optional_name("queue", &given.queue);
    check.text("ref_id", &given.ref_id);
    if given.ref_id.starts_with('~') {
        check.refuse("ref_id", "starts with `~`, which is kept for generated ids: choose another start");
    }
    check.text("tag", &given.tag);
    check.text("batch_id", &given.batch_id);
    check.text("user_id", &given.user_id);
    check.text("created_by", &given.created_by);
    check.chars("traceparent", &given.traceparent, wire::TRACEPARENT_CHARS_MAX);
    check.chars("tracestate", &given.tracestate, wire::TRACESTATE_CHARS_MAX);
}

struct Start {
    run_after: Option<Time>,
    delay: Option<Duration>,
    expire_time: Option<Time>,
}

/// A start in the past means now; an end in the past is a mistake.
fn start(check: &mut Check, given: &pb::JobOptions, now: Time) -> Start {
    if given.run_after.is_some() && given.delay.is_some() {
        check.refuse("delay", "cannot be set together with `run_after`: set one of them");
    }
    let run_after = check.near_time("run_after", given.run_after, now);
    let delay = check.duration("delay", given.delay, up_to(limits::FUTURE_MAX));
    let expire_time = check.near_time("expire_time", given.expire_time, now);
    let begin = run_after.or(delay.map(|delay| now.plus(delay)));
    match expire_time {
        Some(expire) if expire <= now => {
            check.refuse(
                "expire_time",
                "is in the past by the database's clock: give a time to come, or leave it out",
            );
        }
        Some(expire) if begin.is_some_and(|begin| expire <= begin) => {
            check.refuse("expire_time", "is not later than the time before which the job may not start");
        }
        _ => {}
    }
    Start { run_after, delay, expire_time }
}

fn priority(check: &mut Check, number: Option<i32>, name: i32) -> i32 {
    let named = match check.one_of("priority_name", name) {
        pb::PriorityName::Unspecified => None,
        pb::PriorityName::Low => Some(Priority::Low),
        pb::PriorityName::BelowNormal => Some(Priority::BelowNormal),
        pb::PriorityName::Normal => Some(Priority::Normal),
        pb::PriorityName::AboveNormal => Some(Priority::AboveNormal),
        pb::PriorityName::High => Some(Priority::High),
    };
    match (number, named) {
        (Some(_), Some(_)) => {
            check.refuse("priority_name", "cannot be set together with `priority`: set one of them");
            limits::PRIORITY_DEFAULT
        }
        (Some(number), None) => check.number("priority", number, 1..=limits::PRIORITY_MAX),
        (None, Some(name)) => name.number(),
        (None, None) => limits::PRIORITY_DEFAULT,
    }
}

fn retry_policy(check: &mut Check, given: Option<pb::RetryPolicy>, settings: &Settings) -> RetryPolicy {
    let given = given.unwrap_or_default();
    let start = profile(check, &given.profile, settings);
    let number = |check: &mut Check, field, is: Option<i32>, default, most| match is {
        Some(is) => check.number(field, is, 0..=most),
        None => default,
    };
    let backoff = match check.one_of("backoff", given.backoff) {
        pb::Backoff::Unspecified => start.backoff,
        pb::Backoff::Fixed => Backoff::Fixed,
        pb::Backoff::Linear => Backoff::Linear,
        pb::Backoff::Exponential => Backoff::Exponential,
        pb::Backoff::ExponentialJitter => Backoff::ExponentialJitter,
    };
    let (first_delay, max_delay) = delays(check, &given, &start);
    RetryPolicy {
        profile: start.profile,
        retry_limit: number(
            check,
            "retry_limit",
            given.retry_limit,
            start.retry_limit,
            limits::RETRY_LIMIT_MAX,
        ),
        crash_limit: number(
            check,
            "crash_limit",
            given.crash_limit,
            start.crash_limit,
            limits::CRASH_LIMIT_DEFAULT,
        ),
        backoff,
        first_delay,
        factor: given
            .factor
            .map_or(start.factor, |factor| check.number("factor", factor, 1.0..=limits::RETRY_FACTOR_MAX)),
        max_delay,
        give_up_after: check
            .duration("give_up_after", given.give_up_after, up_to(limits::GIVE_UP_MAX))
            .or(start.give_up_after),
    }
}

/// A first delay beyond the default of the longest one lifts it: it would be cut in silence otherwise.
fn delays(check: &mut Check, given: &pb::RetryPolicy, start: &RetryPolicy) -> (Duration, Duration) {
    let bounds = up_to(limits::RETRY_DELAY_MAX);
    let first = check.duration("first_delay", given.first_delay, bounds.clone());
    let longest = check.duration("max_delay", given.max_delay, bounds);
    if let (Some(first), Some(longest)) = (first, longest)
        && longest < first
    {
        check.refuse("max_delay", "is shorter than `first_delay`, which it would cut: raise it");
    }
    let longest = longest.unwrap_or_else(|| start.max_delay.max(first.unwrap_or_default()));
    (first.unwrap_or_else(|| start.first_delay.min(longest)), longest)
}

/// What the policy starts from: a profile of the configuration by its name, the server's default one without.
fn profile(check: &mut Check, name: &str, settings: &Settings) -> RetryPolicy {
    let found = settings.retry.get(name);
    if found.is_none() {
        let known = settings.retry.names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        check.refuse("profile", format!("is not a profile that this server knows: use one of {known}"));
    }
    found.cloned().unwrap_or_default()
}

fn retry_message(retry: &RetryPolicy) -> pb::RetryPolicy {
    let backoff = match retry.backoff {
        Backoff::Fixed => pb::Backoff::Fixed,
        Backoff::Linear => pb::Backoff::Linear,
        Backoff::Exponential => pb::Backoff::Exponential,
        Backoff::ExponentialJitter => pb::Backoff::ExponentialJitter,
    };
    pb::RetryPolicy {
        profile: retry.profile.clone(),
        retry_limit: Some(retry.retry_limit),
        crash_limit: Some(retry.crash_limit),
        backoff: backoff.into(),
        first_delay: Some(duration(retry.first_delay)),
        factor: Some(retry.factor),
        max_delay: Some(duration(retry.max_delay)),
        give_up_after: retry.give_up_after.map(duration),
    }
}
