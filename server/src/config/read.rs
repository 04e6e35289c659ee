//! Addresses, durations and sizes as people write them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZE_UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

/// Reads `127.0.0.1:4285`, `[::1]:4285` or `localhost:4285`.
pub(super) fn read_listen(text: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").map(|port| format!("{}:{port}", Ipv4Addr::LOCALHOST));
    local.as_deref().unwrap_or(text).parse().map_err(|_| {
        format!("{text:?} is not an address and a port: write it like 127.0.0.1:4285 or [::1]:4285")
    })
}

/// Reads a whole number and a unit: `250ms`, `30s`, `10m`, `12h`, `30d`.
pub(crate) fn read_duration(text: &str) -> Result<Duration, String> {
    read_units(text, &DURATION_UNITS)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not a duration: write a number and ms, s, m, h or d, as in 30s"))
}

/// Reads a whole number and a unit: `512KiB`, `1MiB`.
pub(super) fn read_size(text: &str) -> Result<usize, String> {
    read_units(text, &SIZE_UNITS)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| format!("{text:?} is not a size: write a number and B, KiB or MiB, as in 1MiB"))
}

fn read_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_as_people_write_them() {
        assert_eq!(read_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(read_duration("10 m"), Ok(Duration::from_secs(600)));
        assert_eq!(read_duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(read_size("1MiB"), Ok(1 << 20));
        assert_eq!(read_size("512 KiB"), Ok(512 << 10));
        for wrong in
            ["", "30", "s", "-1s", "1.5h", "1 week", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(read_duration(wrong).is_err(), "{wrong}");
            assert!(read_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_is_read_with_its_port() {
        assert_eq!(read_listen("localhost:1").unwrap().to_string(), "127.0.0.1:1");
        assert_eq!(read_listen("[::1]:4285").unwrap().to_string(), "[::1]:4285");
        assert!(read_listen("4285").unwrap_err().contains("write it like"));
        assert!(read_listen("example.org:80").is_err());
    }
}
