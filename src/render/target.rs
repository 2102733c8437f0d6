//! [`Target`]: the programs that a plan can be written for.

use std::fmt;

/// A program, and the kind of file it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// OpenVPN's server configuration.
    OpenVpn,
    /// A client's file in OpenVPN's `client-config-dir`.
    OpenVpnCcd,
    /// A script for OpenVPN's `client-connect`.
    OpenVpnClientConnect,
    /// A command for OpenVPN's management interface.
    OpenVpnPushUpdate,
    /// ocserv's configuration, the global one, a group's or a user's.
    Ocserv,
    /// A WireGuard client's configuration.
    WireGuard,
    /// strongSwan's swanctl.conf, inside a child section.
    StrongSwan,
    /// strongSwan's attr plugin, for IKEv1 clients.
    StrongSwanUnity,
    /// ProfileXML of Windows' VPNv2 configuration service provider.
    WindowsProfileXml,
    /// PowerShell on a Windows client.
    WindowsPowerShell,
    /// Cisco ASA's configuration.
    CiscoAsa,
    /// Kea's DHCPv4 server.
    Kea,
    /// dnsmasq as DHCP server.
    Dnsmasq,
    /// One prefix a line.
    Prefixes,
    /// The plan with the origin of every entry.
    Json,
}

/// How a file says what enters the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// What enters it.
    Include,
    /// What does not, of something wider that does.
    Exclude,
}

impl fmt::Display for Form {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Include => "include",
            Self::Exclude => "exclude",
        })
    }
}

impl Target {
    /// Every target, in the order of lists.
    pub const ALL: [Self; 15] = [
        Self::OpenVpn,
        Self::OpenVpnCcd,
        Self::OpenVpnClientConnect,
        Self::OpenVpnPushUpdate,
        Self::Ocserv,
        Self::WireGuard,
        Self::StrongSwan,
        Self::StrongSwanUnity,
        Self::WindowsProfileXml,
        Self::WindowsPowerShell,
        Self::CiscoAsa,
        Self::Kea,
        Self::Dnsmasq,
        Self::Prefixes,
        Self::Json,
    ];

    /// Its name in commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenVpn => "openvpn",
            Self::OpenVpnCcd => "openvpn-ccd",
            Self::OpenVpnClientConnect => "openvpn-client-connect",
            Self::OpenVpnPushUpdate => "openvpn-push-update",
            Self::Ocserv => "ocserv",
            Self::WireGuard => "wireguard",
            Self::StrongSwan => "strongswan",
            Self::StrongSwanUnity => "strongswan-unity",
            Self::WindowsProfileXml => "windows-profilexml",
            Self::WindowsPowerShell => "windows-powershell",
            Self::CiscoAsa => "cisco-asa",
            Self::Kea => "kea",
            Self::Dnsmasq => "dnsmasq",
            Self::Prefixes => "prefixes",
            Self::Json => "json",
        }
    }

    /// The target called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// What the file is, in a line.
    pub const fn about(self) -> &'static str {
        match self {
            Self::OpenVpn => "`push` lines for the OpenVPN server's configuration (`config FILE`)",
            Self::OpenVpnCcd => {
                "a client's file in client-config-dir, in place of the server's routes"
            }
            Self::OpenVpnClientConnect => "a client-connect script that writes the same",
            Self::OpenVpnPushUpdate => "a management command for connected clients, OpenVPN 2.7",
            Self::Ocserv => "`route` and `no-route` lines for ocserv: all, a group or a user",
            Self::WireGuard => "`AllowedIPs` of the peer in a client's configuration",
            Self::StrongSwan => "`local_ts` for a child in swanctl.conf (`include FILE`)",
            Self::StrongSwanUnity => "strongswan.conf for IKEv1 clients with the Unity extension",
            Self::WindowsProfileXml => "VPNv2 ProfileXML with exclusion routes",
            Self::WindowsPowerShell => "Add-VpnConnectionRoute, run on the client",
            Self::CiscoAsa => "an access list and the group policy that uses it",
            Self::Kea => "option-data for DHCP options 121 and 249 (`<?include \"FILE\"?>`)",
            Self::Dnsmasq => "dhcp-option lines for DHCP options 121 and 249 (`conf-file=FILE`)",
            Self::Prefixes => "one prefix a line",
            Self::Json => "both forms, with the origin of every entry",
        }
    }

    /// The usual end of its file's name.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::OpenVpn => "openvpn-routes.conf",
            Self::OpenVpnCcd => "openvpn-ccd",
            Self::OpenVpnClientConnect => "openvpn-client-connect.sh",
            Self::OpenVpnPushUpdate => "openvpn-push-update.txt",
            Self::Ocserv => "ocserv-routes.conf",
            Self::WireGuard => "wireguard-allowed-ips.conf",
            Self::StrongSwan => "swanctl-local-ts.conf",
            Self::StrongSwanUnity => "strongswan-attr.conf",
            Self::WindowsProfileXml => "profile.xml",
            Self::WindowsPowerShell => "vpn-routes.ps1",
            Self::CiscoAsa => "asa-split-tunnel.txt",
            Self::Kea => "kea-option-data.json",
            Self::Dnsmasq => "dnsmasq-routes.conf",
            Self::Prefixes => "prefixes.txt",
            Self::Json => "routes.json",
        }
    }

    /// Whether it can say IPv4 routes.
    pub const fn says_v4(self) -> bool {
        true
    }

    /// Whether it can say IPv6 routes.
    pub const fn says_v6(self) -> bool {
        match self {
            // RFC 3442 is of DHCP for IPv4, and DHCPv6 has no option for routes. Unity is of IKEv1 and IPv4.
            Self::Kea | Self::Dnsmasq | Self::StrongSwanUnity => false,
            Self::OpenVpn
            | Self::OpenVpnCcd
            | Self::OpenVpnClientConnect
            | Self::OpenVpnPushUpdate
            | Self::Ocserv
            | Self::WireGuard
            | Self::StrongSwan
            | Self::WindowsProfileXml
            | Self::WindowsPowerShell
            | Self::CiscoAsa
            | Self::Prefixes
            | Self::Json => true,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}
