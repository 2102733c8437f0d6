//! [`RuleTarget`]: the firewalls that rules can be written for.

use std::fmt;

/// A firewall, and the kind of file it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RuleTarget {
    /// nftables, each packet by itself.
    Nftables,
    /// nftables, replies over TCP left alone.
    NftablesConntrack,
    /// The sets of `Iptables` and `Ip6tables`.
    Ipset,
    /// iptables-restore.
    Iptables,
    /// ip6tables-restore.
    Ip6tables,
    /// Cisco ASA's `vpn-filter`.
    CiscoAsaFilter,
    /// A row for each rule.
    RulesCsv,
    /// Windows Firewall, the local store, by PowerShell.
    WindowsFirewall,
    /// Windows Firewall in a group policy, by PowerShell.
    WindowsFirewallGpo,
    /// Windows Firewall, the local store, by netsh.
    WindowsNetsh,
    /// Windows Firewall's group policy as registry values.
    WindowsRegistry,
    /// The removal of those.
    WindowsRegistryRemove,
    /// Windows Firewall by Intune.
    WindowsIntune,
}

impl RuleTarget {
    /// Every target, in the order of lists.
    pub const ALL: [Self; 13] = [
        Self::Nftables,
        Self::NftablesConntrack,
        Self::Ipset,
        Self::Iptables,
        Self::Ip6tables,
        Self::CiscoAsaFilter,
        Self::RulesCsv,
        Self::WindowsFirewall,
        Self::WindowsFirewallGpo,
        Self::WindowsNetsh,
        Self::WindowsRegistry,
        Self::WindowsRegistryRemove,
        Self::WindowsIntune,
    ];

    /// Its name in commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::NftablesConntrack => "nftables-conntrack",
            Self::Ipset => "ipset",
            Self::Iptables => "iptables",
            Self::Ip6tables => "ip6tables",
            Self::CiscoAsaFilter => "cisco-asa-filter",
            Self::RulesCsv => "rules-csv",
            Self::WindowsFirewall => "windows-firewall",
            Self::WindowsFirewallGpo => "windows-firewall-gpo",
            Self::WindowsNetsh => "windows-netsh",
            Self::WindowsRegistry => "windows-registry",
            Self::WindowsRegistryRemove => "windows-registry-remove",
            Self::WindowsIntune => "windows-intune",
        }
    }

    /// The target called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// What the file is, in a line.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Nftables => {
                "the filter's rules as an nftables table of their own (`nft -f FILE`), for gateways without the sidecar"
            }
            Self::NftablesConntrack => {
                "the same, but replies over TCP to sessions that were opened from inside pass"
            }
            Self::Ipset => "the sets that the two files for iptables name (`ipset restore`)",
            Self::Iptables => {
                "the filter's IPv4 rules for `iptables-restore --noflush`, in a chain of their own"
            }
            Self::Ip6tables => {
                "the filter's IPv6 rules for `ip6tables-restore --noflush`, in a chain of their own"
            }
            Self::CiscoAsaFilter => {
                "the filter's rules as the `vpn-filter` of a Cisco ASA's group policy"
            }
            Self::RulesCsv => "the filter's rules as a table, for other firewalls and for people",
            Self::WindowsFirewall => {
                "PowerShell for a Windows client: block rules for the programs of [[endpoint]]"
            }
            Self::WindowsFirewallGpo => {
                "PowerShell for an administrator: the same rules in a group policy (--name 'DOMAIN\\GPO')"
            }
            Self::WindowsNetsh => "the same rules by `netsh advfirewall`, as a batch file",
            Self::WindowsRegistry => "the same rules as a group policy stores them, as a .reg file",
            Self::WindowsRegistryRemove => "the removal of what windows-registry wrote",
            Self::WindowsIntune => {
                "the same rules for Intune: a device configuration for Microsoft Graph (beta)"
            }
        }
    }

    /// The usual name of the file.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Nftables => "offramp-rules.nft",
            Self::NftablesConntrack => "offramp-rules-conntrack.nft",
            Self::Ipset => "offramp.ipset",
            Self::Iptables => "offramp.rules.v4",
            Self::Ip6tables => "offramp.rules.v6",
            Self::CiscoAsaFilter => "asa-vpn-filter.txt",
            Self::RulesCsv => "rules.csv",
            Self::WindowsFirewall => "offramp-firewall.ps1",
            Self::WindowsFirewallGpo => "offramp-firewall-gpo.ps1",
            Self::WindowsNetsh => "offramp-firewall.cmd",
            Self::WindowsRegistry => "offramp-firewall.reg",
            Self::WindowsRegistryRemove => "offramp-firewall-remove.reg",
            Self::WindowsIntune => "offramp-firewall-intune.json",
        }
    }

    /// Whether it is for clients: whether it takes the policy's `[[endpoint]]` sections.
    pub const fn is_for_clients(self) -> bool {
        match self {
            Self::Nftables
            | Self::NftablesConntrack
            | Self::Ipset
            | Self::Iptables
            | Self::Ip6tables
            | Self::CiscoAsaFilter
            | Self::RulesCsv => false,
            Self::WindowsFirewall
            | Self::WindowsFirewallGpo
            | Self::WindowsNetsh
            | Self::WindowsRegistry
            | Self::WindowsRegistryRemove
            | Self::WindowsIntune => true,
        }
    }

    /// What begins a line that says nothing.
    pub const fn comment(self) -> &'static str {
        match self {
            Self::Nftables
            | Self::NftablesConntrack
            | Self::Ipset
            | Self::Iptables
            | Self::Ip6tables
            | Self::RulesCsv
            | Self::WindowsFirewall
            | Self::WindowsFirewallGpo => "#",
            Self::CiscoAsaFilter => "!",
            Self::WindowsNetsh => "rem ",
            Self::WindowsRegistry | Self::WindowsRegistryRemove => ";",
            // JSON has no comments; no line begins so.
            Self::WindowsIntune => "//",
        }
    }

    /// The name of what it makes, where the operator gives none.
    pub(super) const fn default_name(self) -> Option<&'static str> {
        match self {
            Self::Nftables
            | Self::NftablesConntrack
            | Self::Ipset
            | Self::Iptables
            | Self::Ip6tables
            | Self::RulesCsv
            | Self::WindowsFirewallGpo => None,
            Self::CiscoAsaFilter => Some("OFFRAMP-FILTER"),
            Self::WindowsFirewall
            | Self::WindowsNetsh
            | Self::WindowsRegistry
            | Self::WindowsRegistryRemove
            | Self::WindowsIntune => Some("offramp"),
        }
    }

    /// Why it cannot have `name`.
    pub(super) fn forbids(self, name: &str) -> Option<&'static str> {
        let is_word = |name: &str| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        match self {
            Self::CiscoAsaFilter => {
                (!is_word(name)).then_some("it names an access list: letters, digits, - and _")
            }
            Self::WindowsFirewall
            | Self::WindowsNetsh
            | Self::WindowsRegistry
            | Self::WindowsRegistryRemove
            | Self::WindowsIntune => {
                let plain = |name: &str| is_word(&name.replace([' ', '.'], "-"));
                (!plain(name)).then_some(
                    "it names a group of rules, which is removed by its name: letters, digits, space, . - and _",
                )
            }
            Self::WindowsFirewallGpo => {
                let mut parts = name.split('\\');
                let has_two = parts.by_ref().take(2).filter(|it| !it.is_empty()).count() == 2;
                (!has_two || parts.next().is_some()).then_some("it is DOMAIN\\GPO")
            }
            Self::Nftables
            | Self::NftablesConntrack
            | Self::Ipset
            | Self::Iptables
            | Self::Ip6tables
            | Self::RulesCsv => None,
        }
    }
}

impl fmt::Display for RuleTarget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}
