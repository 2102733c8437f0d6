//! First tries of people: words of other programs for commands, and arguments in another order.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::render::Target;

/// Words that other programs have for what a command does here.
const WORDS: &[(&[&str], &str)] = &[
    (
        &["validate", "lint", "test", "verify-config", "configtest"],
        "offramp check POLICY",
    ),
    (
        &["start", "serve", "up", "daemon", "server"],
        "offramp run POLICY, or: systemctl start offramp",
    ),
    (
        &["stop", "down", "quit", "kill"],
        "systemctl stop offramp; to pass everything without ending it: offramp bypass on",
    ),
    (
        &["restart"],
        "offramp reload, or: systemctl restart offramp",
    ),
    (
        &["enable", "on", "activate"],
        "offramp enforce --for 10m, then: offramp keep",
    ),
    (
        &["disable", "off", "pause", "deactivate"],
        "offramp bypass on, or: offramp enforce --off",
    ),
    (
        &[
            "new",
            "setup",
            "generate",
            "configure",
            "config",
            "wizard",
            "install",
        ],
        "offramp init",
    ),
    (
        &[
            "show", "list", "stats", "stat", "info", "counters", "health",
        ],
        "offramp status, or: offramp status --watch",
    ),
    (&["watch", "monitor", "live", "htop"], "offramp top"),
    (
        &["log", "logs", "drops", "tail", "follow"],
        "offramp trace CLIENT; for what was dropped: offramp explain POLICY --last-drop",
    ),
    (
        &["why", "query", "lookup", "packet", "simulate", "match"],
        "offramp explain POLICY --from ADDRESS --to ADDRESS:PORT",
    ),
    (
        &["pcap", "capture", "analyze", "read", "audit"],
        "offramp replay POLICY CAPTURE",
    ),
    (
        &["sniff", "listen", "dump", "tcpdump", "monitor-interface"],
        "offramp observe POLICY INTERFACE",
    ),
    (
        &["diff", "compare", "plan"],
        "offramp reload --dry-run; of two feeds: offramp feed diff OLD NEW",
    ),
    (&["fetch", "update", "feeds"], "offramp feed fetch POLICY"),
    (
        &["export", "write", "build", "convert"],
        "offramp render TARGET POLICY",
    ),
    (&["route"], "offramp routes POLICY"),
    (&["apply"], "offramp reload, or: offramp run POLICY"),
    (
        &["rollback", "undo", "revert"],
        "offramp enforce --off, or: offramp bypass on",
    ),
    (&["clean", "cleanup", "flush"], "offramp run --cleanup"),
    (&["version"], "offramp --version"),
    (
        &["doctor", "diagnose"],
        "offramp verify POLICY --live gateway",
    ),
];

/// Returns what to type for a word that is no command, if somebody else's program has it.
pub(super) fn suggestion(error: &clap::Error) -> Option<&'static str> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let word = word.to_ascii_lowercase();
    let mut known = WORDS.iter();
    let found = known.find(|(words, _)| words.contains(&word.as_str()));
    found.map(|(_, command)| *command)
}

/// Returns the arguments in the order that was meant: `render POLICY TARGET` is `render TARGET POLICY`.
pub(super) fn reordered(arguments: &[OsString]) -> Option<Vec<OsString>> {
    let command = arguments.get(1)?;
    if command != "render" {
        return None;
    }
    let is_target = |word: &OsStr| word.to_str().is_some_and(|it| Target::named(it).is_some());
    let target = arguments.iter().skip(2).position(|word| is_target(word))? + 2;
    let mut arguments = arguments.to_vec();
    let target = arguments.remove(target);
    arguments.insert(2, target);
    Some(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn words_are_suggested_once_and_are_no_commands() {
        let command = super::super::Arguments::command();
        let mut seen = Vec::new();
        for (words, meant) in WORDS {
            for word in *words {
                assert!(!seen.contains(word), "{word}");
                assert!(
                    command.find_subcommand(word).is_none(),
                    "{word} is a command"
                );
                seen.push(word);
            }
            let mut parts = meant.split("offramp ").skip(1);
            let named = parts.all(|part| {
                let name: String = part
                    .chars()
                    .take_while(|it| it.is_ascii_lowercase())
                    .collect();
                name.is_empty() || command.find_subcommand(&name).is_some()
            });
            assert!(named, "{meant}");
        }
    }
}
