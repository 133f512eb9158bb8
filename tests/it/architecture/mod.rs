//! The architecture as a test: which folder of `src/` may import which, read from the code's `use`
//! lines and inline paths. docs/design.md shows the same table. Test modules and fuzz targets may
//! look wider and are not read.

mod rust_source;

use rust_source::Source;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each folder (or file at the root) of `src/`, and what it may import besides itself: a folder
/// with all that is in it, or one item or module of it alone. `lib.rs` and `main.rs` may import
/// everything.
const ALLOWED: &[(&str, &[&str])] = &[
    ("media", &[]),
    ("log", &["media"]),
    ("malloc_trim", &[]),
    ("panics", &["media"]),
    ("signals", &[]),
    ("wire", &["media"]),
    ("ipc", &["media"]),
    ("config", &["media", "log", "net::host"]),
    (
        "source",
        &["media", "config", "log", "encode::jpeg::markers"],
    ),
    ("encode", &["media", "config"]),
    (
        "worker",
        &[
            "media",
            "config",
            "log",
            "source",
            "encode",
            "ipc",
            "malloc_trim",
        ],
    ),
    ("hub", &["media", "ipc", "log"]),
    ("net", &["media", "log"]),
    ("http", &["media", "config", "log", "net", "wire::b64"]),
    (
        "output",
        &["media", "log", "config", "wire", "hub", "net", "http"],
    ),
    (
        "api",
        &["media", "config", "log", "wire", "hub", "http", "output"],
    ),
    (
        "server",
        &[
            "media",
            "log",
            "malloc_trim",
            "wire",
            "ipc",
            "config",
            "hub",
            "net",
            "http",
            "output",
            "api",
        ],
    ),
    (
        "supervise",
        &[
            "config",
            "media",
            "log",
            "malloc_trim",
            "panics",
            "signals",
            "net::interfaces",
            "ipc",
            "worker",
            "server",
        ],
    ),
    (
        "doctor",
        &[
            "wire",
            "net",
            "media",
            "log",
            "config::secrets",
            "encode::jpeg",
            "signals",
        ],
    ),
    (
        "cli",
        &[
            "config",
            "doctor::Options",
            "doctor::Limits",
            "media",
            "log",
        ],
    ),
];

/// Imports that are not in the table yet, as (file, path). Those that no longer exist must be removed
/// from this list.
const KNOWN_VIOLATIONS: &[(&str, &str)] = &[];

/// Files that have no header yet.
const KNOWN_WITHOUT_HEADER: &[&str] = &[];

/// Files that are still too long.
const KNOWN_TOO_LONG: &[&str] = &[];

/// A file longer than this, its tests not counted, is split, or says in its header why not, with the
/// words "500 lines".
const MAX_LINES: usize = 500;
const WHY_LONGER: &str = "500 lines";

struct Code {
    /// By path below `src/`, without those that are compiled for tests alone.
    files: BTreeMap<String, File>,
}

struct File {
    text: String,
    source: Source,
}

impl Code {
    fn read() -> Self {
        let root = root().join("src");
        let mut paths = Vec::new();
        collect(&root, &mut paths);
        let mut files = BTreeMap::new();
        let mut tests = BTreeSet::new();
        for path in paths {
            let text = std::fs::read_to_string(&path).expect("a source file is text");
            let name = path
                .strip_prefix(&root)
                .expect("it lies below")
                .to_string_lossy()
                .into_owned();
            let library = (name == "main.rs").then_some("stampcast");
            let source = rust_source::read(&text, &module(&name), library);
            // What a file declares lies beside it, or in the folder of its name.
            let folder = match name.rsplit_once('/') {
                Some((folder, _)) => format!("{folder}/"),
                None => String::new(),
            };
            let children = match name.rsplit('/').next() {
                Some("mod.rs" | "lib.rs" | "main.rs") => folder.clone(),
                _ => format!("{}/", name.trim_end_matches(".rs")),
            };
            for file in &source.test_files {
                if file.ends_with(".rs") {
                    tests.insert(format!("{folder}{file}"));
                } else {
                    tests.insert(format!("{children}{file}.rs"));
                    // And all that this module declares in turn.
                    tests.insert(format!("{children}{file}/"));
                }
            }
            files.insert(name, File { text, source });
        }
        files.retain(|name, _| {
            !tests
                .iter()
                .any(|t| name == t || (t.ends_with('/') && name.starts_with(t)))
        });
        assert!(files.len() > 50, "the test does not find the code");
        Self { files }
    }

    /// The file that declares the item at `path`.
    fn file_of(&self, path: &[String]) -> Option<&str> {
        (1..=path.len()).rev().find_map(|n| {
            let stem = path[..n].join("/");
            [format!("{stem}.rs"), format!("{stem}/mod.rs")]
                .iter()
                .find_map(|name| self.files.get_key_value(name))
                .map(|(name, _)| &name[..])
        })
    }

    /// Every import of another folder: the file, its folder, the path.
    fn imports(&self) -> impl Iterator<Item = (&str, &str, &[String])> {
        self.files.iter().flat_map(|(name, file)| {
            let from = folder(name);
            let imports = file.source.imports.iter().map(|i| &i.path[..]);
            imports
                .filter(move |path| path.first().is_some_and(|to| to != from))
                .map(move |path| (&name[..], from, path))
        })
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the folder is readable").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// The module that a file holds: none for the crate's root.
fn module(name: &str) -> Vec<String> {
    let path = name.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" | "main" => Vec::new(),
        _ => path.split('/').map(str::to_owned).collect(),
    }
}

/// The folder of a file, or the file's own name at the root.
fn folder(name: &str) -> &str {
    match name.split_once('/') {
        Some((folder, _)) => folder,
        None => name.trim_end_matches(".rs"),
    }
}

fn is_root(folder: &str) -> bool {
    matches!(folder, "lib" | "main")
}

fn is_allowed(from: &str, path: &[String]) -> bool {
    let allowed = ALLOWED.iter().find(|(folder, _)| *folder == from);
    is_root(from)
        || allowed.is_some_and(|(_, allowed)| {
            allowed.iter().any(|allowed| {
                let mut parts = path.iter();
                allowed
                    .split("::")
                    .all(|part| parts.next().is_some_and(|p| p == part))
            })
        })
}

/// Fails unless exactly the known ones were found. The message can be pasted into the list.
fn compare<T: Ord + std::fmt::Debug>(found: BTreeSet<T>, known: BTreeSet<T>, what: &str) {
    let list =
        |items: Vec<&T>| -> String { items.iter().map(|i| format!("    {i:?},\n")).collect() };
    let new = list(found.difference(&known).collect());
    let gone = list(known.difference(&found).collect());
    assert!(new.is_empty(), "{what}:\n{new}");
    assert!(
        gone.is_empty(),
        "no longer found; remove them from the list of known ones ({what}):\n{gone}"
    );
}

#[test]
fn architecture_imports_follow_the_table() {
    let code = Code::read();
    let found: BTreeSet<(String, String)> = code
        .imports()
        .filter(|(_, from, path)| !is_allowed(from, path))
        .map(|(name, _, path)| (name.to_owned(), path.join("::")))
        .collect();
    let known = KNOWN_VIOLATIONS
        .iter()
        .map(|(file, path)| ((*file).to_owned(), (*path).to_owned()));
    compare(
        found,
        known.collect(),
        "imports that the table of folders does not allow",
    );
}

#[test]
fn architecture_files_of_different_folders_form_no_circle() {
    let code = Code::read();
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, file) in &code.files {
        for import in &file.source.imports {
            let known = KNOWN_VIOLATIONS.contains(&(&name[..], &import.path.join("::")[..]));
            if let Some(to) = code.file_of(&import.path)
                && to != name
                && !known
            {
                edges.entry(name).or_default().insert(to);
            }
        }
    }
    let reached = |from: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(name) = next.pop() {
            for to in edges.get(&name[..]).into_iter().flatten() {
                if seen.insert((*to).to_owned()) {
                    next.push((*to).to_owned());
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<String>> =
        code.files.keys().map(|n| (&n[..], reached(n))).collect();
    let circles: Vec<(&str, &str)> = reach
        .iter()
        .flat_map(|(a, to)| to.iter().map(move |b| (*a, &b[..])))
        .filter(|(a, b)| a < b && folder(a) != folder(b) && reach[b].contains(*a))
        .collect();
    assert!(
        circles.is_empty(),
        "files of different folders that import each other, maybe by way of others: {circles:#?}"
    );
}

#[test]
fn architecture_table_names_every_folder() {
    let code = Code::read();
    let folders: BTreeSet<&str> = code.files.keys().map(|name| folder(name)).collect();
    let listed: BTreeSet<&str> = ALLOWED.iter().map(|(folder, _)| *folder).collect();
    let unlisted: Vec<_> = folders
        .iter()
        .filter(|f| !is_root(f) && !listed.contains(*f))
        .collect();
    assert!(unlisted.is_empty(), "not in the table: {unlisted:?}");
    let missing: Vec<_> = listed.difference(&folders).collect();
    assert!(missing.is_empty(), "in the table only: {missing:?}");
}

#[test]
fn architecture_table_is_the_one_in_the_documentation() {
    let text = std::fs::read_to_string(root().join("docs/design.md")).expect("docs/design.md");
    let mut lines = text
        .lines()
        .skip_while(|line| !line.starts_with("| folder |"));
    assert!(
        lines.next().is_some_and(|head| head.contains("may import")),
        "docs/design.md has no table `| folder | … | may import |`"
    );
    let documented: BTreeMap<String, BTreeSet<String>> = lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<String> = line
                .trim_matches('|')
                .split('|')
                .map(|cell| cell.replace('`', "").trim().to_owned())
                .collect();
            let [folder, _, imports] = &cells[..] else {
                panic!("not three cells: {line}");
            };
            let imports = imports.split(',').map(|i| i.trim().to_owned());
            (
                folder.trim_end_matches('/').to_owned(),
                imports.filter(|i| i != "-").collect(),
            )
        })
        .collect();
    let ours: BTreeMap<String, BTreeSet<String>> = ALLOWED
        .iter()
        .map(|(folder, allowed)| {
            let allowed = allowed.iter().map(|a| (*a).to_owned()).collect();
            ((*folder).to_owned(), allowed)
        })
        .collect();
    for folder in ours.keys().chain(documented.keys()) {
        assert_eq!(
            documented.get(folder),
            ours.get(folder),
            "{folder}: docs/design.md (left) and this test (right) differ"
        );
    }
}

#[test]
fn architecture_files_begin_with_what_they_are() {
    let code = Code::read();
    let without = code
        .files
        .iter()
        .filter(|(_, file)| !file.text.starts_with("//! "))
        .map(|(name, _)| &name[..])
        .collect();
    compare(
        without,
        KNOWN_WITHOUT_HEADER.iter().copied().collect(),
        "files that do not begin with `//! `",
    );
}

#[test]
fn architecture_files_are_short_or_say_why_not() {
    let code = Code::read();
    let long = code
        .files
        .iter()
        .filter(|(_, file)| file.source.lines > MAX_LINES)
        .filter(|(_, file)| {
            let mut header = file.text.lines().take_while(|l| l.starts_with("//!"));
            !header.any(|line| line.contains(WHY_LONGER))
        })
        .map(|(name, _)| &name[..])
        .collect();
    compare(
        long,
        KNOWN_TOO_LONG.iter().copied().collect(),
        "files of more than 500 lines whose header does not say why",
    );
}
