//! [`DropLine`]: a line of the drop log, from the log of a policy, from an argument or from standard input.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::End;
use crate::cli::error::{CliError, warn};
use crate::files::regular;
use crate::gateway::record::LogSink;
use crate::packet::media::Payload;
use crate::policy::Policy;

/// A packet that a running gateway dropped, as its drop log describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DropLine {
    pub(super) time: String,
    pub(super) reason: String,
    pub(super) enforced: bool,
    pub(super) kind: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) source: Option<IpAddr>,
    pub(super) source_port: Option<u16>,
    pub(super) destination: Option<IpAddr>,
    pub(super) destination_port: Option<u16>,
    pub(super) protocol: Option<String>,
    pub(super) generation: u64,
    pub(super) evidence: Option<String>,
    pub(super) malformed: Option<String>,
}

/// The lines of a drop log that are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Of this client.
    pub(super) client: Option<IpAddr>,
    /// To this address, and this port where one was given.
    pub(super) to: Option<End>,
}

impl Wanted {
    fn has(&self, line: &DropLine) -> bool {
        let is_to = |to: End| {
            line.destination == Some(to.address)
                && to
                    .port
                    .is_none_or(|port| line.destination_port == Some(port))
        };
        self.client.is_none_or(|client| line.source == Some(client)) && self.to.is_none_or(is_to)
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        if let Some(client) = self.client {
            _ = write!(text, " from {client}");
        }
        match self.to {
            Some(End {
                address,
                port: Some(port),
            }) => _ = write!(text, " to {address} port {port}"),
            Some(End { address, .. }) => _ = write!(text, " to {address}"),
            None => {}
        }
        text
    }
}

impl DropLine {
    /// Parses a line, or reads it from standard input for `-`.
    pub(super) fn of_argument(argument: &str) -> Result<Self, CliError> {
        let mut text = argument.to_owned();
        if argument == "-" {
            text.clear();
            let read = io::stdin().take(MAX_LINE).read_to_string(&mut text);
            read.map_err(|error| CliError::Failed(format!("standard input: {error}")))?;
        }
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let Some(line) = lines.next() else {
            return Err(CliError::Usage(
                "there is no line: hand over one of the drop log, which begins with {\"time\":"
                    .to_owned(),
            ));
        };
        if lines.next().is_some() {
            return Err(CliError::Usage(
                "these are several lines: hand over one, with `tail -n 1`, say".to_owned(),
            ));
        }
        Self::parse(line.as_bytes()).map_err(|why| CliError::Usage(format!("the line {why}")))
    }

    /// Finds the newest line that is `wanted` in the drop log of `policy`.
    pub(super) fn last(policy: &Policy, wanted: Wanted) -> Result<Self, CliError> {
        let origin = &policy.origin;
        let Some(place) = &policy.gateway.drop_log else {
            return Err(CliError::Usage(format!(
                "{origin} has no drop log: write drop_log = \"/var/log/offramp/drops.jsonl\" into [gateway]; without one, \
                 `offramp top` shows the last drops and `offramp trace` those of a client"
            )));
        };
        let sink = LogSink::of(&place.value);
        let files = sink.files();
        let Some(newest) = files.first() else {
            return Err(CliError::Usage(format!(
                "the drop log of {origin} (line {}) is the standard output of the gateway: take the line from where that \
                 goes, the journal for instance, and hand it over with --drop-log-line",
                place.line
            )));
        };
        let mut seen = 0;
        for file in &files {
            let text = match regular::read(file, u64::MAX) {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(CliError::file("drop log", file, &error)),
            };
            if let Some(found) = last_of(&text, file, wanted, &mut seen) {
                return Ok(found);
            }
        }
        let newest = newest.display();
        Err(CliError::Failed(if seen == 0 {
            format!(
                "the drop log {newest} has no line: either nothing was dropped yet, or the gateway that runs has another \
                 policy (`offramp status` names it)"
            )
        } else {
            format!(
                "none of the {seen} lines of the drop log {newest} is of a packet{}; it is a sample, so one may have been \
                 dropped all the same: `offramp trace CLIENT` shows more",
                wanted.describe()
            )
        }))
    }

    /// Parses a line; the error continues a sentence about it.
    fn parse(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| match error.classify() {
            serde_json::error::Category::Eof => {
                "is cut short: a line of the drop log ends with }".to_owned()
            }
            _ => format!("is none of a drop log: {error}"),
        })
    }

    /// The payload that shows as much as the packet did.
    pub(super) fn payload(&self) -> Payload {
        let Some(evidence) = &self.evidence else {
            return Payload::Other;
        };
        let mut words = Payload::WORDS.iter();
        let same = words.find(|(word, _)| word == evidence);
        // Whatever the evidence was: a check is what every `media.match` recognizes.
        same.map_or(Payload::MicrosoftCheck, |(_, payload)| *payload)
    }

    /// The line, for people.
    pub(super) fn describe(&self) -> String {
        let end = |address: Option<IpAddr>, port: Option<u16>| match (address, port) {
            (Some(IpAddr::V6(address)), Some(port)) => format!("[{address}]:{port}"),
            (Some(address), Some(port)) => format!("{address}:{port}"),
            (Some(address), None) => address.to_string(),
            (None, _) => "an unknown address".to_owned(),
        };
        let mut text = format!(
            "{}: {} from {} to {}, drop {}",
            self.time,
            self.protocol.as_deref().unwrap_or("a packet"),
            end(self.source, self.source_port),
            end(self.destination, self.destination_port),
            self.reason
        );
        if let (Some(kind), Some(rule)) = (&self.kind, &self.rule) {
            _ = match kind.as_str() {
                "media" => write!(text, " by [media]"),
                kind => write!(text, " by [[{kind}]] {rule}"),
            };
        }
        if let Some(evidence) = &self.evidence {
            _ = write!(text, " ({evidence})");
        }
        if !self.enforced {
            text.push_str("; NOT ENFORCED, it was forwarded");
        }
        _ = write!(text, "; generation {} of the policy", self.generation);
        text
    }
}

/// Finds the newest line of `text` that is `wanted`, and counts those looked at.
fn last_of(text: &[u8], file: &Path, wanted: Wanted, seen: &mut u64) -> Option<DropLine> {
    let mut strange: Option<String> = None;
    let mut skipped = 0_u64;
    let mut lines = text.rsplit(|byte| *byte == b'\n');
    // Behind the last newline there is nothing, or a line that was not written to its end.
    let found = lines.find_map(|line| {
        if line.is_empty() {
            return None;
        }
        match DropLine::parse(line) {
            Ok(line) => {
                *seen += 1;
                wanted.has(&line).then_some(line)
            }
            Err(why) => {
                skipped += 1;
                strange.get_or_insert(why);
                None
            }
        }
    });
    if let Some(why) = strange {
        let file = file.display();
        warn(&match skipped {
            1 => format!("a line of {file} was left out: it {why}"),
            _ => format!("{skipped} lines of {file} were left out: the newest {why}"),
        });
    }
    found
}

/// Bytes that are read of standard input: far more than a line has.
const MAX_LINE: u64 = 1 << 20;
