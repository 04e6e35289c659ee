//! How a job is to be run: its options, as builders that name only what differs from the defaults.

use std::time::{Duration, SystemTime};

use haulier_proto::v1 as pb;
use haulier_proto::v1::dependency::Parent;

pub use pb::{Backoff, ReplyBody, ReplyMode};

/// The setters of a job's options, for every builder that has `options_mut`.
macro_rules! job_option_setters {
    () => {
        /// The caller's own unique id of the job; at most 255 characters. Default: the server makes one.
        pub fn ref_id(mut self, ref_id: impl Into<String>) -> Self {
            self.options_mut().ref_id = ref_id.into();
            self
        }

        /// When the ref id is taken by a job of equal content, answer that job. Default: an error with the reason
        /// `REF_ID_TAKEN`.
        pub fn return_existing(mut self) -> Self {
            self.options_mut().ref_id_policy = haulier_proto::v1::RefIdPolicy::ReturnExisting.into();
            self
        }

        /// Queue the job waits in. Default: `default`.
        pub fn queue(mut self, queue: impl Into<String>) -> Self {
            self.options_mut().queue = queue.into();
            self
        }

        /// Named worker: jobs with the same one run strictly one at a time, in order, over all worker processes. Default: the
        /// one that the command declares.
        pub fn worker(mut self, worker: impl Into<String>) -> Self {
            self.options_mut().worker = Some(worker.into());
            self
        }

        /// No named worker, whatever the command declares.
        pub fn no_worker(mut self) -> Self {
            self.options_mut().worker = Some(String::new());
            self
        }

        /// Let other jobs of the named worker pass while this one waits for its retry. Default: they wait too.
        pub fn relaxed_order(mut self) -> Self {
            self.options_mut().worker_order = haulier_proto::v1::WorkerOrder::Relaxed.into();
            self
        }

        /// Priority: one of five names, or a number from 1 to 30; higher first. Default: `Normal`, which is 15.
        pub fn priority(mut self, priority: impl Into<$crate::options::Priority>) -> Self {
            priority.into().write(self.options_mut());
            self
        }

        /// Never start before this time, by the database's clock; at most 5 years ahead. Default: at once.
        pub fn run_after(mut self, time: std::time::SystemTime) -> Self {
            self.options_mut().delay = None;
            self.options_mut().run_after = Some(time.into());
            self
        }

        /// Never start before this long after it was stored; at most 5 years. Default: at once.
        pub fn delay(mut self, delay: std::time::Duration) -> Self {
            self.options_mut().run_after = None;
            self.options_mut().delay = Some($crate::options::duration(delay));
            self
        }

        /// Cancelled when its first attempt has not started by then. Default: never.
        pub fn expire_time(mut self, time: std::time::SystemTime) -> Self {
            self.options_mut().expire_time = Some(time.into());
            self
        }

        /// Longest time of one attempt; at most 30 days. Default: 10 minutes.
        pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
            self.options_mut().timeout = Some($crate::options::duration(timeout));
            self
        }

        /// What happens after a failed attempt. Default: 2 retries, exponential backoff with jitter.
        pub fn retry_policy(mut self, policy: $crate::options::RetryPolicy) -> Self {
            self.options_mut().retry_policy = Some(policy.into());
            self
        }

        /// Most retries after the first attempt, 0 to 1,000; the rest of the retry policy stays. Default: 2.
        pub fn retry_limit(mut self, limit: u16) -> Self {
            self.options_mut().retry_policy.get_or_insert_default().retry_limit = Some(limit.into());
            self
        }

        /// Wait for this job too; at most 100. Default: none.
        pub fn depends_on(mut self, parent: impl Into<$crate::options::Dependency>) -> Self {
            self.options_mut().depends_on.push(parent.into().into());
            self
        }

        /// Stop the handler by itself when the lease cannot be renewed in time, so that two attempts never overlap. Jobs of a
        /// named worker always do. Default: the handler runs on, and the fence decides.
        pub fn strict(mut self) -> Self {
            self.options_mut().strict = true;
            self
        }

        /// Command that receives the result after success, as a job of its own. Default: none.
        pub fn callback(mut self, command: impl Into<String>) -> Self {
            self.options_mut().callback.get_or_insert_default().command = command.into();
            self
        }

        /// An argument for the callback, over those of the job.
        pub fn callback_arg(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
            self.options_mut().callback.get_or_insert_default().args.insert(name.into(), value.into());
            self
        }

        /// Where to notify of the outcome: an optional HTTP method and a space, optional credentials before an `@`, then a URL.
        /// Default: nowhere.
        pub fn reply_to(mut self, reply_to: impl Into<String>) -> Self {
            self.options_mut().reply_to = reply_to.into();
            self
        }

        /// Who acts on `reply_to`. Default: the server delivers.
        pub fn reply_mode(mut self, mode: $crate::options::ReplyMode) -> Self {
            self.options_mut().reply_mode = mode.into();
            self
        }

        /// Body of the notification. Default: the result.
        pub fn reply_body(mut self, body: $crate::options::ReplyBody) -> Self {
            self.options_mut().reply_body = body.into();
            self
        }

        /// Notify of a success only. Default: of every outcome.
        pub fn reply_on_success_only(mut self) -> Self {
            self.options_mut().reply_on_success_only = true;
            self
        }

        /// Free label to filter by. Default: none.
        pub fn tag(mut self, tag: impl Into<String>) -> Self {
            self.options_mut().tag = tag.into();
            self
        }

        /// Group of jobs to count and watch together. Default: none.
        pub fn batch_id(mut self, batch_id: impl Into<String>) -> Self {
            self.options_mut().batch_id = batch_id.into();
            self
        }

        /// Job that this one descends from; it is not waited for. Default: the running job when enqueued through it, else the
        /// first of `depends_on`.
        pub fn parent_id(mut self, job_id: i64) -> Self {
            self.options_mut().parent_id = job_id;
            self
        }

        /// User on whose behalf the job runs; needs the right to act for others. Default: the running job's when enqueued
        /// through it, else none.
        pub fn user_id(mut self, user_id: impl Into<String>) -> Self {
            self.options_mut().user_id = user_id.into();
            self
        }

        /// A claim of that user. Default: those of the running job's user when enqueued through it, else none.
        pub fn user_claim(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
            self.options_mut().user_claims.insert(name.into(), value.into());
            self
        }

        /// Free text that says who or what made the job. Default: none.
        pub fn created_by(mut self, created_by: impl Into<String>) -> Self {
            self.options_mut().created_by = created_by.into();
            self
        }

        /// A free argument beside the request, given to the handler and to the callback, and filterable; at most 64.
        pub fn arg(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
            self.options_mut().args.insert(name.into(), value.into());
            self
        }

        /// W3C `traceparent` of the caller. Default: the running job's when enqueued through it, else none.
        pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
            self.options_mut().traceparent = traceparent.into();
            self
        }

        /// W3C `tracestate` of the caller. Default: the running job's when enqueued through it, else none.
        pub fn tracestate(mut self, tracestate: impl Into<String>) -> Self {
            self.options_mut().tracestate = tracestate.into();
            self
        }
    };
}
pub(crate) use job_option_setters;

/// Options that several jobs share: build them once, give them to each with `Enqueue::options`.
#[must_use = "options do nothing until a job gets them"]
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobOptions(pb::JobOptions);

impl JobOptions {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    fn options_mut(&mut self) -> &mut pb::JobOptions {
        &mut self.0
    }

    job_option_setters!();
}

impl From<JobOptions> for pb::JobOptions {
    fn from(JobOptions(options): JobOptions) -> Self {
        options
    }
}

impl From<pb::JobOptions> for JobOptions {
    fn from(options: pb::JobOptions) -> Self {
        Self(options)
    }
}

/// A call of an API that the server makes itself, of a target that its configuration names.
///
/// ```
/// use haulier::ApiCall;
///
/// let refund = ApiCall::http("shop", "POST", "/orders/7/refund");
/// let receipt = ApiCall::grpc("shop", "shop.v1.OrderService/SendReceipt");
/// # let _ = (refund, receipt);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ApiCall(pb::ApiCall);

impl ApiCall {
    /// Calls an HTTP endpoint: a path below the target's address. An empty method is POST.
    pub fn http(target: impl Into<String>, method: impl Into<String>, path: impl Into<String>) -> Self {
        let http = pb::HttpEndpoint { method: method.into(), path: path.into() };
        Self(pb::ApiCall { target: target.into(), endpoint: Some(pb::api_call::Endpoint::Http(http)) })
    }

    /// Calls a unary gRPC method, as package, service and method.
    pub fn grpc(target: impl Into<String>, method: impl Into<String>) -> Self {
        let endpoint = Some(pb::api_call::Endpoint::GrpcMethod(method.into()));
        Self(pb::ApiCall { target: target.into(), endpoint })
    }
}

impl From<ApiCall> for pb::ApiCall {
    fn from(ApiCall(api): ApiCall) -> Self {
        api
    }
}

/// Priority of a job; higher first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    /// 5.
    Low,
    /// 10.
    BelowNormal,
    /// 15.
    #[default]
    Normal,
    /// 20.
    AboveNormal,
    /// 25.
    High,
    /// A number from 1 to 30.
    Level(u8),
}

impl Priority {
    pub(crate) fn write(self, options: &mut pb::JobOptions) {
        let name = match self {
            Self::Low => pb::PriorityName::Low,
            Self::BelowNormal => pb::PriorityName::BelowNormal,
            Self::Normal => pb::PriorityName::Normal,
            Self::AboveNormal => pb::PriorityName::AboveNormal,
            Self::High => pb::PriorityName::High,
            Self::Level(level) => {
                options.priority = Some(level.into());
                options.priority_name = pb::PriorityName::Unspecified.into();
                return;
            }
        };
        options.priority = None;
        options.priority_name = name.into();
    }
}

impl From<u8> for Priority {
    fn from(level: u8) -> Self {
        Self::Level(level)
    }
}

/// What happens after a failed attempt. What is not set comes from the profile.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RetryPolicy(pb::RetryPolicy);

impl RetryPolicy {
    /// The server's profile `default`: 2 retries; 5 s, doubling, at most 300 s, with jitter.
    pub fn new() -> Self {
        Self::default()
    }

    /// No retries.
    pub fn none() -> Self {
        Self::profile("none")
    }

    /// 60 s, doubling, without a limit of retries until 2 days are over; then the job fails as abandoned.
    pub fn abp() -> Self {
        Self::profile("abp")
    }

    /// A profile of the server by its name.
    pub fn profile(name: impl Into<String>) -> Self {
        Self(pb::RetryPolicy { profile: name.into(), ..Default::default() })
    }

    /// Most retries after the first attempt, 0 to 1,000.
    #[must_use]
    pub fn retry_limit(mut self, retries: u16) -> Self {
        self.0.retry_limit = Some(retries.into());
        self
    }

    /// Most lost attempts (the worker process went away) that are forgiven, 0 to 2. Default: 2.
    #[must_use]
    pub fn crash_limit(mut self, crashes: u8) -> Self {
        self.0.crash_limit = Some(crashes.into());
        self
    }

    /// How waits grow.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.0.backoff = backoff.into();
        self
    }

    /// Wait before the first retry; at most 30 days.
    #[must_use]
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.0.first_delay = Some(duration(delay));
        self
    }

    /// What an exponential wait is multiplied with each time, 1 to 100.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.0.factor = Some(factor);
        self
    }

    /// Longest wait between two attempts; at most 30 days.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.0.max_delay = Some(duration(delay));
        self
    }

    /// Time after which a failing job is not tried again but fails as abandoned; at most 365 days.
    #[must_use]
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.0.give_up_after = Some(duration(time));
        self
    }
}

impl From<RetryPolicy> for pb::RetryPolicy {
    fn from(RetryPolicy(policy): RetryPolicy) -> Self {
        policy
    }
}

/// A job to wait for.
#[derive(Debug, Clone, PartialEq)]
pub struct Dependency(pb::Dependency);

impl Dependency {
    /// The job with this id, which must complete.
    pub fn job(job_id: i64) -> Self {
        Self::on(Parent::JobId(job_id))
    }

    /// The job with this ref id, which must complete.
    pub fn ref_id(ref_id: impl Into<String>) -> Self {
        Self::on(Parent::RefId(ref_id.into()))
    }

    /// The item of the same batch with this local key, which must complete.
    pub fn local_key(key: impl Into<String>) -> Self {
        Self::on(Parent::LocalKey(key.into()))
    }

    /// It only must have ended: completed, failed or cancelled.
    #[must_use]
    pub fn finished(self) -> Self {
        self.when(pb::DependencyCondition::Finished)
    }

    /// It must have failed.
    #[must_use]
    pub fn failed(self) -> Self {
        self.when(pb::DependencyCondition::Failure)
    }

    fn on(parent: Parent) -> Self {
        Self(pb::Dependency { parent: Some(parent), condition: pb::DependencyCondition::Success.into() })
    }

    fn when(mut self, condition: pb::DependencyCondition) -> Self {
        self.0.condition = condition.into();
        self
    }
}

impl From<i64> for Dependency {
    fn from(job_id: i64) -> Self {
        Self::job(job_id)
    }
}

impl From<Dependency> for pb::Dependency {
    fn from(Dependency(dependency): Dependency) -> Self {
        dependency
    }
}

/// What jobs get of the running job through which they are enqueued, unless they set it themselves.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Heritage {
    pub(crate) parent_id: i64,
    pub(crate) user_id: String,
    pub(crate) user_claims: std::collections::HashMap<String, String>,
    pub(crate) traceparent: String,
    pub(crate) tracestate: String,
}

impl Heritage {
    /// Fills in what `options` leave open. Claims belong to their user: they come only along with it.
    pub(crate) fn pass_on(&self, options: &mut pb::JobOptions) {
        if options.parent_id == 0 {
            options.parent_id = self.parent_id;
        }
        if options.user_id.is_empty() {
            options.user_id.clone_from(&self.user_id);
            if options.user_claims.is_empty() {
                options.user_claims.clone_from(&self.user_claims);
            }
        }
        if options.traceparent.is_empty() {
            options.traceparent.clone_from(&self.traceparent);
            if options.tracestate.is_empty() {
                options.tracestate.clone_from(&self.tracestate);
            }
        }
    }
}

/// A duration as it travels; one too long for the wire becomes the longest, which the server refuses by name.
pub(crate) fn duration(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(duration.subsec_nanos()).unwrap_or_default();
    prost_types::Duration { seconds, nanos }
}

/// A duration that came by wire; none when it is unset, and nothing when it is negative.
pub(crate) fn duration_read(duration: Option<prost_types::Duration>) -> Option<Duration> {
    duration.map(|duration| Duration::try_from(duration).unwrap_or_default())
}

/// A time that came by wire; none when it is unset or not a time.
pub fn system_time(timestamp: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    timestamp.and_then(|timestamp| SystemTime::try_from(timestamp).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(options: JobOptions) -> pb::JobOptions {
        options.into()
    }

    #[test]
    fn nothing_set_is_an_empty_message() {
        assert_eq!(wire(JobOptions::new()), pb::JobOptions::default());
    }

    #[test]
    fn each_option_goes_where_its_name_says() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let options = wire(
            JobOptions::new()
                .ref_id("order-7")
                .return_existing()
                .queue("mail")
                .worker("crm")
                .relaxed_order()
                .priority(Priority::High)
                .run_after(time)
                .expire_time(time)
                .timeout(Duration::from_millis(1500))
                .retry_policy(RetryPolicy::new().backoff(Backoff::Fixed).first_delay(Duration::from_secs(1)))
                .retry_limit(7)
                .depends_on(3)
                .depends_on(Dependency::ref_id("r").finished())
                .strict()
                .callback("Done")
                .callback_arg("a", "b")
                .reply_to("https://example.org/")
                .reply_mode(ReplyMode::Carry)
                .tag("t")
                .batch_id("b")
                .parent_id(9)
                .user_id("u")
                .user_claim("role", "admin")
                .created_by("me")
                .arg("k", "v"),
        );
        assert_eq!(options.ref_id_policy(), pb::RefIdPolicy::ReturnExisting);
        assert_eq!((options.queue.as_str(), options.worker.as_deref()), ("mail", Some("crm")));
        assert_eq!((options.priority, options.priority_name()), (None, pb::PriorityName::High));
        assert_eq!(options.run_after.unwrap().seconds, 1_800_000_000);
        assert_eq!(options.timeout.unwrap(), prost_types::Duration { seconds: 1, nanos: 500_000_000 });
        let retry = options.retry_policy.unwrap();
        assert_eq!((retry.retry_limit, retry.backoff), (Some(7), Backoff::Fixed.into()));
        assert_eq!(options.depends_on.len(), 2);
        assert_eq!(options.depends_on[1].condition(), pb::DependencyCondition::Finished);
        assert_eq!(options.callback.unwrap().args["a"], "b");
        assert_eq!((options.parent_id, options.user_claims["role"].as_str()), (9, "admin"));
    }

    #[test]
    fn of_two_that_exclude_each_other_the_last_counts() {
        let options = wire(JobOptions::new().run_after(SystemTime::UNIX_EPOCH).delay(Duration::from_secs(1)));
        assert!(options.run_after.is_none() && options.delay.is_some());
        let options = wire(JobOptions::new().priority(Priority::Low).priority(30));
        assert_eq!((options.priority, options.priority_name()), (Some(30), pb::PriorityName::Unspecified));
        assert_eq!(wire(JobOptions::new().worker("a").no_worker()).worker.as_deref(), Some(""));
    }

    #[test]
    fn a_child_inherits_what_it_leaves_open_and_claims_only_with_their_user() {
        let heritage = Heritage {
            parent_id: 5,
            user_id: "anna".into(),
            user_claims: [("role".to_owned(), "admin".to_owned())].into(),
            traceparent: "00-aa-bb-01".into(),
            tracestate: "x=1".into(),
        };
        let mut open = pb::JobOptions::default();
        heritage.pass_on(&mut open);
        assert_eq!((open.parent_id, open.user_id.as_str(), open.user_claims.len()), (5, "anna", 1));
        assert_eq!((open.traceparent.as_str(), open.tracestate.as_str()), ("00-aa-bb-01", "x=1"));
        let mut own = wire(JobOptions::new().parent_id(8).user_id("bert").traceparent("00-cc-dd-01"));
        heritage.pass_on(&mut own);
        assert_eq!((own.parent_id, own.user_id.as_str(), own.user_claims.len()), (8, "bert", 0));
        assert_eq!((own.traceparent.as_str(), own.tracestate.as_str()), ("00-cc-dd-01", ""));
    }
}
