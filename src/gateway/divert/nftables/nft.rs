//! The nftables table that marks packets from the VPN: a table of our own, always replaced as a whole.
//!
//! ```text
//!  -450  enters_from_vpn      marks what enters from the VPN, and does not have it tracked if it is on its way to the filter
//!  -400  reassembly of fragments, -300 raw, -200 connection tracking, -150 mangle, -100 DNAT, 0 filter: rules of others
//!  last  leaves_prerouting    restores marks that others have changed
//! ```
//!
//! A packet on its way to the filter is not tracked (`notrack`). Connection tracking would take the packet that comes back
//! from the filter for one that it knows, and that NAT has decided to leave alone: clients behind a masquerade on the uplink
//! would reach nothing. So connection tracking sees each packet once, when the filter has let it pass. Whether a marked
//! packet is on that way is looked up in the routes themselves, so that this holds for as long as they lead there. Nor are its
//! fragments reassembled before the filter has judged them: connection tracking has one queue for fragments of both ways, and
//! would put what the filter has let pass together with what it has not seen.
//!
//! A rule of somebody else may replace the whole mark behind the filter's. The last chain asks the routes again where a packet
//! goes that was on its way to the filter, marks it once more, and counts it.
//!
//! Every packet of every client passes these rules, so the usual one meets few: a first that takes an IPv4 datagram that is
//! whole and has no options, one for each range of ports, one for its length, and one for each of a few prefixes beside which
//! nothing is on its way to the filter, so that the routes need not be looked up.
//!
//! `nft` reads the table as text and lists it as JSON: [`Contents`] is the kernel's version.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::marks::{CHECKED, MARKS, RESTORED, chains};
use super::{Diversion, cleared};
use crate::address::Family;
use crate::render::nft::NftTable;

/// The name of the table, which is all ours.
pub(in crate::gateway::divert) const TABLE: &str = "offramp";

/// The reason why nftables did not do it.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// No `nft` program is installed.
    #[error("cannot run nft: {0}; install it, on Debian with `apt-get install nftables`")]
    Missing(io::Error),
    /// `nft` refused the request.
    #[error("nft refused: {0}")]
    Refused(String),
}

impl NftError {
    /// Returns `true` if the table or a part of it is not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused(why) if why.contains("No such file or directory"))
    }
}

/// The table as the kernel holds it: its chains and rules as `nft` lists them, without the handles, which change each
/// time a rule is rewritten, and without what counters have counted.
#[derive(Debug, Clone)]
pub(in crate::gateway::divert) struct Contents {
    objects: Vec<Value>,
    /// Packets whose mark another program had changed, and which were marked again since the table was written.
    restored: u64,
}

impl Contents {
    /// Reads the answer of `nft --json list table`.
    fn read(listing: &str) -> Result<Self, NftError> {
        let objects = objects_of(listing)?;
        let restored = objects.iter().filter_map(counted_as_restored).sum();
        let objects = objects.into_iter().map(without_handle).collect();
        Ok(Self { objects, restored })
    }

    /// Packets that were marked again since the table was written.
    pub(super) fn restored(&self) -> u64 {
        self.restored
    }

    fn rules(&self) -> usize {
        self.objects
            .iter()
            .filter(|it| it.get("rule").is_some())
            .count()
    }

    /// Describes the change to the table since it was `installed`; `None` if there is none.
    pub(in crate::gateway::divert) fn difference(
        now: Option<&Self>,
        installed: &Self,
    ) -> Option<String> {
        let Some(now) = now else {
            return Some("the nftables table".to_owned());
        };
        if now.objects == installed.objects {
            return None;
        }
        let is_rule = |it: &&Value| it.get("rule").is_some();
        let missing = installed.objects.iter().filter(is_rule);
        let missing = missing.filter(|it| !now.objects.contains(it)).count();
        Some(match missing {
            0 => "what else is in the nftables table".to_owned(),
            1 => "1 rule of the nftables table".to_owned(),
            some => format!("{some} rules of the nftables table"),
        })
    }
}

fn without_handle(mut object: Value) -> Value {
    if let Value::Object(kinds) = &mut object {
        for fields in kinds.values_mut().filter_map(Value::as_object_mut) {
            fields.remove("handle");
            let statements = fields.get_mut("expr").and_then(Value::as_array_mut);
            for counter in statements.into_iter().flatten() {
                if let Some(counted) = counter.get_mut("counter") {
                    *counted = Value::Null;
                }
            }
        }
    }
    object
}

/// The packets of the counter in the rule for those that were marked again; `None` for another object.
fn counted_as_restored(object: &Value) -> Option<u64> {
    let rule = object.get("rule").filter(|it| it["chain"] == RESTORED)?;
    let mut statements = rule["expr"].as_array()?.iter();
    statements.find_map(|it| it["counter"]["packets"].as_u64())
}

/// Installs the table for `diversion` in one transaction and replaces any earlier one. Returns the table as the kernel
/// lists it; `None` if another program changed it before it could be listed.
///
/// # Errors
/// [`NftError`]; the kernel then keeps its earlier table.
pub(super) fn install(diversion: &Diversion) -> Result<Option<Contents>, NftError> {
    put(&table(diversion))
}

/// Puts `table`, which is called [`TABLE`], in the place of any earlier one, and returns it likewise.
///
/// # Errors
/// [`NftError`]; the kernel then keeps its earlier table.
pub(in crate::gateway::divert) fn put(table: &NftTable) -> Result<Option<Contents>, NftError> {
    run(&["-f", standard_input()], &table.replacement())?;
    Ok(contents()?.filter(|it| it.rules() == table.rules()))
}

/// Removes the table, if there is one.
///
/// # Errors
/// [`NftError`].
pub(in crate::gateway::divert) fn remove() -> Result<(), NftError> {
    run(&["-f", standard_input()], &NftTable::removal(TABLE)).map(|_| ())
}

/// Reads the table from the kernel; `None` if there is none.
///
/// # Errors
/// [`NftError`].
pub(in crate::gateway::divert) fn contents() -> Result<Option<Contents>, NftError> {
    // Terse: without the cleared flows.
    match run(&["--json", "--terse", "list", "table", "inet", TABLE], "") {
        Ok(listing) => Contents::read(&listing).map(Some),
        // Any other refusal, such as no free descriptor, says nothing about the table.
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Has the kernel do what `script` says.
///
/// # Errors
/// [`NftError`].
pub(super) fn run_script(script: &str) -> Result<(), NftError> {
    run(&["-f", standard_input()], script).map(|_| ())
}

/// Sends the kernel a short query by `nft`, to check that it can be run and has the privilege to ask.
///
/// # Errors
/// [`NftError`].
pub(super) fn try_out() -> Result<(), NftError> {
    run(&["list", "tables"], "").map(|_| ())
}

/// Returns the complete ruleset as `nft` prints it, but of its sets and maps only the elements of those of interfaces: others,
/// such as addresses to block and the flows that are cleared, may have many thousands, and change all the time.
///
/// # Errors
/// [`NftError`].
pub(in crate::gateway::divert) fn ruleset() -> Result<Value, NftError> {
    let mut objects = objects_of(&run(&["--json", "--terse", "list", "ruleset"], "")?)?;
    for object in &mut objects {
        let Some(kind) = ["set", "map"]
            .into_iter()
            .find(|it| object.get(it).is_some())
        else {
            continue;
        };
        let set = &object[kind];
        let fields = ["family", "table", "name"].map(|field| set[field].as_str());
        let [Some(family), Some(table), Some(name)] = fields else {
            continue;
        };
        let mut parts = set["type"].as_array().into_iter().flatten();
        if set["type"] != "ifname" && !parts.any(|it| it == "ifname") {
            continue;
        }
        match run(&["--json", "list", kind, family, table, name], "") {
            Ok(listing) => {
                let whole = objects_of(&listing)?.into_iter();
                if let Some(whole) = whole.rev().find(|it| it.get(kind).is_some()) {
                    *object = whole;
                }
            }
            // It has gone meanwhile.
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(json!({ "nftables": objects }))
}

/// The objects of a listing, without the one that describes the listing.
fn objects_of(listing: &str) -> Result<Vec<Value>, NftError> {
    let listing: Value =
        serde_json::from_str(listing).map_err(|error| NftError::Refused(error.to_string()))?;
    let objects = listing["nftables"].as_array().cloned().unwrap_or_default();
    let is_part = |it: &Value| it.get("metainfo").is_none();
    Ok(objects.into_iter().filter(is_part).collect())
}

/// Runs `nft` with `input` on its standard input, and returns what it prints.
fn run(arguments: &[&str], input: &str) -> Result<String, NftError> {
    run_program(&program(), arguments, input)
}

/// Runs `program` with `input` on its standard input, and returns what it prints.
///
/// # Errors
/// [`NftError`].
pub(in crate::gateway::divert) fn run_program(
    program: &Path,
    arguments: &[&str],
    input: &str,
) -> Result<String, NftError> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => NftError::Missing(error),
            // The system is out of descriptors, processes or memory.
            _ => NftError::Refused(format!("it cannot be run at the moment: {error}")),
        })?;
    // `nft` reads to the end before it writes. If it exits early, its own message gives the reason.
    let written = child
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let ended = child.wait_with_output();
    let ended = ended.map_err(|error| NftError::Refused(error.to_string()))?;
    if !ended.status.success() {
        let message = String::from_utf8_lossy(&ended.stderr);
        let message = message.lines().find(|line| !line.trim().is_empty());
        return Err(NftError::Refused(match message {
            Some(line) => line.trim().to_owned(),
            None => format!("it ended with {} and no message", ended.status),
        }));
    }
    written.map_err(|error| NftError::Refused(format!("it did not read its input: {error}")))?;
    String::from_utf8(ended.stdout).map_err(|error| NftError::Refused(error.to_string()))
}

/// The name by which `nft` opens its standard input.
fn standard_input() -> &'static str {
    // `nft` takes `-` for /dev/stdin, a link that a bare /dev lacks.
    match fs::symlink_metadata("/dev/stdin") {
        Ok(_) => "-",
        Err(_) => "/proc/self/fd/0",
    }
}

/// Runs `nft` beside the control task, with a timeout.
pub(in crate::gateway::divert) async fn run_nft<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NftError> + Send + 'static,
) -> Result<T, NftError> {
    match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(failed)) => Err(NftError::Refused(failed.to_string())),
        Err(_) => Err(NftError::Refused(format!(
            "it has not ended within {} seconds",
            PATIENCE.as_secs()
        ))),
    }
}

/// The longest time that `nft` may take: one of our tables takes it milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The `nft` to run.
pub(in crate::gateway::divert) fn program() -> PathBuf {
    program_called("nft")
}

/// The program of this name: the one on the search path, or in the folder that ordinary users' search paths omit.
pub(in crate::gateway::divert) fn program_called(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut programs = std::env::split_paths(&path).map(|folder| folder.join(name));
    let found = programs.find(|program| program.is_file());
    found.unwrap_or_else(|| Path::new("/usr/sbin").join(name))
}

/// The table for `diversion`.
pub(super) fn table(diversion: &Diversion) -> NftTable {
    let mut table = NftTable::new(TABLE);
    if diversion.clears() {
        for family in Family::BOTH {
            table.set(&cleared::set_definition(family, diversion.generation));
        }
    }
    for (name, steps) in chains(diversion) {
        table.open_chain(name);
        for step in steps {
            table.rule(&step.text(diversion));
        }
        table.close_chain();
    }
    for (chain, priority, target) in [(ENTERS, FIRST, MARKS), (LEAVES, LAST, CHECKED)] {
        table.open_chain(chain);
        table.line(&format!(
            "type filter hook prerouting priority {priority}; policy accept;"
        ));
        for interface in &diversion.interfaces {
            // Names of interfaces have no quotes (`policy` refuses them), and nft knows no escape but for a `*`.
            table.rule(&format!("iifname \"{interface}\" goto {target}"));
        }
        table.close_chain();
    }
    table
}

/// The chain at the hook, before the rules of others.
const ENTERS: &str = "enters_from_vpn";
/// The chain at the hook, behind the rules of others.
const LEAVES: &str = "leaves_prerouting";
/// The priority of the first chain: before fragments are reassembled for connection tracking
/// (`NF_IP_PRI_RAW_BEFORE_DEFRAG` of linux/netfilter_ipv4.h, Linux 6.18), which is to leave out what is diverted.
pub(in crate::gateway::divert) const FIRST: i32 = -450;
/// The priority of the last chain (`NF_IP_PRI_LAST`, likewise).
const LAST: i32 = i32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(rules: &[&str]) -> Contents {
        let mut objects = vec![
            serde_json::json!({"metainfo": {"version": "1.0.6"}}),
            serde_json::json!({"table": {"family": "inet", "name": TABLE, "handle": rules.len()}}),
        ];
        objects.extend(rules.iter().enumerate().map(|(handle, rule)| {
            serde_json::json!({"rule": {"chain": "c", "handle": handle + 7 * rules.len(), "expr": rule}})
        }));
        let listing = serde_json::json!({ "nftables": objects }).to_string();
        Contents::read(&listing).expect("a listing")
    }

    #[test]
    fn a_table_is_compared_by_its_rules_and_not_by_their_handles() {
        let installed = listing(&["a", "b", "c"]);
        let difference = |now: Option<&Contents>| Contents::difference(now, &installed);
        assert_eq!(installed.rules(), 3);
        assert_eq!(difference(Some(&listing(&["a", "b", "c"]))), None);
        assert_eq!(difference(None).as_deref(), Some("the nftables table"));
        assert_eq!(
            difference(Some(&listing(&[]))).as_deref(),
            Some("3 rules of the nftables table")
        );
        assert_eq!(
            difference(Some(&listing(&["a", "x", "c"]))).as_deref(),
            Some("1 rule of the nftables table")
        );
        for changed in [&["a", "b", "c", "d"][..], &["b", "a", "c"]] {
            assert_eq!(
                difference(Some(&listing(changed))).as_deref(),
                Some("what else is in the nftables table")
            );
        }
    }
}
