//! Payloads: JSON text kept byte for byte, bytes never looked into, values turned into JSON text.

use std::fmt::Write as _;

use bytes::Bytes;
use haulier_proto::v1 as pb;
use pb::payload::Kind;
use prost_types::Value;
use prost_types::value::Kind as ValueKind;
use serde::de::IgnoredAny;

use crate::model::Payload;
use crate::rpc::check::{Check, spoken_bytes, wire};

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
/// Numbers are doubles in `google.protobuf.Value`: beyond this, whole ones are no longer exact.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Reads a payload of at most `most` bytes; the field is the path that `check` is at.
pub(crate) fn payload(check: &mut Check, given: Option<pb::Payload>, most: usize) -> Payload {
    let Some(pb::Payload { kind, content_type }) = given else { return Payload::None };
    check.chars("content_type", &content_type, wire::CONTENT_TYPE_CHARS_MAX);
    if content_type.chars().any(char::is_control) {
        check.refuse("content_type", "holds a control character");
    }
    let payload = match kind {
        None => Payload::None,
        Some(Kind::Data(bytes)) => Payload::Data { bytes, content_type },
        Some(Kind::Json(text)) => {
            check_json_type(check, &content_type);
            check_size(check, text.len(), most);
            check_json(check, &text);
            return Payload::Json(Bytes::from(text));
        }
        Some(Kind::Value(value)) => {
            check_json_type(check, &content_type);
            Payload::Json(Bytes::from(json_text(check, &value)))
        }
    };
    check_size(check, payload.len(), most);
    payload
}

/// What callers are given back; nothing stays unset.
pub(crate) fn payload_message(payload: &Payload) -> Option<pb::Payload> {
    match payload {
        Payload::None => None,
        Payload::Json(bytes) => Some(pb::Payload {
            kind: Some(Kind::Json(String::from_utf8_lossy(bytes).into_owned())),
            content_type: JSON.into(),
        }),
        Payload::Data { bytes, content_type } => Some(pb::Payload {
            kind: Some(Kind::Data(bytes.clone())),
            content_type: if content_type.is_empty() { BYTES.into() } else { content_type.clone() },
        }),
    }
}

fn check_size(check: &mut Check, bytes: usize, most: usize) {
    if bytes > most {
        let most = spoken_bytes(most);
        let mend = "store it elsewhere and send where it is";
        check.refuse("", format!("has {bytes} bytes, at most {most} are allowed here: {mend}"));
    }
}

fn check_json_type(check: &mut Check, content_type: &str) {
    if !content_type.is_empty() && !content_type.starts_with(JSON) {
        check.refuse("content_type", format!("must be {JSON} or empty for JSON: send other types as `data`"));
    }
}

fn check_json(check: &mut Check, text: &str) {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        check.refuse("json", format!("is not JSON: {error}"));
    }
}

/// JSON text of a value: whole numbers without a fraction, so that an id stays an id.
fn json_text(check: &mut Check, value: &Value) -> String {
    let mut text = String::new();
    if write_value(&mut text, value).is_err() {
        check.refuse("value", "holds a number that JSON does not have, such as NaN or infinity");
    }
    text
}

fn write_value(text: &mut String, value: &Value) -> std::fmt::Result {
    match &value.kind {
        None | Some(ValueKind::NullValue(_)) => text.write_str("null"),
        Some(ValueKind::BoolValue(is)) => write!(text, "{is}"),
        Some(ValueKind::NumberValue(number)) => write_number(text, *number),
        Some(ValueKind::StringValue(string)) => write_string(text, string),
        Some(ValueKind::ListValue(list)) => write_all(text, ['[', ']'], &list.values, write_value),
        Some(ValueKind::StructValue(fields)) => {
            write_all(text, ['{', '}'], &fields.fields, |text, (key, value)| {
                write_string(text, key)?;
                text.write_char(':')?;
                write_value(text, value)
            })
        }
    }
}

fn write_all<I: IntoIterator>(
    text: &mut String,
    [open, close]: [char; 2],
    items: I,
    write: impl Fn(&mut String, I::Item) -> std::fmt::Result,
) -> std::fmt::Result {
    text.write_char(open)?;
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            text.write_char(',')?;
        }
        write(text, item)?;
    }
    text.write_char(close)
}

fn write_number(text: &mut String, number: f64) -> std::fmt::Result {
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        return write!(text, "{}", number as i64);
    }
    let number = serde_json::Number::from_f64(number).ok_or(std::fmt::Error)?;
    write!(text, "{number}")
}

fn write_string(text: &mut String, string: &str) -> std::fmt::Result {
    text.write_str(&serde_json::to_string(string).map_err(|_| std::fmt::Error)?)
}

#[cfg(test)]
mod tests {
    use prost_types::{ListValue, Struct};

    use super::*;
    use crate::engine::Error;

    fn read(kind: Kind, most: usize) -> Result<Payload, Error> {
        let mut check = Check::new();
        let given = pb::Payload { kind: Some(kind), content_type: String::new() };
        let read = check.within("request", |check| payload(check, Some(given), most));
        check.pass(read)
    }

    fn number(number: f64) -> Value {
        Value { kind: Some(ValueKind::NumberValue(number)) }
    }

    #[test]
    fn json_is_kept_byte_for_byte() {
        let text = "{ \"b\": 1.0e3,\n \"a\": [1,2] }";
        assert_eq!(read(Kind::Json(text.into()), 100).unwrap(), Payload::Json(text.into()));
    }

    #[test]
    fn text_that_is_not_json_is_refused_with_its_position() {
        let error = read(Kind::Json("{\"a\": 1,\n \"b\": }".into()), 100).unwrap_err().to_string();
        assert!(error.contains("request.json is not JSON") && error.contains("line 2 column 7"), "{error}");
        assert!(read(Kind::Json(String::new()), 100).is_err());
        assert!(read(Kind::Json("1 2".into()), 100).is_err());
    }

    #[test]
    fn a_payload_at_the_limit_passes_and_one_above_names_field_and_limit() {
        for kind in
            [|n: usize| Kind::Data(vec![0; n].into()), |n| Kind::Json(format!("\"{}\"", "x".repeat(n - 2)))]
        {
            assert!(read(kind(1_024), 1_024).is_ok());
            let error = read(kind(1_025), 1_024).unwrap_err().to_string();
            assert!(error.contains("request has 1025 bytes") && error.contains("1 KiB"), "{error}");
        }
    }

    #[test]
    fn a_value_becomes_json_text_with_whole_numbers_as_such() {
        let fields = [
            ("whole".to_owned(), number(7.0)),
            ("part".to_owned(), number(0.5)),
            ("large".to_owned(), number(1e300)),
            ("quote\"d".to_owned(), Value { kind: Some(ValueKind::StringValue("ü\n".into())) }),
            (
                "list".to_owned(),
                Value {
                    kind: Some(ValueKind::ListValue(ListValue {
                        values: vec![number(-1.0), Value { kind: None }],
                    })),
                },
            ),
        ];
        let value = Value { kind: Some(ValueKind::StructValue(Struct { fields: fields.into() })) };
        let Payload::Json(text) = read(Kind::Value(value), 1_000).unwrap() else { panic!("not JSON") };
        let text = std::str::from_utf8(&text).unwrap();
        assert_eq!(text, r#"{"large":1e+300,"list":[-1,null],"part":0.5,"quote\"d":"ü\n","whole":7}"#);
        assert!(read(Kind::Value(number(f64::NAN)), 1_000).is_err());
    }

    #[test]
    fn json_of_another_media_type_is_told_to_go_as_data() {
        let mut check = Check::new();
        let given = pb::Payload { kind: Some(Kind::Json("1".into())), content_type: "text/plain".into() };
        let read = payload(&mut check, Some(given), 100);
        assert!(check.pass(read).unwrap_err().to_string().contains("content_type"));
    }
}
