//! The documents: links lead somewhere, the book has every page, verdicts that pages name are ones that exist.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::support::{offramp, project};

/// Anchors and links of a Markdown file, and its code.
#[derive(Default)]
struct Document {
    /// Targets of links and pictures, as written.
    links: Vec<String>,
    /// Ids of headings, as Git hosts and the book derive them.
    anchors: BTreeSet<String>,
    /// Words set as code.
    code: Vec<String>,
    /// Lines of blocks of code.
    lines: Vec<String>,
}

impl Document {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a document");
        let mut document = Self::default();
        let mut heading: Option<String> = None;
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut is_block = false;
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let id = anchor(&heading.take().unwrap_or_default());
                    let count = seen.entry(id.clone()).or_default();
                    document.anchors.insert(match *count {
                        0 => id,
                        count => format!("{id}-{count}"),
                    });
                    *count += 1;
                }
                Event::Code(word) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&word);
                    }
                    document.code.push(word.into_string());
                }
                Event::Start(Tag::CodeBlock(_)) => is_block = true,
                Event::End(TagEnd::CodeBlock) => is_block = false,
                Event::Text(text) if is_block => {
                    document.lines.extend(text.lines().map(str::to_owned));
                }
                Event::Text(word) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&word);
                    }
                }
                _ => {}
            }
        }
        document
    }
}

/// The id of a heading: lower case, words joined by hyphens, without punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|letter| match letter {
        ' ' | '-' => Some('-'),
        '_' => Some('_'),
        letter if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

/// The documents of the repository, by their paths from its root.
fn documents() -> BTreeMap<PathBuf, Document> {
    let mut paths = vec![PathBuf::from("tests/captures/README.md")];
    for folder in ["", "docs"] {
        let entries = fs::read_dir(project(folder)).expect("a folder of this repository");
        let names = entries.map(|entry| entry.expect("an entry of it").file_name());
        let documents = names
            .map(|name| Path::new(folder).join(name))
            .filter(|path| path.extension().is_some_and(|end| end == "md"));
        paths.extend(documents);
    }
    let read = |path: PathBuf| {
        let document = Document::read(&project("").join(&path));
        (path, document)
    };
    paths.into_iter().map(read).collect()
}

/// Follows `target` from the folder of `document`; `None` where it leaves the repository.
fn followed(document: &Path, target: &str) -> Option<PathBuf> {
    let mut path = document.parent()?.to_owned();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir if !path.pop() => return None,
            Component::ParentDir | Component::CurDir => {}
            part => path.push(part),
        }
    }
    Some(path)
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let documents = documents();
    assert!(documents.len() >= 20, "{:?}", documents.keys());
    let mut dead = Vec::new();
    for (path, document) in &documents {
        for link in &document.links {
            if link.starts_with("https://") {
                continue;
            }
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match target {
                "" => Some(path.clone()),
                target => followed(path, target),
            };
            let is_there = |target: &PathBuf| project("").join(target).exists();
            let leads = target.filter(is_there).is_some_and(|target| {
                let page = documents.get(&target);
                anchor.is_empty() || page.is_some_and(|page| page.anchors.contains(anchor))
            });
            if !leads {
                dead.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn the_book_has_every_page_once_and_its_links_stay_inside() {
    let documents = documents();
    let summary = &documents[Path::new("docs/SUMMARY.md")];
    let mut listed = summary.links.clone();
    listed.sort();
    let in_book = documents
        .keys()
        .filter_map(|path| path.strip_prefix("docs").ok());
    let pages: Vec<_> = in_book.map(|path| path.display().to_string()).collect();
    let pages: Vec<_> = pages.into_iter().filter(|it| it != "SUMMARY.md").collect();
    assert_eq!(listed, pages, "docs/SUMMARY.md lists each page once");

    let start = &documents[Path::new("docs/README.md")];
    for page in pages.iter().filter(|page| *page != "README.md") {
        assert!(
            start.links.contains(page),
            "docs/README.md has no question that {page} answers"
        );
    }
    for (path, document) in documents.iter().filter(|it| it.0.starts_with("docs")) {
        let outside = document.links.iter().find(|link| link.starts_with(".."));
        assert_eq!(outside, None, "{} leads out of the book", path.display());
    }
}

#[test]
fn verdicts_that_pages_name_exist() {
    let table = fs::read_to_string(project("docs/verdicts.md")).expect("docs/verdicts.md");
    let reasons: BTreeMap<&str, &str> = table
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            Some((cells.next()?.strip_suffix('`')?, cells.next()?))
        })
        .collect();
    assert!(reasons.len() >= 10, "{reasons:?}");
    let mut named = 0;
    for (path, document) in documents() {
        for word in &document.code {
            let Some((action @ ("drop" | "forward"), reason)) = word.split_once(' ') else {
                continue;
            };
            if reason == "…" {
                continue;
            }
            named += 1;
            let possible = reasons.get(reason).is_some_and(|it| it.contains(action));
            assert!(possible, "{}: no verdict `{word}`", path.display());
        }
    }
    assert!(named >= 10, "only {named} verdicts are named");
}

#[test]
fn tests_that_pages_name_exist() {
    let mut sources = String::new();
    for folder in ["src", "tests"] {
        read_sources(&project(folder), &mut sources);
    }
    let is_test = |word: &&String| {
        let mut letters = word.chars();
        word.matches('_').count() > 2
            && letters.all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_')
    };
    for (page, least) in [
        ("docs/security.md", 30),
        ("docs/firewalls.md", 15),
        ("docs/ha.md", 5),
    ] {
        let read = Document::read(&project(page));
        let named: BTreeSet<&String> = read.code.iter().filter(is_test).collect();
        assert!(named.len() >= least, "{page}: {named:?}");
        for name in named {
            let exists = sources.contains(&format!("fn {name}("));
            assert!(exists, "{page} names {name}, and there is no such test");
        }
    }
    let text = fs::read_to_string(project("docs/security.md")).expect("a page");
    for fuzzed in text.split("fuzzed (").skip(1) {
        let targets = fuzzed.split(')').next().expect("a part");
        for target in targets.split(", ") {
            let path = format!("fuzz/fuzz_targets/{}.rs", target.trim_matches('`'));
            assert!(project(&path).exists(), "{path}");
        }
    }
}

/// Appends the text of all sources of a folder.
fn read_sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            read_sources(&path, text);
        } else if path.extension().is_some_and(|it| it == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(project("README.md")).expect("README.md");
    let lines = readme.lines().count();
    assert!(
        lines <= 250,
        "README.md has {lines} lines; reference belongs to docs/"
    );
}

/// Returns the help of a command; `None` if there is no such command.
fn help(command: &[&str]) -> Option<String> {
    let ended = offramp(&[command, &["--help"]].concat());
    (ended.code == Some(0)).then_some(ended.stdout)
}

#[test]
fn commands_and_flags_that_pages_name_exist() {
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut named = BTreeSet::new();
    for (path, document) in documents() {
        // What was and is no more is the changelog's to tell.
        if path.ends_with("CHANGELOG.md") {
            continue;
        }
        for line in document.code.iter().chain(&document.lines) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ["offramp", first, rest @ ..] = &words[..] else {
                continue;
            };
            let is_word = |word: &str| {
                word.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            };
            if !is_word(first) || first.starts_with('-') {
                continue;
            }
            let mut command = vec![*first];
            let has_commands = matches!(*first, "feed" | "fleet");
            command.extend(rest.first().filter(|_| has_commands));
            let key: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
            let help = helps.entry(key).or_insert_with(|| {
                help(&command).unwrap_or_else(|| panic!("{}: there is no `{line}`", path.display()))
            });
            named.insert(command.join(" "));
            for flag in rest.iter().filter(|word| word.starts_with("--")) {
                let end =
                    flag[2..].find(|letter: char| !(letter.is_ascii_lowercase() || letter == '-'));
                let flag = &flag[..end.map_or(flag.len(), |end| end + 2)];
                assert!(
                    help.contains(flag),
                    "{}: `{line}` has no {flag}",
                    path.display()
                );
            }
        }
    }
    assert!(named.len() >= 20, "only {named:?} are named");
}
