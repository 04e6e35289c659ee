//! Figures: what a test measured, for people. Never asserted without a generous margin.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Tells what this test measured: in its own output, and in the file that `HAULIER_FIGURES` names, from which `tests/run` makes
/// its closing summary.
pub fn figure(text: &str) {
    println!("{text}");
    let Some(path) = std::env::var_os("HAULIER_FIGURES") else { return };
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("{test}: {text}\n");
    let file = OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .expect("the file of the figures can be written");
}
