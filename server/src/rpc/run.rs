//! Transient runs: what RunCommand asks for, and what it is answered.

use std::time::Duration;

use haulier_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::check::{Check, up_to};
use super::convert::{self, Options, Settings};
use crate::engine::{Result, RunAnswer, RunCall, RunWait};
use crate::model::{Time, Work, limits};

/// Reads RunCommand. The trace context is that of the call's metadata unless the options set one.
pub(crate) fn run_command(
    given: pb::RunCommandRequest,
    metadata: &MetadataMap,
    settings: &Settings,
    now: Time,
) -> Result<RunCall> {
    let mut check = Check::new();
    check.name("command", &given.command);
    let most = settings.payload_bytes_max;
    let request = check.within("request", |check| convert::payload(check, given.request, most));
    let wait = wait(&mut check, given.wait, given.detach);
    let mut asked = given.options.unwrap_or_default();
    convert::take_trace(&mut asked, metadata);
    let work = Work::Command(given.command);
    let Options { spec, .. } = check.within("options", |check| {
        refuse_what_is_stored(check, &asked);
        convert::options(check, work, asked, settings, now)
    });
    check.pass(RunCall { spec, request, wait, patience: settings.run_wait })
}

fn wait(check: &mut Check, wait: Option<prost_types::Duration>, detach: bool) -> RunWait {
    if detach && wait.is_some() {
        check.refuse("detach", "cannot be set together with `wait`: set one of them");
    }
    let wait: Option<Duration> = check.duration("wait", wait, up_to(limits::TIMEOUT_MAX));
    if detach { RunWait::Detached } else { RunWait::Until(wait) }
}

/// What only a stored job can do.
pub(crate) fn refuse_what_is_stored(check: &mut Check, asked: &pb::JobOptions) {
    let none = pb::JobOptions::default();
    let set = [
        ("ref_id_policy", asked.ref_id_policy != none.ref_id_policy),
        ("worker_order", asked.worker_order != none.worker_order),
        ("run_after", asked.run_after.is_some()),
        ("delay", asked.delay.is_some()),
        ("expire_time", asked.expire_time.is_some()),
        ("retry_policy", asked.retry_policy.is_some()),
        ("depends_on", !asked.depends_on.is_empty()),
        ("callback", asked.callback.is_some()),
        ("reply_to", !asked.reply_to.is_empty()),
        ("reply_mode", asked.reply_mode != none.reply_mode),
        ("reply_body", asked.reply_body != none.reply_body),
        ("reply_on_success_only", asked.reply_on_success_only),
        ("batch_id", !asked.batch_id.is_empty()),
    ];
    for (field, _) in set.into_iter().filter(|(_, is_set)| *is_set) {
        check
            .refuse(field, "cannot be set for a transient run, which is never stored: enqueue a job instead");
    }
}

/// The answer to RunCommand. Why a run was cancelled comes as its error's text.
pub(crate) fn ran(answer: RunAnswer) -> pb::RunCommandResponse {
    let RunAnswer { view, now } = answer;
    let (mut result, mut error) = (None, None);
    if let Some(outcome) = view.outcome() {
        result = convert::payload_message(&outcome.result);
        let cancelled = outcome.cancelled.as_ref();
        error =
            outcome.error.as_ref().map(convert::job_error).or(cancelled
                .map(|cancelled| pb::JobError { message: cancelled.text.clone(), ..Default::default() }));
    }
    let state = convert::state(view.state(now)).into();
    pb::RunCommandResponse { ref_id: view.job.ref_id(), state, result, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Error;
    use crate::rpc::convert::tests::SETTINGS;

    const NOW: Time = Time(1_795_219_200_000_000);

    fn read(set: impl FnOnce(&mut pb::RunCommandRequest, &mut pb::JobOptions)) -> Result<RunCall> {
        let (mut given, mut options) = (pb::RunCommandRequest::default(), pb::JobOptions::default());
        given.command = "C".into();
        set(&mut given, &mut options);
        given.options = Some(options);
        run_command(given, &MetadataMap::new(), &SETTINGS, NOW)
    }

    fn refused(answer: Result<RunCall>) -> String {
        match answer {
            Err(Error::Invalid(violations)) => violations[0].field.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_one_of_wait_and_detach_may_be_set() {
        let second = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        assert_eq!(read(|_, _| ()).unwrap().wait, RunWait::Until(None));
        let waits = read(|given, _| given.wait = second).unwrap().wait;
        assert_eq!(waits, RunWait::Until(Some(Duration::from_secs(1))));
        assert_eq!(read(|given, _| given.detach = true).unwrap().wait, RunWait::Detached);
        assert_eq!(refused(read(|given, _| (given.wait, given.detach) = (second, true))), "detach");
        let long = Some(prost_types::Duration { seconds: 31 * 86_400, nanos: 0 });
        assert_eq!(refused(read(|given, _| given.wait = long)), "wait");
    }

    #[test]
    fn what_only_a_stored_job_can_do_is_refused_by_its_field() {
        let time = Some(prost_types::Timestamp { seconds: NOW.0 / 1_000_000 + 60, nanos: 0 });
        let minute = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        for (field, answer) in [
            ("options.ref_id_policy", read(|_, o| o.ref_id_policy = 1)),
            ("options.worker_order", read(|_, o| o.worker_order = 1)),
            ("options.run_after", read(|_, o| o.run_after = time)),
            ("options.delay", read(|_, o| o.delay = minute)),
            ("options.expire_time", read(|_, o| o.expire_time = time)),
            ("options.retry_policy", read(|_, o| o.retry_policy = Some(Default::default()))),
            ("options.depends_on", read(|_, o| o.depends_on = vec![Default::default()])),
            ("options.callback", read(|_, o| o.callback = Some(Default::default()))),
            ("options.reply_to", read(|_, o| o.reply_to = "https://example.org".into())),
            ("options.reply_mode", read(|_, o| o.reply_mode = 1)),
            ("options.reply_body", read(|_, o| o.reply_body = 1)),
            ("options.reply_on_success_only", read(|_, o| o.reply_on_success_only = true)),
            ("options.batch_id", read(|_, o| o.batch_id = "b".into())),
        ] {
            assert_eq!(refused(answer), field);
        }
        let allowed = read(|_, o| {
            (o.ref_id, o.queue, o.worker, o.priority) = ("r".into(), "q".into(), Some("w".into()), Some(20));
            (o.timeout, o.strict, o.tag, o.parent_id) = (minute, true, "t".into(), 7);
            (o.user_id, o.created_by) = ("u".into(), "me".into());
        });
        assert!(allowed.is_ok(), "{allowed:?}");
    }
}
