//! What goes out, put together from jobs: bodies and headers.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::engine::LeasedJob;
use crate::model::{
    CancelReason, Ending, FailureReason, Job, JobError, JobId, Outcome, Payload, ReplyBody, Run, Spec, Time,
};
use crate::outbound::{Answer, Body};

const JSON: &str = "application/json";
/// What a text in a header is written with: visible ASCII stays, so that most texts read as they are.
const IN_HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

type Headers = Vec<(&'static str, String)>;

/// The body of a request; none for nothing.
pub(super) fn request_body(request: &Payload) -> Option<Body> {
    match request {
        Payload::None => None,
        Payload::Json(bytes) => Some(Body { content_type: JSON.into(), bytes: bytes.clone() }),
        Payload::Data { bytes, content_type } => {
            let content_type =
                if content_type.is_empty() { "application/octet-stream" } else { content_type };
            Some(Body { content_type: content_type.into(), bytes: bytes.clone() })
        }
    }
}

/// The result that an API's answer is.
pub(super) fn result(answer: Answer) -> Payload {
    match answer {
        Answer::Json(json) => Payload::Json(json),
        Answer::Data(Body { content_type, bytes }) => Payload::Data { bytes, content_type },
        Answer::Nothing => Payload::None,
    }
}

/// What goes with an API call.
pub(super) fn call_headers(leased: &LeasedJob) -> Headers {
    let LeasedJob { lease, create_time, spec, .. } = leased;
    let mut headers = vec![
        ("haulier-job-id", leased.id().to_string()),
        ("haulier-ref-id", in_header(&leased.ref_id())),
        ("haulier-run", lease.run.to_string()),
        ("haulier-attempt", lease.turn.attempt.to_string()),
        ("haulier-fencing-token", lease.fence.epoch.0.to_string()),
        ("idempotency-key", idempotency_key(leased.id(), lease.run, *create_time)),
    ];
    if !spec.user_id.is_empty() {
        headers.push(("haulier-user-id", in_header(&spec.user_id)));
    }
    if !spec.user_claims.is_empty() {
        headers.push(("haulier-user-claims", ascii_json(&json!(spec.user_claims))));
    }
    headers.extend(trace_headers(spec));
    headers
}

/// The same over all attempts of a run, and of no other run of any job of any Haulier.
fn idempotency_key(job: JobId, run: Run, create_time: Time) -> String {
    format!("haulier-{job}-{run}-{:x}", create_time.0)
}

fn trace_headers(spec: &Spec) -> Headers {
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !is_plain(&spec.traceparent) {
        return Headers::new();
    }
    let mut headers = vec![("traceparent", spec.traceparent.clone())];
    if is_plain(&spec.tracestate) {
        headers.push(("tracestate", spec.tracestate.clone()));
    }
    headers
}

/// What goes with a reply.
pub(super) fn reply_headers(job: &Job, outcome: &Outcome) -> Headers {
    let mut headers = vec![
        ("haulier-job-id", job.id.to_string()),
        ("haulier-ref-id", in_header(&job.ref_id())),
        ("haulier-run", outcome.run.to_string()),
        ("haulier-state", state(outcome.ending).to_owned()),
    ];
    headers.extend(trace_headers(&job.spec));
    headers
}

/// What a reply tells of an outcome.
pub(super) fn reply_body(kind: ReplyBody, job: &Job, outcome: &Outcome) -> Body {
    match kind {
        ReplyBody::Result if is_well(outcome.ending) => {
            request_body(&outcome.result).unwrap_or_else(|| json_body("null".into()))
        }
        ReplyBody::Result => json_body(error(outcome).to_string()),
        ReplyBody::Envelope => json_body(envelope(job, outcome)),
    }
}

fn envelope(job: &Job, outcome: &Outcome) -> String {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    put("id", json!(job.id.to_string()));
    put("ref_id", json!(job.ref_id()));
    put("run", json!(outcome.run.0));
    put("state", json!(state(outcome.ending)));
    if !job.spec.tag.is_empty() {
        put("tag", json!(job.spec.tag));
    }
    if !job.spec.batch_id.is_empty() {
        put("batch_id", json!(job.spec.batch_id));
    }
    if is_well(outcome.ending) {
        if let Payload::Data { bytes, content_type } = &outcome.result {
            put("result_base64", json!(STANDARD.encode(bytes)));
            put("result_content_type", json!(content_type));
        }
    } else {
        put("error", error(outcome));
    }
    let mut text = Value::Object(fields).to_string();
    if let (Payload::Json(bytes), true) = (&outcome.result, is_well(outcome.ending))
        && let Ok(raw) = serde_json::from_slice::<&RawValue>(bytes)
    {
        // As it was stored, byte for byte: numbers keep their digits.
        text.pop();
        let _ = write!(text, ",\"result\":{}}}", raw.get());
    }
    text
}

fn error(outcome: &Outcome) -> Value {
    if let Some(cancelled) = &outcome.cancelled {
        let reason = match cancelled.reason {
            CancelReason::Client => "CLIENT",
            CancelReason::Expired => "EXPIRED",
            CancelReason::Parent => "PARENT",
            CancelReason::Forced => "FORCED",
            CancelReason::Handler => "HANDLER",
            CancelReason::Superseded => "SUPERSEDED",
        };
        return json!({ "code": "CANCELLED", "message": cancelled.text, "reason": reason });
    }
    let Some(JobError { code, message, reason, .. }) = &outcome.error else {
        return json!({ "code": "FAILED" });
    };
    json!({ "code": code, "message": message, "reason": failure_reason(*reason) })
}

/// As the contract names it.
fn failure_reason(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::Handler => "HANDLER",
        FailureReason::NonRetryable => "NON_RETRYABLE",
        FailureReason::Timeout => "TIMEOUT",
        FailureReason::Crash => "WORKER_LOST",
        FailureReason::Poison => "POISON",
        FailureReason::Abandoned => "ABANDONED",
        FailureReason::UnreadableRequest => "UNREADABLE_REQUEST",
        FailureReason::Api => "API",
        FailureReason::UnstorableResult => "UNSTORABLE_RESULT",
    }
}

fn is_well(ending: Ending) -> bool {
    matches!(ending, Ending::Executed | Ending::Completed)
}

/// What is told of an outcome does not change any more, whatever still follows it.
fn state(ending: Ending) -> &'static str {
    match ending {
        Ending::Executed | Ending::Completed => "COMPLETED",
        Ending::Failed => "FAILED",
        Ending::Cancelled => "CANCELLED",
    }
}

fn json_body(text: String) -> Body {
    Body { content_type: JSON.into(), bytes: Bytes::from(text) }
}

/// A text as a header carries it: URL-encoded where it is not visible ASCII.
fn in_header(text: &str) -> String {
    utf8_percent_encode(text, IN_HEADER).to_string()
}

/// JSON in ASCII, as a header carries it.
fn ascii_json(value: &Value) -> String {
    let text = value.to_string();
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text;
    }
    let mut ascii = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if matches!(character, ' '..='~') {
            ascii.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cancelled, JobId, Month, ReadyKey, RouteId, Run, Time, Turn, Work};

    fn job() -> Job {
        let mut spec = Box::new(Spec::new(Work::Command("C".into())));
        spec.ref_id = "r\u{e9}f %1".into();
        let ready = ReadyKey { route: RouteId(1), priority: 15, ready_time: Time(0), job: JobId(7) };
        Job {
            id: JobId(7),
            month: Month(202_611),
            run: Run(2),
            run_time: Time(0),
            create_time: Time(255),
            ready,
            spec: spec.into(),
            request: Payload::None,
            digest: [0; 16],
        }
    }

    fn outcome(ending: Ending, result: Payload) -> Outcome {
        Outcome {
            run: Run(2),
            ending,
            turn: Turn::default(),
            start_time: None,
            finish_time: Time(0),
            session: None,
            worker_process: String::new(),
            result,
            error: None,
            cancelled: None,
            status: String::new(),
            log_sequence: 0,
            notify_time: None,
            callback: None,
            callback_error: String::new(),
            notify_error: String::new(),
        }
    }

    fn body(kind: ReplyBody, outcome: &Outcome) -> (String, String) {
        let Body { content_type, bytes } = reply_body(kind, &job(), outcome);
        (content_type, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn a_result_is_told_byte_for_byte() {
        let json = Payload::Json(r#"{"n":  1.00}"#.into());
        let data = Payload::Data { bytes: "png".into(), content_type: "image/png".into() };
        let told = |result| body(ReplyBody::Result, &outcome(Ending::Executed, result));
        assert_eq!(told(json.clone()), (JSON.to_owned(), r#"{"n":  1.00}"#.to_owned()));
        assert_eq!(told(data.clone()), ("image/png".to_owned(), "png".to_owned()));
        assert_eq!(told(Payload::None), (JSON.to_owned(), "null".to_owned()));
        let (_, text) = body(ReplyBody::Envelope, &outcome(Ending::Completed, json));
        assert!(text.ends_with(r#","result":{"n":  1.00}}"#), "{text}");
        let (_, text) = body(ReplyBody::Envelope, &outcome(Ending::Completed, data));
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&read["result_base64"], &read["result_content_type"]),
            (&json!("cG5n"), &json!("image/png"))
        );
    }

    #[test]
    fn a_failure_tells_its_error_and_never_its_stack() {
        let mut failed = outcome(Ending::Failed, Payload::None);
        failed.error = Some(JobError {
            code: "full".into(),
            message: "m".into(),
            stack: "at secret.rs".into(),
            reason: FailureReason::Timeout,
        });
        for kind in [ReplyBody::Result, ReplyBody::Envelope] {
            let (_, text) = body(kind, &failed);
            assert!(text.contains(r#""reason":"TIMEOUT""#) && !text.contains("secret.rs"), "{text}");
        }
        failed.cancelled = Some(Cancelled { reason: CancelReason::Parent, text: "t".into() });
        failed.ending = Ending::Cancelled;
        let (_, text) = body(ReplyBody::Result, &failed);
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({ "code": "CANCELLED", "message": "t", "reason": "PARENT" })
        );
    }

    #[test]
    fn every_header_is_visible_ascii() {
        let mut job = job();
        job.spec_mut().traceparent = "00-\u{e9}".into();
        let headers = reply_headers(&job, &outcome(Ending::Executed, Payload::None));
        assert!(headers.contains(&("haulier-ref-id", "r%C3%A9f%20%251".to_owned())));
        assert!(headers.contains(&("haulier-state", "COMPLETED".to_owned())));
        assert!(
            !headers.iter().any(|(name, _)| *name == "traceparent"),
            "one that no header carries stays here"
        );
        assert_eq!(ascii_json(&json!({ "k": "\u{1f600}\u{e9}\n" })), r#"{"k":"\ud83d\ude00\u00e9\n"}"#);
        assert_eq!(idempotency_key(job.id, job.run, job.create_time), "haulier-7-2-ff");
    }
}
