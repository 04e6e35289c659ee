//! The deadline that a call brings with it.

use std::time::Duration;

use tonic::codegen::http::HeaderMap;

/// Answered this much before the caller's deadline: tonic's own timer would answer CANCELLED where the contract says
/// DEADLINE_EXCEEDED.
const HEAD_START: Duration = Duration::from_millis(2);

/// How long the answer to a call may take, if its caller said.
pub fn time_for(headers: &HeaderMap) -> Option<Duration> {
    let given = read(headers.get("grpc-timeout")?.to_str().ok()?)?;
    Some(given.saturating_sub(HEAD_START))
}

/// At most eight digits and a unit, as gRPC over HTTP/2 has it.
fn read(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_read_in_its_unit() {
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!(read("5M"), Some(Duration::from_secs(300)));
        assert_eq!(read("1S"), Some(Duration::from_secs(1)));
        assert_eq!(
            (read("250m"), read("7u"), read("1n")),
            (Some(Duration::from_millis(250)), Some(Duration::from_micros(7)), Some(Duration::from_nanos(1)),)
        );
        for wrong in ["", "S", "1", "1x", "-1S", "123456789S", "1ü"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_answer_comes_before_the_callers_deadline() {
        let mut headers = HeaderMap::new();
        assert_eq!(time_for(&headers), None);
        headers.insert("grpc-timeout", "1S".parse().unwrap());
        assert_eq!(time_for(&headers), Some(Duration::from_millis(998)));
        headers.insert("grpc-timeout", "1n".parse().unwrap());
        assert_eq!(time_for(&headers), Some(Duration::ZERO));
    }
}
