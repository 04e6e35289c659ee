//! A clock that the processes of one machine share, so that one can measure from what another wrote down.

/// Nanoseconds on it.
#[cfg(unix)]
pub(super) fn nanoseconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, rest) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + rest.unwrap_or_default()
}

/// Elsewhere the wall clock is what processes share.
#[cfg(not(unix))]
pub(super) fn nanoseconds() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
