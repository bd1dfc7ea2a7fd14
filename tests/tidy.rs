//! The rules of the house that a machine can check (`docs/architecture.md`): which way dependencies point (rule 1), what
//! decisions may not name (rule 2), and no re-exports inside the crate (rule 5). A failure names the rule and the line.

#![expect(clippy::unwrap_used, reason = "a tree that cannot be read fails the test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Modules of each layer, from words to shells. A module that is not listed fails the test.
const LAYERS: [&[&str]; 4] = [
    &["api", "class", "json", "lang"],
    &[
        "plan",
        "analysis",
        "appset",
        "experiment",
        "notification",
        "project",
        "rbac",
        "rollout",
        "settings",
        "sync",
        "traffic",
    ],
    &[
        "clock",
        "process",
        "http",
        "auth",
        "k8s",
        "live",
        "provider",
        "repo",
        "router",
        "sender",
        "telemetry",
    ],
    &["cli", "controllers", "server", "sim"],
];

/// Who may import whom in the same layer; `*` is everyone. `plan` and `clock` are what their layers are made of.
const SAME_LAYER: &[(&str, &str)] = &[
    ("*", "plan"),
    ("*", "clock"),
    ("*", "class"),
    ("*", "json"),
    ("api", "lang"),
    ("rollout", "traffic"),
    ("rollout", "analysis"),
    ("rollout", "experiment"),
    ("experiment", "analysis"),
    ("sync", "project"),
    ("appset", "project"),
    ("repo", "process"),
    ("repo", "http"),
    ("provider", "http"),
    ("live", "k8s"),
    ("cli", "controllers"),
    ("cli", "sim"),
    ("controllers", "server"),
    ("sim", "cli"),
    ("sim", "controllers"),
];

/// What L0 and L1 may not name.
const IMPURE: &[&str] = &[
    "tokio::",
    "reqwest",
    "axum",
    "tracing",
    "rand::",
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "kube::Client",
    "kube::Api",
    "kube::runtime",
    "kube::client",
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::thread",
    "async fn",
];

/// Items of `std` that L0 and L1 may not take even from the middle of a `use std::{…}`.
const IMPURE_STD: &[&str] = &["fs", "net", "process", "env", "thread"];

/// Macros are only reachable through a `use`.
const REEXPORTED: &[&str] = &[
    "pub(crate) use wire;",
    "pub(crate) use wire_required;",
    "pub(crate) use resource;",
];

struct Source {
    path: PathBuf,
    module: String,
    layer: Option<usize>,
    code: String,
}

#[test]
fn rule_1_a_layer_imports_only_lower_layers() {
    let mut broken = Vec::new();
    for source in sources() {
        let Some(layer) = source.layer else {
            broken.push(format!(
                "rule 1: {} is in no layer; list its module in tests/tidy.rs",
                source.path.display()
            ));
            continue;
        };
        for (line, imported) in imports(&source.code) {
            let Some(of) = layer_of(&imported) else { continue };
            let listed = SAME_LAYER
                .iter()
                .any(|(by, what)| (*by == "*" || *by == source.module) && *what == imported);
            if of < layer || imported == source.module || (of == layer && listed) {
                continue;
            }
            broken.push(format!(
                "rule 1: {}:{line}: `{}` (L{layer}) imports `{imported}` (L{of})",
                source.path.display(),
                source.module
            ));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn rule_2_decisions_are_pure() {
    let mut broken = Vec::new();
    for source in sources()
        .into_iter()
        .filter(|source| source.layer.is_some_and(|layer| layer < 2))
    {
        for (number, line) in source.code.lines().enumerate() {
            let named = IMPURE.iter().find(|word| names(line, word)).copied();
            let named = named.or_else(|| std_items(line).find(|item| IMPURE_STD.contains(item)));
            if let Some(word) = named {
                broken.push(format!(
                    "rule 2: {}:{}: L0 and L1 may not name `{word}`",
                    source.path.display(),
                    number + 1
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// An item has one path. So a module may offer what a private child of its own holds, and nothing else.
#[test]
fn rule_5_nothing_is_re_exported() {
    let mut broken = Vec::new();
    for source in sources() {
        for (number, line) in source.code.lines().enumerate() {
            let line = line.trim();
            let Some(offered) = re_export(line).filter(|_| !REEXPORTED.contains(&line)) else {
                continue;
            };
            let private = |child: &String| source.code.lines().any(|line| line.trim() == format!("mod {child};"));
            if !children(offered).iter().all(private) {
                broken.push(format!("rule 5: {}:{}: `{line}`", source.path.display(), number + 1));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What follows `use` in a line that re-exports.
fn re_export(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(scoped) => scoped.split_once(')')?.1,
        None => rest,
    };
    rest.strip_prefix(" use ")
}

/// The first words of the paths in a `use`, below `self`.
fn children(offered: &str) -> Vec<String> {
    let offered = offered.strip_prefix("self::").unwrap_or(offered);
    match offered.strip_prefix('{') {
        Some(group) => top_level(group),
        None => vec![word(offered)],
    }
}

#[test]
fn the_checks_can_fail() {
    assert_eq!(
        imports("use crate::{\n    a::b,\n    c::{d, e},\n    f,\n};\nlet x = crate::g::h();").len(),
        4
    );
    assert_eq!(imports("use crate::plan::Plan;"), [(1, "plan".to_owned())]);
    assert!(names("    let now = Timestamp::now();", "Timestamp::now"));
    assert!(!names("let reinstantiated = 1;", "Instant"));
    assert_eq!(
        std_items("use std::{fs, path::Path};").collect::<Vec<_>>(),
        ["fs", "path"]
    );
    assert_eq!(re_export("pub(crate) use a::b;"), Some("a::b;"));
    assert_eq!(re_export("pub fn use_it() {}"), None);
    assert_eq!(children("self::{a::B, c::{D, E}};"), ["a", "c"]);
    assert_eq!(
        stripped("let a = 1; // tokio::\n#[cfg(test)]\nmod tests { tokio::spawn }"),
        "let a = 1; \n"
    );
}

/// Every source file of the library without comments and tests.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 10, "the sources were not found");
    files.into_iter().filter_map(|path| source(&root, path)).collect()
}

fn source(root: &Path, path: PathBuf) -> Option<Source> {
    let inside = path.strip_prefix(root).ok()?.to_owned();
    let is_test = inside
        .iter()
        .any(|part| matches!(part.to_str(), Some("tests.rs" | "tests" | "testing" | "testing.rs")));
    let first = inside.iter().next()?.to_str()?.trim_end_matches(".rs").to_owned();
    if is_test || matches!(first.as_str(), "lib" | "main") {
        return None;
    }
    let code = stripped(&fs::read_to_string(&path).ok()?);
    Some(Source {
        layer: layer_of(&first),
        module: first,
        path: Path::new("src").join(inside),
        code,
    })
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// The code up to the tests, without line comments; lines keep their numbers.
fn stripped(text: &str) -> String {
    let code = text
        .lines()
        .take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"));
    code.map(|line| format!("{}\n", line.split_once("//").map_or(line, |(code, _)| code)))
        .collect()
}

/// Top-level modules of this crate that the code names, with their lines.
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = code[..at].lines().count().max(1);
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(top_level(group).into_iter().map(|name| (line, name))),
            None => found.push((line, word(rest))),
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

/// The first words of the members of a `{…}` group.
fn top_level(group: &str) -> Vec<String> {
    let mut depth = 1;
    let mut members = vec![String::new()];
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => members.push(String::new()),
            _ if depth == 1 => members.last_mut().unwrap().push(character),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    members
        .iter()
        .map(|member| word(member.trim()))
        .filter(|name| !name.is_empty())
        .collect()
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Whether a line names `word`, not only as a part of a longer one.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(part) && (word.ends_with(':') || !after.is_some_and(part))
    })
}

/// Items of `use std::{…}` on one line.
fn std_items(line: &str) -> impl Iterator<Item = &str> {
    let group = line.split_once("use std::{").map_or("", |(_, group)| group);
    group
        .split([',', '{', '}', ';'])
        .map(|item| item.trim().split("::").next().unwrap_or_default())
        .filter(|item| !item.is_empty())
}
