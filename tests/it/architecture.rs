//! Layers point downwards, and nothing enters the towers but commands.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// From the top step to the bottom one. A module uses lower steps only; modules on one step do not
/// know each other.
const STAIRCASE: &[&[&str]] = &[
    &["commands"],
    &["app"],
    &["config"],
    &["server", "admin"],
    &["gateway"],
    &["sign_in", "rules", "identity"],
    &["session", "upstream"],
    &["entra", "sealing"],
    &["pages", "request"],
    &["base"],
];
/// They stand on `base` alone, and only commands enter them.
const TOWERS: &[&str] = &["emulator", "kubernetes"];

fn step(module: &str) -> Option<usize> {
    STAIRCASE.iter().position(|step| step.contains(&module))
}

/// Whether a file of `from` may name `crate::to`.
fn allowed(from: &str, to: &str) -> bool {
    if from == to {
        return true;
    }
    match (TOWERS.contains(&from), TOWERS.contains(&to)) {
        (true, _) => to == "base",
        (false, true) => from == "commands",
        (false, false) => match (step(from), step(to)) {
            (Some(from), Some(to)) => from < to,
            _ => false,
        },
    }
}

#[test]
fn the_staircase_refuses_forbidden_edges() {
    for (from, to) in [
        ("entra", "session"),
        ("rules", "identity"),
        ("base", "request"),
        ("emulator", "entra"),
        ("gateway", "emulator"),
        ("config", "app"),
    ] {
        assert!(!allowed(from, to), "{from} may use {to}");
    }
    for (from, to) in [("commands", "emulator"), ("session", "entra"), ("emulator", "base")] {
        assert!(allowed(from, to), "{from} may not use {to}");
    }
}

#[test]
fn each_module_uses_lower_steps_only() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in rust_files(&source) {
        let module = file.strip_prefix(&source).unwrap().components().next().unwrap();
        let module = module.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if module == "main" || module == "lib" {
            continue;
        }
        for used in crate_paths(&fs::read_to_string(&file).unwrap()) {
            if !allowed(&module, &used) {
                wrong.push(format!("{}: `{module}` must not use `{used}`", file.display()));
            }
        }
        modules.insert(module);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for module in &modules {
        let known = step(module).is_some() || TOWERS.contains(&module.as_str());
        assert!(known, "`{module}` has no step");
    }
}

#[test]
fn no_file_is_longer_than_anybody_reads() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in rust_files(&source) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 600, "{} has {lines} lines", file.display());
    }
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
    files
}

/// The modules that `text` names after `crate::`, in `use` groups too.
fn crate_paths(text: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => used.extend(word(rest)),
            Some(group) => used.extend(heads(group)),
        }
    }
    used
}

/// The first words of the items of a `use` group.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut item, mut found) = (1, String::new(), Vec::new());
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                found.extend(word(item.trim()));
                item.clear();
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
        item.push(letter);
    }
    found.extend(word(item.trim()));
    found
}

fn word(text: &str) -> Option<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let word = &text[..end];
    (!word.is_empty() && word.starts_with(char::is_lowercase)).then(|| word.to_owned())
}
