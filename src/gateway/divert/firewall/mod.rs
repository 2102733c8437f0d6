//! The packet filters of others on this host: what they would do with packets of a diversion.
//!
//! ```text
//!  nft --json list ruleset ─▶ nft_list ─┐
//!  iptables-nft-save ───────▶ save ─────┤ Ruleset ─┬─▶ passage: what nftables diverts, twice through each chain
//!  the kernel's own tables ─▶ legacy ───┘          └─▶ forwarding: what is led elsewhere behind the filter (DNAT)
//!                                       walk: the way of a packet through a chain
//! ```
//!
//! Reading them takes milliseconds, so a running gateway does it on a thread of its own, and only when they have changed.

mod addresses;
mod chain;
mod forwarding;
mod generation;
mod legacy;
mod nft_list;
mod passage;
mod remedy;
mod save;
#[cfg(test)]
mod tests;
mod walk;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use self::chain::Ruleset;
use self::nft_list::Numbers;
use super::nftables::nft::{self, NftError};
use crate::verify::Finding;

pub use forwarding::{Clients, check_forwarding};
pub(super) use passage::{Passage, check_passage, opens};

/// The packet filters of this host, as they were read.
#[derive(Debug)]
pub struct Firewalls {
    /// Those of nftables, or the reason why they could not be read.
    nft: Result<Ruleset, NftError>,
    /// Those of iptables-legacy, or the reason why they could not be read.
    legacy: Result<Ruleset, String>,
    /// The number of the kernel's ruleset when reading began; `None` if it is unknown.
    generation: Option<u32>,
}

impl Firewalls {
    /// Reads them; this may take some milliseconds.
    pub fn read() -> Self {
        Self {
            // Asked first: what changes while it is read is read again.
            generation: generation::current(),
            nft: nft::ruleset().map(|listing| read_nft(&listing)),
            legacy: read_legacy(),
        }
    }

    /// Returns `last`, or what is there if that has changed.
    pub fn read_again(last: Arc<Self>) -> Arc<Self> {
        let is_current = last.generation.is_some()
            && last.generation == generation::current()
            && last.legacy == read_legacy();
        if is_current {
            last
        } else {
            Arc::new(Self::read())
        }
    }

    /// Returns the names of the firewalls that have rules, of those that could be read.
    pub fn names(&self) -> Vec<&'static str> {
        let chains = self.rulesets().flat_map(|it| &it.chains);
        let with_rules = chains.filter(|it| !it.rules.is_empty());
        let mut names: Vec<&str> = with_rules.map(|it| it.tool.name()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The rulesets that could be read.
    fn rulesets(&self) -> impl Iterator<Item = &Ruleset> {
        self.nft.iter().chain(&self.legacy)
    }

    /// The programs that [`Firewalls::read`] runs.
    pub(super) fn programs() -> Vec<PathBuf> {
        let mut programs = vec![nft::program()];
        programs.extend(SAVE.map(|(_, name)| nft::program_called(name)));
        programs.retain(|program| program.is_file());
        programs
    }

    /// Describes what could not be read, for a diversion that needs nftables.
    fn unread(&self) -> Option<Finding> {
        match &self.nft {
            Ok(_) => None,
            Err(error @ NftError::Missing(_)) => Some(Finding::host_error(
                "there is no nft on this host",
                format!("it marks what enters from the VPN: {error}"),
            )),
            Err(NftError::Refused(why)) => Some(Finding::host_error(
                format!("nftables cannot be used: {why}"),
                "the kernel needs nf_tables, and offramp the right to use it (CAP_NET_ADMIN)",
            )),
        }
    }

    /// Describes the tables of iptables-legacy that could not be read.
    fn unread_legacy(&self) -> Option<Finding> {
        let why = self.legacy.as_ref().err()?;
        Some(Finding::host_warning(
            format!("a table of iptables-legacy could not be read: {why}"),
            "look with `iptables-legacy-save` for rules that stop what they do not know; without such rules, move to nftables \
             (`iptables-nft`)",
        ))
    }
}

/// The number of the kernel's ruleset of nftables, which changes with it; `None` if the kernel does not tell.
pub(super) fn generation() -> Option<u32> {
    generation::current()
}

/// The program that lists the tables of iptables, for each family.
const SAVE: [(&str, &str); 2] = [("ip", "iptables-nft-save"), ("ip6", "ip6tables-nft-save")];

fn read_legacy() -> Result<Ruleset, String> {
    legacy::read(&mut Numbers::default()).map(Ruleset::new)
}

/// Reads a listing; tables that have matches of iptables are listed once more by its own program, if it is there.
fn read_nft(listing: &Value) -> Ruleset {
    let mut numbers = Numbers::default();
    let mut ruleset = nft_list::read(listing, nft::TABLE, &mut numbers);
    for (family, name) in SAVE {
        let objects = listing["nftables"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let mut rules = objects.iter().filter_map(|object| object.get("rule"));
        let has_extensions =
            rules.any(|rule| rule["family"] == family && nft_list::has_extension(rule));
        let program = nft::program_called(name);
        if has_extensions
            && program.is_file()
            && let Ok(text) = nft::run_program(&program, &[], "")
        {
            save::refine(&mut ruleset, family, &text, &mut numbers);
        }
    }
    ruleset
}
