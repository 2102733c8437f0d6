//! [`Code`]: the kinds of mistakes, each with a stable name, and [`Severity`].

use std::fmt;

/// How serious a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy is taken; somebody should look.
    Warning,
}

impl Severity {
    /// Its name in output: `error` or `warning`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Kind of mistake of a diagnostic; its name is stable, for programs that read `--json`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its stable name, e.g. `host-bits`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

codes! {
    /// The file is larger than any policy.
    FileTooLarge = "file-too-large",
    /// Bytes that are not UTF-8.
    NotUtf8 = "not-utf8",
    /// NUL bytes: a damaged file.
    NulByte = "nul-byte",
    /// Not TOML.
    Syntax = "syntax",
    /// A key or table that is given twice.
    DuplicateKey = "duplicate-key",
    /// A section that does not exist.
    UnknownSection = "unknown-section",
    /// A key that does not exist in its section.
    UnknownKey = "unknown-key",
    /// A required key or section that is absent.
    MissingKey = "missing-key",
    /// A value of another type than the key takes.
    WrongType = "wrong-type",
    /// An array that needs at least one value.
    EmptyList = "empty-list",
    /// A word that the key does not know.
    UnknownValue = "unknown-value",
    /// Not an address.
    BadAddress = "bad-address",
    /// Not a prefix.
    BadPrefix = "bad-prefix",
    /// A number written with leading zeros.
    LeadingZeros = "leading-zeros",
    /// A prefix with bits set beyond its length.
    HostBits = "host-bits",
    /// An IPv4 address in IPv6 clothing.
    MappedAddress = "mapped-address",
    /// Not a port or a range of ports.
    BadPort = "bad-port",
    /// A range whose first port is above its last.
    PortOrder = "port-order",
    /// A name that is empty, too long or has control characters.
    BadName = "bad-name",
    /// Not a host name.
    BadHost = "bad-host",
    /// Not a service name.
    BadService = "bad-service",
    /// Not the name of a network interface.
    BadInterface = "bad-interface",
    /// Not a key that a mirror's signature can be checked with.
    BadPublicKey = "bad-public-key",
    /// Not an address that a feed can be fetched from.
    BadUrl = "bad-url",
    /// Not a usable path.
    BadPath = "bad-path",
    /// A number outside its range.
    OutOfRange = "out-of-range",
    /// Two rules of one section with the same name.
    DuplicateName = "duplicate-name",
    /// A `[[test]]` that no packet can be.
    ImpossibleTest = "impossible-test",
    /// All addresses as client or corporate prefix.
    WholeInternet = "whole-internet",
    /// The DNS server would ask itself.
    DnsLoop = "dns-loop",
    /// The DNS server could not answer for other names.
    DnsWithoutUpstream = "dns-without-upstream",
    /// A name that clients of a SIP domain look for, and that is not pinned.
    NameMissing = "name-missing",
    /// A registrar's name whose domain is no SIP domain of the policy.
    SipDomainMissing = "sip-domain-missing",
    /// Hosts of a service that has no single address.
    HostWithoutAddress = "host-without-address",
    /// One name that is to be pinned and hidden.
    PinnedAndHidden = "pinned-and-hidden",
    /// A service record that leads out of its domain.
    SrvTargetOutside = "srv-target-outside",
    /// A service record that leads to a name that is not pinned.
    SrvTargetNotPinned = "srv-target-not-pinned",
    /// Autodiscover without the hosts that it names.
    ExchangeHostMissing = "exchange-host-missing",
    /// Literal media ports that cover other services.
    MediaPortsCoverServices = "media-ports-cover-services",
    /// One service listed as internal and as public.
    ServerAndPublic = "server-and-public",
    /// An address family that one side lacks.
    FamilyMissing = "family-missing",
    /// IPv6 clients of a VPN that is said to have none.
    FamilyContradiction = "family-contradiction",
    /// No corporate prefix.
    NoCorporate = "no-corporate",
    /// Client addresses inside a public service.
    ClientAndPublic = "client-and-public",
    /// An `[[allow]]` that changes no verdict.
    AllowWithoutEffect = "allow-without-effect",
    /// An `[[allow]]` that has clients' addresses by a prefix that reaches beyond them.
    AllowBeyondClients = "allow-beyond-clients",
    /// An `[[accept]]` for which there is no warning.
    AcceptWithoutEffect = "accept-without-effect",
    /// A policy under which nothing, or not everything, is dropped that it says is.
    NotEnforced = "not-enforced",
    /// A pilot of addresses that are no clients'.
    PilotOutsideClients = "pilot-outside-clients",
    /// A status page that others than this host's users can reach.
    PageExposed = "page-exposed",
    /// Two listeners of the gateway at one address and port.
    ListenerConflict = "listener-conflict",
    /// A public service at a private address.
    PublicIsPrivate = "public-is-private",
    /// A feed of Microsoft 365 from which everything is taken.
    FeedUnfiltered = "feed-unfiltered",
    /// A server prefix that has much more than servers.
    WideServer = "wide-server",
    /// A prefix named by hand that Microsoft 365 had once.
    PrefixWithdrawn = "prefix-withdrawn",
    /// A feed whose file is not there.
    FeedNotLoaded = "feed-not-loaded",
    /// A feed whose file has a mistake.
    FeedRefused = "feed-refused",
    /// A feed whose file is older than its `max_age_days`.
    FeedOld = "feed-old",
    /// A feed that writes something in an unusual way.
    FeedSpelling = "feed-spelling",
    /// A prefix named by hand that a feed has withdrawn.
    FeedWithdrawn = "feed-withdrawn",
    /// A server that the routes would leave outside the tunnel.
    ServerOutsideTunnel = "server-outside-tunnel",
    /// An internal prefix that a public one covers.
    InternalKept = "internal-kept",
    /// A public prefix inside an internal one.
    PublicInCorporate = "public-in-corporate",
    /// A DNS server that a public prefix covers.
    DnsKept = "dns-kept",
    /// A VPN gateway inside an internal prefix.
    GatewayInside = "gateway-inside",
    /// A family that a full tunnel does not carry.
    FamilyOutside = "family-outside",
    /// Routes that lead no address into the tunnel.
    NothingPushed = "nothing-pushed",
    /// A rule of Windows Firewall that would never match, or not for long.
    EndpointNeverMatches = "endpoint-never-matches",
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
