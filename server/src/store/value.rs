//! Values that go into statements and come out of rows, the same for both databases.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use super::fault::{Fault, Try};
use super::statement::Sql;
use super::{Result, StoreError};
use crate::model::{Epoch, JobId, Month, Payload, RouteId, Run, ServerId, SessionId, Time};

/// A bound or read value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// SQL's NULL.
    Null,
    /// Any whole number.
    Int(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes; every key that is not a number.
    Bytes(Bytes),
}

impl Value {
    /// About how many bytes it takes on the way to the database.
    pub(crate) fn size(&self) -> usize {
        match self {
            Value::Text(text) => text.len() + 9,
            Value::Bytes(bytes) => bytes.len() + 9,
            _ => 9,
        }
    }
}

macro_rules! value_from {
    ($($from:ty => |$it:ident| $to:expr;)*) => {
        $(impl From<$from> for Value {
            fn from($it: $from) -> Value {
                $to
            }
        })*
    };
}

value_from! {
    i64 => |it| Value::Int(it);
    i32 => |it| Value::Int(i64::from(it));
    f64 => |it| Value::Real(it);
    &str => |it| Value::Text(it.to_owned());
    String => |it| Value::Text(it);
    Bytes => |it| Value::Bytes(it);
    Vec<u8> => |it| Value::Bytes(it.into());
    JobId => |it| Value::Int(it.0);
    Run => |it| Value::Int(i64::from(it.0));
    Epoch => |it| Value::Int(it.0);
    Time => |it| Value::Int(it.0);
    RouteId => |it| Value::Int(it.0);
    ServerId => |it| Value::Int(it.0);
    Month => |it| Value::Int(i64::from(it.0));
    SessionId => |it| Value::Bytes(Bytes::copy_from_slice(&it.0));
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(it: Option<T>) -> Value {
        it.map_or(Value::Null, Into::into)
    }
}

/// The values of one row or statement, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::value::Value::from($value)),*] };
}
pub(crate) use values;

/// A name that the database compares byte by byte.
pub(crate) fn key(text: &str) -> Value {
    Value::Bytes(Bytes::copy_from_slice(text.as_bytes()))
}

/// The three columns of a payload: kind, content type, body.
pub(crate) fn payload_values(payload: &Payload) -> [Value; 3] {
    match payload {
        Payload::None => [Value::Int(0), Value::Null, Value::Null],
        Payload::Json(bytes) => [Value::Int(1), Value::Null, Value::Bytes(bytes.clone())],
        Payload::Data { bytes, content_type } => {
            [Value::Int(2), Value::from(content_type.as_str()), Value::Bytes(bytes.clone())]
        }
    }
}

/// One row, read column by column from the left; what cannot be understood names the column and the row.
pub(crate) struct Columns {
    statement: Sql,
    names: Arc<[String]>,
    values: std::vec::IntoIter<Value>,
    at: usize,
    /// The first value, which tells the row.
    key: Value,
}

impl Columns {
    /// A row of a statement.
    pub(crate) fn new(statement: Sql, names: Arc<[String]>, values: Vec<Value>) -> Self {
        let key = match values.first() {
            Some(key @ (Value::Int(_) | Value::Bytes(_))) => key.clone(),
            _ => Value::Null,
        };
        Self { statement, names, values: values.into_iter(), at: 0, key }
    }

    /// A whole number.
    pub(crate) fn int(&mut self) -> Try<i64> {
        match self.next() {
            Value::Int(number) => Ok(number),
            other => Err(self.corrupt(&other, "a whole number")),
        }
    }

    /// A whole number that fits 32 bits.
    pub(crate) fn small(&mut self) -> Try<i32> {
        let number = self.int()?;
        i32::try_from(number).map_err(|_| self.corrupt(&Value::Int(number), "a number of 32 bits"))
    }

    /// A whole number or NULL.
    pub(crate) fn maybe_int(&mut self) -> Try<Option<i64>> {
        match self.next() {
            Value::Null => Ok(None),
            Value::Int(number) => Ok(Some(number)),
            other => Err(self.corrupt(&other, "a whole number")),
        }
    }

    /// A route, or the zero that stands for none.
    pub(crate) fn route(&mut self) -> Try<Option<RouteId>> {
        let id = RouteId(self.int()?);
        Ok((id != RouteId::default()).then_some(id))
    }

    /// A floating-point number or NULL.
    pub(crate) fn maybe_real(&mut self) -> Try<Option<f64>> {
        match self.next() {
            Value::Null => Ok(None),
            Value::Real(number) => Ok(Some(number)),
            Value::Int(number) => Ok(Some(number as f64)),
            other => Err(self.corrupt(&other, "a number")),
        }
    }

    /// Text or NULL.
    pub(crate) fn maybe_text(&mut self) -> Try<Option<String>> {
        match self.next() {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            Value::Bytes(bytes) => match String::from_utf8(bytes.to_vec()) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(self.corrupt(&Value::Bytes(bytes), "text")),
            },
            other => Err(self.corrupt(&other, "text")),
        }
    }

    /// Text; empty for NULL.
    pub(crate) fn text(&mut self) -> Try<String> {
        Ok(self.maybe_text()?.unwrap_or_default())
    }

    /// Bytes; empty for NULL.
    pub(crate) fn bytes(&mut self) -> Try<Bytes> {
        match self.next() {
            Value::Null => Ok(Bytes::new()),
            Value::Bytes(bytes) => Ok(bytes),
            Value::Text(text) => Ok(text.into()),
            other => Err(self.corrupt(&other, "bytes")),
        }
    }

    /// Exactly 16 bytes.
    pub(crate) fn bytes_16(&mut self) -> Try<[u8; 16]> {
        let bytes = self.bytes()?;
        <[u8; 16]>::try_from(&bytes[..]).map_err(|_| self.corrupt(&Value::Bytes(bytes), "16 bytes"))
    }

    /// A session id; none for no bytes.
    pub(crate) fn maybe_session(&mut self) -> Try<Option<SessionId>> {
        let bytes = self.bytes()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let id =
            <[u8; 16]>::try_from(&bytes[..]).map_err(|_| self.corrupt(&Value::Bytes(bytes), "16 bytes"))?;
        Ok(Some(SessionId(id)))
    }

    /// The three columns of a payload.
    pub(crate) fn payload(&mut self) -> Try<Payload> {
        let kind = self.maybe_int()?.unwrap_or_default();
        let content_type = self.text()?;
        let bytes = self.bytes()?;
        match kind {
            0 => Ok(Payload::None),
            1 => Ok(Payload::Json(bytes)),
            2 => Ok(Payload::Data { bytes, content_type }),
            other => Err(self.corrupt(&Value::Int(other), "a kind of payload")),
        }
    }

    /// Text that is JSON of `T`.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&mut self) -> Try<T> {
        let text = self.text()?;
        self.parsed(&text)
    }

    /// Text of the column read last that is JSON of `T`.
    pub(crate) fn parsed<T: serde::de::DeserializeOwned>(&self, text: &str) -> Try<T> {
        serde_json::from_str(text).map_err(|error| self.wrong(&format!("is not understood: {error}")))
    }

    /// Text that is JSON of `T`, or NULL.
    pub(crate) fn maybe_json<T: serde::de::DeserializeOwned>(&mut self) -> Try<Option<T>> {
        let Some(text) = self.maybe_text()? else { return Ok(None) };
        self.parsed(&text).map(Some)
    }

    /// A stored number that stands for something.
    pub(crate) fn coded<T>(&mut self, decode: fn(i64) -> Option<T>) -> Try<T> {
        let code = self.int()?;
        decode(code).ok_or_else(|| self.corrupt(&Value::Int(code), "a code that this version knows"))
    }

    /// Passes over columns.
    pub(crate) fn skip(&mut self, columns: usize) {
        for _ in 0..columns {
            self.next();
        }
    }

    /// Is the next column NULL?
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.values.as_slice().first(), None | Some(Value::Null))
    }

    /// Says what is wrong with the column that was read last.
    pub(crate) fn wrong(&self, what: &str) -> Fault {
        let column = self.names.get(self.at.saturating_sub(1)).map_or("?", String::as_str);
        let first = self.names.first().map_or("?", String::as_str);
        Fault::Store(StoreError::Corrupt(format!(
            "{column} where {first} is {}, read by {:?}, {what}",
            key_text(&self.key),
            self.statement
        )))
    }

    fn corrupt(&self, found: &Value, wanted: &str) -> Fault {
        let found = match found {
            Value::Null => "NULL".to_owned(),
            Value::Int(number) => number.to_string(),
            Value::Real(number) => number.to_string(),
            Value::Text(text) => format!("a text of {} bytes", text.len()),
            Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        };
        self.wrong(&format!("is {found} instead of {wanted}"))
    }

    fn next(&mut self) -> Value {
        self.at += 1;
        self.values.next().unwrap_or(Value::Null)
    }
}

fn key_text(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Bytes(bytes) => bytes.iter().take(8).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
        _ => String::new(),
    }
}

/// JSON of something that is stored as text.
pub(crate) fn to_json<T: serde::Serialize>(it: &T) -> Result<String> {
    serde_json::to_string(it)
        .map_err(|error| StoreError::Other(format!("cannot be written as JSON: {error}")))
}
