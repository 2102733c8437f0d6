//! [`NameTarget`]: the programs that names can be written for.

use std::fmt;

/// A program, and the kind of file it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NameTarget {
    /// A view of unbound's configuration.
    Unbound,
    /// A view of BIND's configuration, which uses [`NameTarget::Rpz`].
    Bind,
    /// A response policy zone, which BIND, Knot Resolver and PowerDNS Recursor read.
    Rpz,
    /// dnsmasq as DNS server.
    Dnsmasq,
    /// `dnscmd` on a Windows DNS server for VPN clients alone.
    WindowsDnscmd,
    /// PowerShell on a Windows DNS server for VPN clients alone.
    WindowsDns,
    /// PowerShell on a Windows DNS server that serves others too.
    WindowsDnsPolicy,
    /// PowerShell on a Windows client: the name resolution policy table.
    WindowsNrpt,
}

impl NameTarget {
    /// Every target, in the order of lists.
    pub const ALL: [Self; 8] = [
        Self::Unbound,
        Self::Bind,
        Self::Rpz,
        Self::Dnsmasq,
        Self::WindowsDnscmd,
        Self::WindowsDns,
        Self::WindowsDnsPolicy,
        Self::WindowsNrpt,
    ];

    /// Its name in commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unbound => "unbound",
            Self::Bind => "bind",
            Self::Rpz => "rpz",
            Self::Dnsmasq => "dnsmasq-names",
            Self::WindowsDnscmd => "windows-dnscmd",
            Self::WindowsDns => "windows-dns",
            Self::WindowsDnsPolicy => "windows-dns-policy",
            Self::WindowsNrpt => "windows-nrpt",
        }
    }

    /// The target called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// What the file is, in a line.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Unbound => "a view for VPN clients, for unbound.conf (`include: FILE`)",
            Self::Bind => {
                "a view for VPN clients, for named.conf (`include \"FILE\";`), with rpz beside it"
            }
            Self::Rpz => {
                "the response policy zone of bind; Knot Resolver and PowerDNS Recursor read it too"
            }
            Self::Dnsmasq => {
                "the configuration of an instance of its own (`dnsmasq --conf-file=FILE`)"
            }
            Self::WindowsDnscmd => {
                "pin-point zones by dnscmd, on a DNS server for VPN clients alone"
            }
            Self::WindowsDns => {
                "pin-point zones by PowerShell, on a DNS server for VPN clients alone"
            }
            Self::WindowsDnsPolicy => {
                "query resolution policies by PowerShell, on a DNS server for all"
            }
            Self::WindowsNrpt => "name resolution policy rules by PowerShell, run on the client",
        }
    }

    /// The usual end of its file's name.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Unbound => "unbound-offramp.conf",
            Self::Bind => "named-offramp.conf",
            Self::Rpz => "offramp.rpz",
            Self::Dnsmasq => "dnsmasq-names.conf",
            Self::WindowsDnscmd => "dns-zones.cmd",
            Self::WindowsDns => "dns-zones.ps1",
            Self::WindowsDnsPolicy => "dns-policies.ps1",
            Self::WindowsNrpt => "nrpt.ps1",
        }
    }
}

impl fmt::Display for NameTarget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}
