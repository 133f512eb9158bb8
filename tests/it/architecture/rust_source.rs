//! Reads Rust source as far as the architecture test needs it: which paths of this crate a file
//! names outside its tests, and which child modules are compiled for tests alone. It tokenizes; it
//! does not parse expressions or expand macros.

/// A word, a number, `::`, or one character of punctuation. Comments, literals of text and
/// lifetimes are left out.
struct Token {
    text: String,
    line: usize,
}

/// A path as a file names it, from the crate's root: `["media", "packet", "Meta"]`; a glob ends in
/// `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    pub path: Vec<String>,
    pub line: usize,
}

/// One file's source.
#[derive(Debug, Default)]
pub struct Source {
    pub imports: Vec<Import>,
    /// Files that hold modules declared for tests alone: `name.rs` or `name/mod.rs` of a child, or
    /// what `#[path]` says.
    pub test_files: Vec<String>,
    /// Lines without those of inline test modules.
    pub lines: usize,
}

/// Reads `text`, the module at `module` (`["media", "clock"]`). `crate_name` is how another crate
/// of the package (`main.rs`) names the library.
pub fn read(text: &str, module: &[String], crate_name: Option<&str>) -> Source {
    let mut tokens = tokenize(text);
    let mut source = Source::default();
    let skipped = remove_tests(&mut tokens, &mut source.test_files);
    source.lines = text.lines().count() - skipped;
    source.imports = imports(&tokens, module, crate_name);
    source
}

fn tokenize(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut tokens, mut i, mut line) = (Vec::new(), 0, 1);
    while i < chars.len() {
        let start = i;
        let c = chars[i];
        let mut token = None;
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 || i >= chars.len() {
                    break;
                }
            }
        } else if let Some(end) = raw_string_end(&chars, i) {
            i = end;
        } else if c == '"' || (matches!(c, 'b' | 'c') && at(i + 1) == '"') {
            i += if c == '"' { 1 } else { 2 };
            while i < chars.len() && chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
            // `#[path = "…"]` is the one text that counts.
            token = Some(format!(
                "\"{}",
                chars[start..i.min(chars.len())]
                    .iter()
                    .collect::<String>()
                    .trim_matches('"')
            ));
        } else if c == '\'' {
            if at(i + 1) == '\\' {
                i += 3;
                while i < chars.len() && chars[i] != '\'' {
                    i += 1;
                }
                i += 1;
            } else if at(i + 2) == '\'' {
                i += 3;
            } else {
                i += 1;
                while at(i).is_alphanumeric() || at(i) == '_' {
                    i += 1;
                }
            }
        } else if c.is_alphanumeric() || c == '_' {
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            token = Some(chars[start..i].iter().collect());
        } else if c == ':' && at(i + 1) == ':' {
            i += 2;
            token = Some("::".into());
        } else {
            i += 1;
            token = (!c.is_whitespace()).then(|| c.to_string());
        }
        if let Some(text) = token {
            tokens.push(Token { text, line });
        }
        line += chars[start..i.min(chars.len())]
            .iter()
            .filter(|c| **c == '\n')
            .count();
    }
    tokens
}

/// Where the raw string that begins at `i` ends, if one does.
fn raw_string_end(chars: &[char], mut i: usize) -> Option<usize> {
    if matches!(chars[i], 'b' | 'c') {
        i += 1;
    }
    if chars.get(i) != Some(&'r') {
        return None;
    }
    i += 1;
    let hashes = chars[i..].iter().take_while(|c| **c == '#').count();
    i += hashes;
    if chars.get(i) != Some(&'"') {
        return None;
    }
    i += 1;
    while i < chars.len() {
        let closing = chars[i + 1..].iter().take(hashes);
        if chars[i] == '"' && closing.filter(|c| **c == '#').count() == hashes {
            return Some(i + 1 + hashes);
        }
        i += 1;
    }
    Some(chars.len())
}

/// Takes out what is compiled for tests or fuzzing alone. Returns how many lines of it were inline
/// modules.
fn remove_tests(tokens: &mut Vec<Token>, test_files: &mut Vec<String>) -> usize {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut skipped = 0;
    let mut all = std::mem::take(tokens).into_iter().peekable();
    // The module's own attributes are kept with the others; a whole file under `#![cfg(test)]` has
    // nothing to say.
    while let Some(token) = all.next() {
        let inner = token.text == "#" && all.peek().is_some_and(|t| t.text == "!");
        if token.text != "#" || inner {
            kept.push(token);
            continue;
        }
        let mut attributes = vec![token];
        let mut is_test = false;
        let mut path = None;
        loop {
            let began = attributes.len();
            take_group(&mut all, &mut attributes);
            let texts: Vec<&str> = attributes[began..].iter().map(|t| &t.text[..]).collect();
            is_test |= texts.len() > 4
                && texts[1] == "cfg"
                && holds_for_tests_alone(&texts[3..texts.len() - 2]);
            if texts.get(1) == Some(&"path") {
                path = texts.get(3).map(|t| t.trim_matches('"').to_owned());
            }
            match all.next_if(|t| t.text == "#") {
                Some(hash) => attributes.push(hash),
                None => break,
            }
        }
        if !is_test {
            kept.extend(attributes);
            continue;
        }
        let item = take_item(&mut all);
        let first = attributes.first().map_or(0, |t| t.line);
        let last = item.last().map_or(first, |t| t.line);
        let words: Vec<&str> = item
            .iter()
            .map(|t| &t.text[..])
            .skip_while(|t| *t != "mod")
            .collect();
        match words[..] {
            ["mod", name, ";"] => match path {
                Some(path) => test_files.push(path),
                None => test_files.push(name.to_owned()),
            },
            ["mod", _, "{", ..] => skipped += last - first + 1,
            _ => {}
        }
    }
    *tokens = kept;
    skipped
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<Token>>;

/// Moves one bracketed group.
fn take_group(from: &mut Tokens, to: &mut Vec<Token>) {
    let mut depth = 0;
    for token in from.by_ref() {
        match &token.text[..] {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        to.push(token);
        if depth == 0 {
            break;
        }
    }
}

/// Takes what an attribute stands before: to its `;`, its block, or the `,` after a field or an
/// arm.
fn take_item(from: &mut Tokens) -> Vec<Token> {
    let mut item = Vec::new();
    let mut is_use = false;
    while let Some(next) = from.peek() {
        match &next.text[..] {
            "}" | ")" | "]" => break,
            "(" | "[" => take_group(from, &mut item),
            "{" => {
                take_group(from, &mut item);
                if !is_use {
                    break;
                }
            }
            text => {
                let ends = matches!(text, ";" | ",");
                is_use |= text == "use";
                item.extend(from.next());
                if ends {
                    break;
                }
            }
        }
    }
    item
}

/// Whether a `cfg` predicate can hold in a test or fuzzing build only.
fn holds_for_tests_alone(predicate: &[&str]) -> bool {
    match predicate {
        ["test" | "fuzzing"] => true,
        ["any", "(", inner @ .., ")"] => parts(inner).into_iter().all(holds_for_tests_alone),
        ["all", "(", inner @ .., ")"] => parts(inner).into_iter().any(holds_for_tests_alone),
        _ => false,
    }
}

/// What stands between the commas of the outermost level.
fn parts<'a>(predicate: &'a [&'a str]) -> Vec<&'a [&'a str]> {
    let mut depth = 0;
    predicate
        .split(|text| {
            match *text {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            depth == 0 && *text == ","
        })
        .filter(|part| !part.is_empty())
        .collect()
}

fn imports(tokens: &[Token], module: &[String], crate_name: Option<&str>) -> Vec<Import> {
    let text = |i: usize| tokens.get(i).map_or("", |t| &t.text[..]);
    let mut found = Vec::new();
    // Inline modules, each with the depth of braces at which it ends.
    let mut module = module.to_vec();
    let mut inline = Vec::new();
    let (mut depth, mut i) = (0, 0);
    while i < tokens.len() {
        match text(i) {
            "mod" if text(i + 2) == "{" => {
                inline.push(depth);
                module.push(text(i + 1).into());
                depth += 1;
                i += 3;
                continue;
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.last() == Some(&depth) {
                    inline.pop();
                    module.pop();
                }
            }
            "use" => {
                let mut paths = Vec::new();
                i = use_tree(tokens, i + 1, &[], &mut paths);
                found.extend(paths.into_iter().filter_map(|(path, line)| {
                    absolute(&path, &module, crate_name).map(|path| Import { path, line })
                }));
                continue;
            }
            word if text(i + 1) == "::"
                && i.checked_sub(1).is_none_or(|before| text(before) != "::")
                && (matches!(word, "crate" | "super" | "self") || Some(word) == crate_name) =>
            {
                let line = tokens[i].line;
                let mut path = vec![word.to_owned()];
                while text(i + 1) == "::" && is_word(text(i + 2)) {
                    path.push(text(i + 2).into());
                    i += 2;
                }
                if let Some(path) = absolute(&path, &module, crate_name) {
                    found.push(Import { path, line });
                }
            }
            _ => {}
        }
        i += 1;
    }
    found
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads a `use` tree from token `i` on; returns the token after it.
fn use_tree(
    tokens: &[Token],
    mut i: usize,
    prefix: &[String],
    found: &mut Vec<(Vec<String>, usize)>,
) -> usize {
    let text = |i: usize| tokens.get(i).map_or("", |t| &t.text[..]);
    let mut path = prefix.to_vec();
    let line = tokens.get(i).map_or(0, |t| t.line);
    loop {
        match text(i) {
            "::" => i += 1,
            "{" => {
                i += 1;
                while !matches!(text(i), "}" | "") {
                    i = use_tree(tokens, i, &path, found);
                    if text(i) == "," {
                        i += 1;
                    }
                }
                return i + 1;
            }
            // What it is called here does not matter.
            "as" => i += 2,
            "*" => {
                path.push("*".into());
                i += 1;
            }
            "self" if !path.is_empty() => i += 1,
            word if is_word(word) => {
                path.push(word.into());
                i += 1;
            }
            _ => {
                found.push((path, line));
                return i;
            }
        }
    }
}

/// The path from the crate's root; `None` for other crates' items and for what is named relative to
/// this module.
fn absolute(path: &[String], module: &[String], crate_name: Option<&str>) -> Option<Vec<String>> {
    let first = path.first()?;
    if first == "crate" || Some(&first[..]) == crate_name {
        return Some(path[1..].to_vec());
    }
    let supers = path
        .iter()
        .skip(usize::from(first == "self"))
        .take_while(|p| *p == "super")
        .count();
    if supers == 0 && first != "self" {
        return None;
    }
    let rest = &path[supers + usize::from(first == "self")..];
    let base = module.len().checked_sub(supers)?;
    Some([&module[..base], rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let module = ["hub".to_owned(), "queue".to_owned()];
        let source = read(text, &module, None);
        source.imports.iter().map(|i| i.path.join("::")).collect()
    }

    #[test]
    fn rust_source_use_trees_and_inline_paths_are_found() {
        let text = r##"
            use crate::media::{self, packet::{Meta as M, MonoNs}, id::*};
            use std::{fs, io};
            pub(crate) use super::track::Track;
            // use crate::comment::A;
            /* crate::comment::B /* crate::comment::C */ crate::comment::D */
            fn f<'a>(x: &'a crate::wire::Label) -> char {
                let _ = (b"crate::text::A", r#"crate::text::"B"#, '"', '\'', b'\\');
                crate::log::once::<u8>(super::super::ipc::ring::new());
                '}'
            }
            mod inner { fn g() { super::super::h(); self::i() } }
            fn j() { self::k() }
        "##;
        let expected = "media media::packet::Meta media::packet::MonoNs media::id::* hub::track::Track \
                        wire::Label log::once ipc::ring::new hub::h hub::queue::inner::i hub::queue::k";
        assert_eq!(paths(text).join(" "), expected);
    }

    #[test]
    fn rust_source_test_items_are_left_out() {
        let text = r#"
            #[cfg(test)]
            use crate::a::{B, C};
            #[cfg(any(test, fuzzing))]
            pub mod fuzz;
            #[cfg(any(test, feature = "x"))]
            use crate::kept::A;
            #[cfg(all(test, feature = "x"))]
            #[path = "other_tests.rs"]
            mod tests;
            struct S { #[cfg(test)] a: crate::a::D, b: crate::kept::B }
            #[cfg(not(test))]
            fn f() { crate::kept::C }
            #[cfg(test)]
            mod more {
                use crate::a::E;
            }
            fn g() { crate::kept::D }
        "#;
        assert_eq!(paths(text).join(" "), "kept::A kept::B kept::C kept::D");
        let source = read(text, &[], None);
        assert_eq!(source.test_files, ["fuzz", "other_tests.rs"]);
        assert_eq!(source.lines, text.lines().count() - 4);
    }
}
