//! [`Guard`]: under `on_failure = "closed"`, stops what enters from interfaces of the VPN that have no program.
//!
//! An interface that appears may send before the gateway has heard of it, or while the gateway is away. A table of nftables
//! accepts what enters from interfaces that are known to have a program, by their index, and drops what enters from others
//! that the policy names. Like programs that fail closed it stays when the process is killed, and the next start replaces it.

use tracing::warn;

use super::EbpfPlan;
use crate::gateway::divert::firewall;
use crate::gateway::divert::nftables::nft::{self, Contents, NftError, run_nft};
use crate::render::nft::NftTable;

/// The table in the kernel.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// The patterns and interfaces that it was written for; `None` if it is not in force.
    written: Option<Served>,
    /// As the kernel lists it; `None` if another program changed it before.
    contents: Option<Contents>,
    /// The number of the kernel's ruleset that was looked at last while the table was not in force.
    looked: Option<u32>,
}

/// The patterns of the policy, and the interfaces with a program, by index and name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Served {
    patterns: Vec<String>,
    interfaces: Vec<(u32, String)>,
}

impl Guard {
    /// Puts it into force for the interfaces that have a program, unless it is; returns `true` if it was not.
    pub(super) async fn follow<'a>(
        &mut self,
        plan: &EbpfPlan,
        served: impl Iterator<Item = (u32, &'a str)>,
    ) -> Result<bool, NftError> {
        let served = Served {
            patterns: plan.interfaces.clone(),
            interfaces: served
                .map(|(index, name)| (index, name.to_owned()))
                .collect(),
        };
        if self.written.as_ref() == Some(&served) {
            return Ok(false);
        }
        self.write(served).await?;
        Ok(true)
    }

    async fn write(&mut self, served: Served) -> Result<(), NftError> {
        let indexes = served.interfaces.iter().map(|(index, _)| *index);
        let table = table(&served.patterns, indexes);
        // Whatever becomes of it, it is no longer known to be what it was.
        self.written = None;
        self.contents = run_nft(move || nft::put(&table)).await?;
        self.written = Some(served);
        Ok(())
    }

    /// Compares the table with what was written, and writes it again; describes what was changed. Removes one that is not in
    /// force, which a ruleset saved before may have brought back: it would stop what no process lets in.
    pub(super) async fn repair(&mut self) -> Result<Option<String>, NftError> {
        let Some(served) = self.written.clone() else {
            return self.remove_of_others().await;
        };
        let now = run_nft(nft::contents).await?;
        let difference = match &self.contents {
            Some(written) => Contents::difference(now.as_ref(), written),
            None => Some("the nftables table".to_owned()),
        };
        if difference.is_some() {
            self.write(served).await?;
        }
        Ok(difference)
    }

    async fn remove_of_others(&mut self) -> Result<Option<String>, NftError> {
        let present = firewall::generation();
        if present == self.looked {
            return Ok(None);
        }
        let found = match run_nft(nft::contents).await {
            Ok(found) => found,
            // Without the program there is hardly such a table.
            Err(NftError::Missing(_)) => None,
            Err(error) => {
                warn!("an old nftables table of offramp would not be seen: {error}");
                None
            }
        };
        self.looked = present;
        if found.is_none() {
            return Ok(None);
        }
        run_nft(nft::remove).await?;
        Ok(Some("the nftables table".to_owned()))
    }

    /// Takes it out of the kernel.
    pub(super) async fn remove(&mut self) -> Result<(), NftError> {
        if self.written.take().is_some() {
            run_nft(nft::remove).await?;
        }
        Ok(())
    }
}

/// The table for the patterns of a policy and the indexes of interfaces with a program.
pub(super) fn table(patterns: &[String], served: impl Iterator<Item = u32>) -> NftTable {
    let mut table = NftTable::new(nft::TABLE);
    let served: Vec<String> = served.map(|index| index.to_string()).collect();
    table.open_chain("guard");
    // Before connection tracking (-200) and raw tables (-300).
    table.line("type filter hook prerouting priority -400; policy accept;");
    if !served.is_empty() {
        table.rule(&format!("iif {{ {} }} accept", served.join(", ")));
    }
    for pattern in patterns {
        table.rule(&format!("iifname \"{pattern}\" drop"));
    }
    table.close_chain();
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_with_a_program_are_accepted_and_others_of_the_vpn_are_not() {
        let table = table(&["tun0".to_owned(), "vpns*".to_owned()], [7, 9].into_iter());
        assert_eq!(
            table.to_string(),
            "table inet offramp {\n\
             \tchain guard {\n\
             \t\ttype filter hook prerouting priority -400; policy accept;\n\
             \t\tiif { 7, 9 } accept\n\
             \t\tiifname \"tun0\" drop\n\
             \t\tiifname \"vpns*\" drop\n\
             \t}\n\
             }\n"
        );
    }
}
