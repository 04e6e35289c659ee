//! What we are built of: holds the licences of all dependencies, and the crates that must not come in, against `deny.toml`.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its sources fails there")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(top()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every package of others that is built for this machine, by these kinds of edges: name and licence.
fn dependencies(edges: &str) -> BTreeMap<String, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let arguments = ["tree", "--workspace", "--locked", "--prefix", "none", "--no-dedupe", "--edges", edges];
    // The lock file names crates, too, that no feature brings in.
    let listed = output(&cargo, &[&arguments[..], &["--format", "{p}|{l}"]].concat());
    let ours = |package: &str| package.contains(top().to_str().unwrap());
    let package = |line: &str| {
        let (package, licence) = line.split_once('|')?;
        let name = package.split_whitespace().next()?;
        (!ours(package)).then(|| (name.to_owned(), licence.to_owned()))
    };
    listed.lines().filter_map(package).collect()
}

fn rules() -> toml::Table {
    std::fs::read_to_string(top().join("deny.toml")).unwrap().parse().unwrap()
}

/// Whether an SPDX expression holds: `AND` binds more closely than `OR`.
fn holds(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let held = any(&mut words, allowed);
    assert!(words.next().is_none(), "not understood: {expression}");
    held
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    let mut held = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        held |= all(words, allowed);
    }
    held
}

fn all(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    let mut held = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        held &= one(words, allowed);
    }
    held
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    match words.next() {
        Some("(") => {
            let held = any(words, allowed);
            assert_eq!(words.next(), Some(")"));
            held
        }
        Some(licence) => match words.next_if_eq(&"WITH").and_then(|_| words.next()) {
            Some(exception) => allowed.contains(format!("{licence} WITH {exception}").as_str()),
            None => allowed.contains(licence),
        },
        None => false,
    }
}

#[test]
fn every_dependency_has_a_permissive_licence() {
    let rules = rules();
    let allowed: BTreeSet<&str> =
        rules["licenses"]["allow"].as_array().unwrap().iter().filter_map(toml::Value::as_str).collect();
    let dependencies = dependencies("normal,build,dev");
    assert!(dependencies.len() > 100, "{} are too few to be all", dependencies.len());
    let wrong: Vec<_> = dependencies.iter().filter(|(_, licence)| !holds(licence, &allowed)).collect();
    assert!(wrong.is_empty(), "not allowed by deny.toml: {wrong:?}");
}

/// What tests alone bring in is not shipped.
#[test]
fn no_crate_comes_in_that_must_not() {
    let rules = rules();
    let banned = rules["bans"]["deny"].as_array().unwrap().iter();
    let banned: HashMap<&str, &str> =
        banned.map(|ban| (ban["crate"].as_str().unwrap(), ban["reason"].as_str().unwrap())).collect();
    for (name, _) in dependencies("normal,build") {
        assert!(!banned.contains_key(name.as_str()), "{name}: {}", banned[name.as_str()]);
    }
}

#[test]
fn an_expression_holds_as_spdx_says() {
    let allowed = BTreeSet::from(["MIT", "ISC"]);
    for (expression, held) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("MIT/GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("ISC AND (GPL-3.0 OR MIT)", true),
        ("GPL-3.0 AND MIT OR ISC", true),
        ("(MIT OR GPL-3.0) AND GPL-3.0", false),
        ("MIT WITH Something", false),
        ("", false),
    ] {
        assert_eq!(holds(expression, &allowed), held, "{expression}");
    }
}
