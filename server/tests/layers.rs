//! Who may know whom: reads the sources and holds them against the table of rooms in the crate's documentation.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the sources fails there")]

use std::fs;
use std::path::{Path, PathBuf};

/// The benchmark: its floor is a bare service on the bare database driver, so that it may use what only other rooms may.
/// Nothing else of the command line does.
const BENCH: &str = "cli/bench";

/// A room, and the rooms of ours that it may use beside itself.
const ROOMS: [(&str, &[&str]); 15] = [
    // Time is a noun of the model; the clock tells it.
    ("clock", &["model"]),
    ("model", &[]),
    ("config", &[]),
    // The embedded database has no clock of its own but this process's.
    ("store", &["clock", "model"]),
    ("engine", &["clock", "model", "store"]),
    ("pool", &["model", "engine", "outbound"]),
    ("upkeep", &["clock", "model", "engine"]),
    ("outbound", &[]),
    ("rpc", &["model", "engine"]),
    ("web", &[]),
    ("telemetry", &["config"]),
    ("server", &["clock", "config", "engine", "model", "outbound", "pool", "rpc", "store", "upkeep", "web"]),
    ("cli", &["config"]),
    // A room within `cli`.
    (BENCH, &["cli"]),
    ("main", &["cli", "config", "server", "telemetry"]),
];

/// A crate, and the only rooms that may mention it.
const CRATES: [(&str, &[&str]); 19] = [
    ("sqlx", &["store", BENCH]),
    ("jiff", &["model"]),
    ("prost", &["rpc", "outbound", "cli"]),
    ("prost_types", &["rpc", "outbound", BENCH]),
    // The command line writes the JSON of protobuf.
    ("prost_reflect", &["outbound", "cli"]),
    ("haulier_proto", &["rpc", "cli", BENCH]),
    ("tonic", &["rpc", "outbound", "server", BENCH]),
    ("tonic_health", &["rpc"]),
    ("tonic_reflection", &["rpc", "outbound"]),
    ("tonic_web", &["rpc"]),
    ("tonic_types", &["rpc"]),
    ("axum", &["web", "server"]),
    ("reqwest", &["outbound", "cli"]),
    ("hmac", &["outbound"]),
    ("ipnet", &["outbound"]),
    ("url", &["outbound"]),
    ("clap", &["main", "config", "cli", BENCH]),
    ("indicatif", &["cli"]),
    ("comfy_table", &["cli", BENCH]),
];

/// Ways to ask for the time or for chance, and the only room that may: all others are handed what they need.
const ASKED_OF_THE_CLOCK: [&str; 3] = ["SystemTime::now", "Instant::now", "rand::rng"];

/// One line of the sources.
struct Line {
    room: String,
    place: String,
    text: String,
}

#[test]
fn a_room_uses_only_the_rooms_that_the_table_allows() {
    let mut wrong = Vec::new();
    for line in sources() {
        let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == line.room) else {
            wrong.push(format!("{}: the room `{}` is not in the table", line.place, line.room));
            continue;
        };
        let own_crate = if line.room == "main" { "haulier_server" } else { "crate" };
        for used in first_segments(&line.text, own_crate) {
            if used != line.room && !allowed.contains(&used.as_str()) && is_room(&used) {
                wrong.push(format!(
                    "{}: `{}` may not use `{used}`: {}",
                    line.place,
                    line.room,
                    line.text.trim()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_crate_is_mentioned_only_in_its_rooms() {
    let mut wrong = Vec::new();
    for line in sources() {
        for (name, rooms) in CRATES {
            if !rooms.contains(&line.room.as_str()) && mentions(&line.text, name) {
                wrong.push(format!("{}: `{name}` belongs to {rooms:?}: {}", line.place, line.text.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nobody_but_the_clock_asks_the_time() {
    let mut wrong = Vec::new();
    for line in sources().into_iter().filter(|line| line.room != "clock") {
        for call in ASKED_OF_THE_CLOCK {
            // A paused clock of tokio's is no wall clock, and drives only waits.
            if line.text.contains(call) && !line.text.contains(&format!("tokio::time::{call}")) {
                wrong.push(format!("{}: ask the clock instead: {}", line.place, line.text.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_of_the_crate_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let text = fs::read_to_string(root).unwrap();
    let declared = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    for room in declared {
        assert!(is_room(room), "`{room}` is a module of the crate and not in the table of rooms");
    }
}

#[test]
fn the_reader_finds_what_a_line_mentions() {
    assert_eq!(first_segments("use crate::model::{Job, Time};", "crate"), ["model"]);
    assert_eq!(
        first_segments("use crate::{engine::Engine, store, web::x};", "crate"),
        ["engine", "store", "web"]
    );
    assert_eq!(first_segments("let x: crate::a::B = crate::c::d();", "crate"), ["a", "c"]);
    assert!(first_segments("mycrate::a::b()", "crate").is_empty());
    assert!(mentions("    sqlx::query(", "sqlx") && mentions("use sqlx;", "sqlx"));
    assert!(!mentions("let x = not_sqlx::y", "sqlx") && !mentions("sqlx_like::y", "sqlx"));
}

fn is_room(name: &str) -> bool {
    ROOMS.iter().any(|(room, _)| *room == name)
}

/// What follows `crate::`, groups in braces included as far as they are on this line.
fn first_segments(text: &str, root: &str) -> Vec<String> {
    let mut found = Vec::new();
    let prefix = format!("{root}::");
    for (at, _) in text.match_indices(&prefix) {
        if text[..at].ends_with(is_name_char) {
            continue;
        }
        let rest = &text[at + prefix.len()..];
        let group = rest.strip_prefix('{').map(|group| group.split('}').next().unwrap_or_default());
        for item in group.map_or_else(|| vec![rest], |group| group.split(',').collect()) {
            found.push(item.trim().chars().take_while(|c| is_name_char(*c)).collect());
        }
    }
    found
}

/// Is this crate named as the start of a path or of an import?
fn mentions(text: &str, name: &str) -> bool {
    let starts_path = |at: usize| {
        let after = &text[at + name.len()..];
        !text[..at].ends_with(|c| is_name_char(c) || c == ':') && after.starts_with("::")
    };
    text.trim_start().starts_with(&format!("use {name};"))
        || text.match_indices(name).any(|(at, _)| starts_path(at))
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every line of code, comments left out; imports are joined into one line each.
fn sources() -> Vec<Line> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut lines = Vec::new();
    for path in rust_files(&root) {
        let below = path.strip_prefix(&root).unwrap();
        let first = below.components().next().unwrap().as_os_str().to_string_lossy();
        let room = if below.starts_with(BENCH) { BENCH } else { first.trim_end_matches(".rs") }.to_owned();
        if room == "lib" {
            continue;
        }
        let mut import = String::new();
        for (number, text) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let code = text.split("//").next().unwrap_or_default();
            let opens =
                code.trim_start().trim_start_matches("pub ").starts_with("use ") && !code.contains(';');
            if opens || !import.is_empty() {
                import.push_str(code.trim());
                if !code.contains(';') {
                    continue;
                }
            }
            let text = if import.is_empty() { code.to_owned() } else { std::mem::take(&mut import) };
            lines.push(Line {
                room: room.clone(),
                place: format!("{}:{}", below.display(), number + 1),
                text,
            });
        }
    }
    lines
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
