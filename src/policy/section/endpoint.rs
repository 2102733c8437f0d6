//! `[[endpoint]]`: client programs that Windows Firewall keeps off the tunnel.

use std::fmt;

use ipnet::IpNet;

use crate::policy::diagnostic::Collector;
use crate::policy::syntax::write::{header, list, pair, values};
use crate::policy::syntax::{Form, Header, Key, Kind, Names, PolicyFile, Section, SectionTable};
use crate::policy::value::{Product, Sourced, Word, parse_path, parse_prefix};

/// `[[endpoint]]`: a client program that Windows Firewall keeps off the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The operator's name for it.
    pub name: Sourced<String>,
    /// The product whose programs they are; at least one program without it.
    pub product: Option<Sourced<Product>>,
    /// Paths of programs, beside those of the product.
    pub programs: Vec<Sourced<String>>,
    /// The network profile under which its rules hold.
    pub profile: FirewallProfile,
    /// The kind of interface on which its rules hold.
    pub interface_type: InterfaceType,
    /// The client's own addresses; `vpn.client_subnets` when empty.
    pub local: Vec<Sourced<IpNet>>,
    /// Addresses at which it is blocked; corporate and client subnets and servers, without what is public, when empty.
    pub remote: Vec<Sourced<IpNet>>,
}

/// Windows Firewall's network profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FirewallProfile {
    /// Networks on which the computer reaches its domain.
    Domain,
    /// Networks marked as private.
    Private,
    /// All other networks.
    Public,
    /// Every network; the rules' local address keeps them to the VPN.
    #[default]
    Any,
}

impl Word for FirewallProfile {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("domain", Self::Domain),
        ("private", Self::Private),
        ("public", Self::Public),
        ("any", Self::Any),
    ];
}

/// Windows Firewall's kinds of interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum InterfaceType {
    /// The VPN that Windows itself makes; third-party clients' adapters are not of this kind.
    RemoteAccess,
    /// Wired LAN, most third-party VPN adapters included.
    Wired,
    /// Wireless LAN.
    Wireless,
    /// Every interface; the rules' local address keeps them to the VPN.
    #[default]
    Any,
}

impl Word for InterfaceType {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("remote-access", Self::RemoteAccess),
        ("wired", Self::Wired),
        ("wireless", Self::Wireless),
        ("any", Self::Any),
    ];
}

const NAME: Key = Key::new("name", Kind::Text(Form::Name))
    .required()
    .example("\"Skype for Business\"")
    .means("Your name for it, in the names of rules; no two endpoints share one")
    .since("0.1");

const PRODUCT: Key = Key::new("product", Kind::word::<Product>())
    .otherwise("none; `programs` is required then")
    .example("\"teams\"")
    .means("Microsoft client, which stands for the programs of its usual installation")
    .since("0.1");

const PROGRAMS: Key = Key::new("programs", Kind::Texts(Form::Path))
    .otherwise("those of `product`")
    .example("['%ProgramFiles%\\Microsoft Office\\root\\Office16\\lync.exe']")
    .means("Paths of programs, beside those of `product`; variables must be ones that the system account has, and `*` stands for what differs from client to client")
    .since("0.1");

const PROFILE: Key = Key::new("profile", Kind::word::<FirewallProfile>())
    .default("\"any\"")
    .example("\"domain\"")
    .means("Network profile of Windows Firewall under which its rules hold")
    .since("0.1");

const INTERFACE_TYPE: Key = Key::new("interface_type", Kind::word::<InterfaceType>())
    .default("\"any\"")
    .example("\"remote-access\"")
    .means("Kind of interface on which its rules hold: `\"remote-access\"` is Windows' own VPN alone; adapters of OpenVPN, WireGuard or AnyConnect need `\"any\"`")
    .since("0.1");

const LOCAL: Key = Key::new("local", Kind::Texts(Form::Prefix))
    .non_empty()
    .otherwise("`vpn.client_subnets`")
    .example("[\"172.16.1.0/24\"]")
    .means("The client's own addresses for which its rules hold")
    .since("0.1");

const REMOTE: Key = Key::new("remote", Kind::Texts(Form::Prefix))
    .non_empty()
    .otherwise("corporate and client subnets and servers, without what is public")
    .example("[\"10.0.0.0/8\"]")
    .means("Addresses that the programs are kept from")
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "endpoint",
    header: Header::Repeated,
    meaning: "The article's other method: rules of Windows Firewall, written by `offramp render`, that keep programs on the \
              clients from internal addresses.",
    keys: &[
        NAME,
        PRODUCT,
        PROGRAMS,
        PROFILE,
        INTERFACE_TYPE,
        LOCAL,
        REMOTE,
    ],
    examples: &[
        "name = \"Skype for Business\"\nprograms = ['%ProgramFiles%\\Microsoft Office\\root\\Office16\\lync.exe']\n",
        "name = \"Teams\"\nproduct = \"teams\"\n",
    ],
};

/// Reads every `[[endpoint]]`.
pub(in crate::policy) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> Vec<Endpoint> {
    let mut names = Names::default();
    let mut endpoints = Vec::new();
    for section in Section::repeated(file, &SECTION, out) {
        let name = names.read(&section, &NAME, out);
        let product = section.word(&PRODUCT, out);
        // One of the two is needed, and a product that nobody knows is said to be one.
        let programs = if section.has(&PRODUCT) {
            PROGRAMS
        } else {
            PROGRAMS.required()
        };
        let programs = section.list(&programs, parse_path, out);
        let profile = section.word_or_default(&PROFILE, out);
        let interface_type = section.word_or_default(&INTERFACE_TYPE, out);
        let local = section.list(&LOCAL, parse_prefix, out);
        let remote = section.list(&REMOTE, parse_prefix, out);
        endpoints.extend(name.map(|name| Endpoint {
            name,
            product,
            programs,
            profile,
            interface_type,
            local,
            remote,
        }));
    }
    endpoints
}

impl Endpoint {
    /// Writes the section.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        header(out, &SECTION)?;
        pair(out, &NAME, &self.name.value)?;
        if let Some(product) = &self.product {
            pair(out, &PRODUCT, product.value)?;
        }
        if self.product.is_none() || !self.programs.is_empty() {
            list(out, &PROGRAMS, values(&self.programs))?;
        }
        pair(out, &PROFILE, self.profile.word())?;
        pair(out, &INTERFACE_TYPE, self.interface_type.word())?;
        for (key, prefixes) in [(&LOCAL, &self.local), (&REMOTE, &self.remote)] {
            if !prefixes.is_empty() {
                list(out, key, values(prefixes))?;
            }
        }
        Ok(())
    }
}
