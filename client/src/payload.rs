//! Requests, results and checkpoints: any JSON value, raw bytes, or nothing.

use bytes::Bytes;
use haulier_proto::v1 as pb;
use haulier_proto::v1::payload::Kind;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::errors::{Error, Result};

/// A request, a result or a checkpoint, as it travels.
///
/// Nothing and JSON `null` are one: both read as `()` and as `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Payload(Option<pb::Payload>);

impl Payload {
    /// Nothing.
    pub fn nothing() -> Self {
        Self(None)
    }

    /// A value written as JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        let text =
            serde_json::to_string(value).map_err(|source| Error::Encode { what: "a payload", source })?;
        Ok(Self::json_text(text))
    }

    /// JSON text, kept byte for byte. The server refuses what is not JSON.
    pub fn json_text(text: impl Into<String>) -> Self {
        let text = text.into();
        if text == "null" {
            return Self::nothing();
        }
        Self(Some(pb::Payload { kind: Some(Kind::Json(text)), content_type: String::new() }))
    }

    /// Raw bytes with their media type; empty means `application/octet-stream`.
    pub fn bytes(data: impl Into<Bytes>, content_type: impl Into<String>) -> Self {
        Self(Some(pb::Payload { kind: Some(Kind::Data(data.into())), content_type: content_type.into() }))
    }

    /// Reads a value from JSON.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        let read = match self.kind() {
            None => serde_json::from_str("null"),
            Some(Kind::Json(text)) => {
                return serde_json::from_str(text)
                    .map_err(|error| undecodable::<T>(&located::<T>(text, error)));
            }
            Some(Kind::Data(_)) => {
                return Err(undecodable::<T>("it holds raw bytes, not JSON; read them with as_bytes"));
            }
            Some(Kind::Value(_)) => {
                return Err(undecodable::<T>("it holds a protobuf value, which servers never send"));
            }
        };
        read.map_err(|error| undecodable::<T>(&error.to_string()))
    }

    /// The JSON text, if it holds JSON.
    pub fn as_json(&self) -> Option<&str> {
        match self.kind()? {
            Kind::Json(text) => Some(text),
            Kind::Data(_) | Kind::Value(_) => None,
        }
    }

    /// The raw bytes, if it holds such.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self.kind()? {
            Kind::Data(data) => Some(data),
            Kind::Json(_) | Kind::Value(_) => None,
        }
    }

    /// Whether it holds nothing.
    pub fn is_nothing(&self) -> bool {
        self.kind().is_none()
    }

    /// The media type that was given with it; empty: the default of its kind.
    pub fn content_type(&self) -> &str {
        self.0.as_ref().map_or("", |payload| &payload.content_type)
    }

    fn kind(&self) -> Option<&Kind> {
        self.0.as_ref()?.kind.as_ref()
    }
}

/// What is wrong with JSON text, with the path of the field, which serde_json does not tell: a second look, since it costs.
fn located<T: DeserializeOwned>(text: &str, error: serde_json::Error) -> String {
    let mut reader = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Err(found) if found.path().iter().next().is_some() => found.to_string(),
        _ => error.to_string(),
    }
}

fn undecodable<T>(why: &str) -> Error {
    Error::Decode { what: "a payload", expected: std::any::type_name::<T>(), why: why.to_owned() }
}

impl From<Option<pb::Payload>> for Payload {
    fn from(payload: Option<pb::Payload>) -> Self {
        Self(payload)
    }
}

impl From<Payload> for Option<pb::Payload> {
    fn from(Payload(payload): Payload) -> Self {
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_null_are_one() {
        assert_eq!(Payload::json(&()).unwrap(), Payload::nothing());
        assert_eq!(Payload::json(&None::<u8>).unwrap(), Payload::nothing());
        Payload::nothing().read::<()>().unwrap();
        assert_eq!(Payload::nothing().read::<Option<u8>>().unwrap(), None);
    }

    #[test]
    fn json_is_kept_byte_for_byte_and_integers_keep_all_their_bits() {
        let payload = Payload::json(&u64::MAX).unwrap();
        assert_eq!(payload.as_json(), Some("18446744073709551615"));
        assert_eq!(payload.read::<u64>().unwrap(), u64::MAX);
        assert_eq!(Payload::json_text("{ \"a\" : 1.0 }").as_json(), Some("{ \"a\" : 1.0 }"));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_path() {
        #[derive(Debug, serde::Deserialize)]
        struct Order {
            #[expect(dead_code, reason = "only read")]
            lines: Vec<Line>,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Line {
            #[expect(dead_code, reason = "only read")]
            count: i64,
        }
        let said = |text: &str| Payload::json_text(text).read::<Order>().unwrap_err().to_string();
        let wrong = said(r#"{"lines": [{"count": 1}, {"count": "many"}]}"#);
        assert!(wrong.contains("lines[1].count: invalid type: string \"many\", expected i64"), "{wrong}");
        assert!(said("[").contains("EOF while parsing"), "{}", said("["));
        assert!(said("{\"lines\": []} x").contains("trailing characters"));
    }

    #[test]
    fn bytes_are_not_read_as_json() {
        let payload = Payload::bytes(&b"\x00\x01"[..], "image/png");
        assert_eq!(payload.as_bytes().unwrap().as_ref(), b"\x00\x01");
        assert_eq!(payload.content_type(), "image/png");
        assert!(payload.read::<String>().unwrap_err().to_string().contains("raw bytes"));
    }
}
