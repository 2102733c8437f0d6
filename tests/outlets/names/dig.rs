//! `dig` as a client: many queries to one server, and the replies as data.

use std::collections::BTreeSet;
use std::process::Command;

use super::table::Question;
use crate::site::Host;
use crate::support::Folder;

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reply {
    /// `NOERROR`, `NXDOMAIN`, ...
    pub(super) code: String,
    /// The answer section.
    pub(super) answers: Vec<Record>,
    /// The authority and the additional section.
    pub(super) beside: Vec<Record>,
}

/// A record, as `dig` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// In lower case, without the last dot.
    pub(super) owner: String,
    pub(super) ttl: u32,
    pub(super) record_type: String,
    pub(super) data: String,
}

impl Record {
    /// Returns `true` if it leads to an internal address.
    pub(super) fn is_internal(&self) -> bool {
        self.data.contains("10.66.") || self.data.contains("fd00:66:")
    }
}

impl Reply {
    /// Returns the data of its answers, names without the last dot.
    pub(super) fn data(&self) -> BTreeSet<String> {
        let answers = self.answers.iter();
        answers
            .map(|record| record.data.trim_end_matches('.').to_owned())
            .collect()
    }
}

/// Queries the server at `address`, from `host`; returns one reply per query, empty if none arrived.
pub(super) fn ask(
    host: &Host,
    folder: &Folder,
    address: &str,
    questions: &[Question],
) -> Vec<Reply> {
    let lines: String = questions
        .iter()
        .map(|it| format!("{}\n", it.text()))
        .collect();
    let file = folder.write("questions", lines);
    let mut dig = Command::new("dig");
    dig.args(["-f", &file, &format!("@{address}")]);
    dig.args([
        "+noall",
        "+comments",
        "+answer",
        "+authority",
        "+additional",
    ]);
    dig.args(["+notcp", "+nocookie", "+tries=2", "+time=5"]);
    let said = host.run(&mut dig).stdout;
    let mut replies: Vec<Reply> = Vec::new();
    let mut in_answers = false;
    for line in said.lines() {
        if let Some((_, rest)) = line.split_once("status: ") {
            let code = rest.split(',').next().unwrap_or_default().to_owned();
            replies.push(Reply {
                code,
                ..Reply::default()
            });
        } else if line.contains("no servers could be reached") {
            replies.push(Reply::default());
        } else if line.starts_with(";; ") {
            in_answers = line.contains("ANSWER SECTION");
        } else if !line.starts_with(';') && !line.trim().is_empty() {
            let reply = replies.last_mut().unwrap_or_else(|| panic!("{line}"));
            let section = if in_answers {
                &mut reply.answers
            } else {
                &mut reply.beside
            };
            section.push(read_record(line));
        }
    }
    replies
}

fn read_record(line: &str) -> Record {
    let mut words = line.split_whitespace();
    let mut word = || {
        words
            .next()
            .unwrap_or_else(|| panic!("a record of five words: {line}"))
    };
    let owner = word().to_ascii_lowercase();
    let ttl = word().parse().unwrap_or_else(|_| panic!("a TTL: {line}"));
    word();
    let record_type = word().to_owned();
    Record {
        owner: match owner.trim_end_matches('.') {
            "" => ".".to_owned(),
            owner => owner.to_owned(),
        },
        ttl,
        record_type,
        data: words.collect::<Vec<_>>().join(" "),
    }
}
