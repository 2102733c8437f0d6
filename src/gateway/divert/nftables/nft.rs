//! The nftables table that marks what enters from the VPN: one of our own, replaced as a whole.
//!
//! What is on its way to the filter is not tracked (`notrack`). Connection tracking would take the packet that comes back
//! from the filter for one that it knows, and which address translation has decided to leave alone: clients behind a
//! masquerade on the uplink would reach nothing. So it sees each packet once, when the filter has let it pass. Whether a
//! marked packet is on that way is asked of the routes themselves, so that this holds for as long as they lead there.
//!
//! Every packet of every client goes through here, so the usual one meets few rules: a first that takes an IPv4 datagram
//! that is whole and has no options, one for each range of ports, one for its length, and one for each of a few prefixes
//! beside which nothing is on its way to the filter, so that the routes need not be asked.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use nftables::batch::Batch;
use nftables::expr::{Expression, MetaKey};
use nftables::helper::{self, NftablesError};
use nftables::schema::{Chain, NfListObject, Nftables, Rule, Table};
use nftables::stmt::{Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde_json::{Value, json};

use super::Diversion;
use super::marks::{MARKS, chains, goto, matches, meta};

/// The name of the table; everything in it is ours.
pub const TABLE: &str = "offramp";

/// Why nftables did not do it.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no `nft` to be run.
    #[error("cannot run nft: {0}; install it, on Debian with `apt-get install nftables`")]
    Missing(io::Error),
    /// It refused.
    #[error("nft refused: {0}")]
    Refused(String),
}

impl From<NftablesError> for NftError {
    fn from(error: NftablesError) -> Self {
        match error {
            NftablesError::NftExecution { inner, .. }
                if inner.kind() == io::ErrorKind::BrokenPipe =>
            {
                Self::Refused("it ended before it had read everything".to_owned())
            }
            NftablesError::NftExecution { inner, .. }
                if matches!(
                    inner.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                Self::Missing(inner)
            }
            // No descriptor, process or memory is free.
            NftablesError::NftExecution { inner, .. } => {
                Self::Refused(format!("it cannot be run at the moment: {inner}"))
            }
            NftablesError::NftFailed { stderr, .. } if stderr.trim().is_empty() => {
                Self::Refused("its own words stand above".to_owned())
            }
            NftablesError::NftFailed { stderr, .. } => {
                Self::Refused(stderr.lines().next().unwrap_or_default().to_owned())
            }
            other
            @ (NftablesError::NftOutputEncoding { .. } | NftablesError::NftInvalidJson(_)) => {
                Self::Refused(other.to_string())
            }
        }
    }
}

/// Puts the table for `diversion` into the kernel, in place of any that is there, in one transaction.
///
/// # Errors
/// [`NftError`]; the kernel then has what it had before.
pub fn install(diversion: &Diversion) -> Result<(), NftError> {
    apply(&ruleset(diversion))
}

/// Removes the table, if it is there.
///
/// # Errors
/// [`NftError`].
pub fn remove() -> Result<(), NftError> {
    let mut batch = Batch::new();
    // Deleting what is not there is an error; adding what is there is none.
    batch.add(table());
    batch.delete(table());
    apply(&batch.to_nftables())
}

/// Whether the table is there.
///
/// # Errors
/// [`NftError::Missing`].
pub fn is_installed() -> Result<bool, NftError> {
    let list = ["list", "table", "inet", TABLE];
    match helper::get_current_ruleset_raw(Some(&program()), list) {
        Ok(_) => Ok(true),
        Err(NftablesError::NftFailed { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Has `nft` ask the kernel for something short: that it can be run, and may ask.
///
/// # Errors
/// [`NftError`].
pub fn try_out() -> Result<(), NftError> {
    helper::get_current_ruleset_raw(Some(&program()), ["list", "tables"])?;
    Ok(())
}

/// Everything that nftables has, as it prints it.
///
/// # Errors
/// [`NftError`].
pub fn everything() -> Result<Value, NftError> {
    let text = helper::get_current_ruleset_raw(Some(&program()), helper::DEFAULT_ARGS)?;
    serde_json::from_str(&text).map_err(|error| NftError::Refused(error.to_string()))
}

fn apply(ruleset: &Nftables<'_>) -> Result<(), NftError> {
    let refused = |error: serde_json::Error| NftError::Refused(error.to_string());
    let mut json = serde_json::to_value(ruleset).map_err(refused)?;
    spell_notrack(&mut json);
    helper::apply_ruleset_raw(&json.to_string(), Some(&program()), helper::DEFAULT_ARGS)?;
    Ok(())
}

/// Writes `"notrack"` as `{"notrack": null}`, the only form that nft reads and not the one that the crate writes.
fn spell_notrack(json: &mut Value) {
    match json {
        Value::Array(items) => items.iter_mut().for_each(spell_notrack),
        Value::Object(fields) => {
            // The statements of a rule; elsewhere the word may be a name.
            if let Some(Value::Array(statements)) = fields.get_mut("expr") {
                for statement in statements.iter_mut().filter(|it| *it == "notrack") {
                    *statement = json!({ "notrack": null });
                }
            }
            fields.values_mut().for_each(spell_notrack);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The `nft` to run: that of the search path, or the usual one, which the path of ordinary users leaves out.
pub fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut programs = std::env::split_paths(&path).map(|folder| folder.join("nft"));
    let found = programs.find(|program| program.is_file());
    found.unwrap_or_else(|| PathBuf::from("/usr/sbin/nft"))
}

/// The transaction that replaces the table.
fn ruleset(diversion: &Diversion) -> Nftables<'static> {
    let mut batch = Batch::new();
    batch.add(table());
    batch.delete(table());
    batch.add(table());
    let chains = chains(diversion);
    // A rule names only chains that are there.
    for (name, _) in &chains {
        batch.add(NfListObject::Chain(Chain {
            family: NfFamily::INet,
            table: TABLE.into(),
            name: (*name).into(),
            ..Chain::default()
        }));
    }
    batch.add(NfListObject::Chain(Chain {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: ENTERS.into(),
        _type: Some(NfChainType::Filter),
        hook: Some(NfHook::Prerouting),
        prio: Some(RAW),
        policy: Some(NfChainPolicy::Accept),
        ..Chain::default()
    }));
    for interface in &diversion.interfaces {
        let enters = matches(
            meta(MetaKey::Iifname),
            Operator::EQ,
            Expression::String(Cow::Owned(interface.clone())),
        );
        batch.add(rule(ENTERS, vec![enters, goto(MARKS)]));
    }
    for (name, steps) in chains {
        for step in steps {
            batch.add(rule(name, step.statements(diversion)));
        }
    }
    batch.to_nftables()
}

/// The same as text, for people.
pub fn text(diversion: &Diversion) -> String {
    let mut out = format!("table inet {TABLE} {{\n");
    // Writing to a string cannot fail, here and below.
    for (name, steps) in chains(diversion) {
        _ = writeln!(out, "\tchain {name} {{");
        for step in steps {
            _ = writeln!(out, "\t\t{}", step.text(diversion));
        }
        out.push_str("\t}\n");
    }
    _ = writeln!(
        out,
        "\tchain {ENTERS} {{\n\t\ttype filter hook prerouting priority raw; policy accept;"
    );
    for interface in &diversion.interfaces {
        _ = writeln!(out, "\t\tiifname \"{interface}\" goto {MARKS}");
    }
    out.push_str("\t}\n}\n");
    out
}

fn table() -> NfListObject<'static> {
    NfListObject::Table(Table {
        family: NfFamily::INet,
        name: TABLE.into(),
        ..Table::default()
    })
}

fn rule(chain: &'static str, statements: Vec<Statement<'static>>) -> NfListObject<'static> {
    NfListObject::Rule(Rule {
        family: NfFamily::INet,
        table: TABLE.into(),
        chain: chain.into(),
        expr: statements.into(),
        ..Rule::default()
    })
}

/// The chain at the hook.
const ENTERS: &str = "enters_from_vpn";
/// The priority of the hook that nft calls `raw`: before connection tracking, which is to leave out what is diverted.
pub const RAW: i32 = -300;
