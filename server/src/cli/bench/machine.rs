//! What the figures were measured on.

use std::path::Path;

use serde::Serialize;

/// A machine, as far as the system tells.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Machine {
    pub(super) processor: Option<String>,
    pub(super) processors: usize,
    pub(super) memory_mib: Option<u64>,
    pub(super) system: String,
    /// Processes that wanted to run in the last minute, before the benchmark began.
    pub(super) load_before: Option<f64>,
    /// The same when it ended; it counts the benchmark itself.
    pub(super) load_after: Option<f64>,
}

impl Machine {
    pub(super) fn look() -> Self {
        let information = read("/proc/cpuinfo");
        let memory = read("/proc/meminfo");
        let kernel = read("/proc/sys/kernel/osrelease");
        Self {
            processor: value(&information, "model name").map(str::to_owned),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: value(&memory, "MemTotal")
                .and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok())
                .map(|kib| kib / 1_024),
            system: format!("{} {}", std::env::consts::OS, kernel.trim()).trim().to_owned(),
            load_before: load(),
            load_after: None,
        }
    }
}

/// The load average of the last minute.
pub(super) fn load() -> Option<f64> {
    read("/proc/loadavg").split_whitespace().next()?.parse().ok()
}

/// Why what is written to a folder may be lost, if it may: it lies in memory.
pub(super) fn volatile(folder: &Path) -> Option<String> {
    let folder = std::fs::canonicalize(folder).ok()?;
    let mounts = read("/proc/mounts");
    let kind = kind_of(&folder, &mounts)?;
    matches!(kind, "tmpfs" | "ramfs").then(|| {
        format!("{} is a {kind}: it lies in memory, and a commit costs nothing there", folder.display())
    })
}

/// The kind of file system that a folder lies on: that of the longest mount point above it.
fn kind_of<'m>(folder: &Path, mounts: &'m str) -> Option<&'m str> {
    let mount = |line: &'m str| {
        let mut fields = line.split_whitespace().skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    };
    let above = mounts.lines().filter_map(mount).filter(|(point, _)| folder.starts_with(point));
    // Of two on one point the later hides the earlier.
    above.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_lies_on_the_nearest_mount_above_it() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/disk xfs rw 0 0\n";
        assert_eq!(kind_of(Path::new("/var/lib"), mounts), Some("ext4"));
        assert_eq!(kind_of(Path::new("/tmp/x"), mounts), Some("tmpfs"));
        assert_eq!(kind_of(Path::new("/tmp/disk/x"), mounts), Some("xfs"));
        assert_eq!(kind_of(Path::new("/tmpfoo"), mounts), Some("ext4"));
    }

    #[test]
    fn a_value_is_found_by_its_name() {
        assert_eq!(value("a\t: 1\nmodel name\t: Some CPU\n", "model name"), Some("Some CPU"));
        assert_eq!(value("a: 1", "b"), None);
    }
}
