//! `[[endpoint]]`: client programs that Windows Firewall keeps off the tunnel.

use std::fmt;

use ipnet::IpNet;

use super::filter::LeakedPublic;
use crate::policy::diagnostic::Collector;
use crate::policy::services::parse_ports_of_services;
use crate::policy::syntax::write::{header, list, pair, values};
use crate::policy::syntax::{Form, Header, Key, Kind, Names, PolicyFile, Section, SectionTable};
use crate::policy::value::{
    PortRange, Product, Sourced, Word, parse_name, parse_path, parse_prefix,
};

/// `[[endpoint]]`: a client program that Windows Firewall keeps off the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The operator's name for it.
    pub name: Sourced<String>,
    /// The product whose programs they are; at least one program without it.
    pub product: Option<Sourced<Product>>,
    /// Property by which its rules know the client.
    pub matched_by: EndpointMatch,
    /// Paths of programs, beside those of the product.
    pub programs: Vec<Sourced<String>>,
    /// Tag that App Control gives to the programs; there under [`EndpointMatch::AppId`].
    pub app_id: Option<Sourced<String>>,
    /// Package family names, beside that of the product.
    pub packages: Vec<Sourced<String>>,
    /// The client's own ports; those of the product when empty.
    pub local_ports: Vec<Sourced<PortRange>>,
    /// The network profile under which its rules hold.
    pub profile: FirewallProfile,
    /// The kind of interface on which its rules hold.
    pub interface_type: InterfaceType,
    /// The client's own addresses; `vpn.client_subnets` when empty.
    pub local: Vec<Sourced<IpNet>>,
    /// Addresses at which it is blocked; corporate and client subnets and servers, without what is public, when empty.
    pub remote: Vec<Sourced<IpNet>>,
    /// Treatment of public services at the client's tunnel address; that of the filter when absent.
    pub leaked_public: Option<Sourced<LeakedPublic>>,
}

/// Property by which Windows Firewall knows a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EndpointMatch {
    /// The path of its programs.
    #[default]
    Path,
    /// A tag that App Control for Business gives to its processes.
    AppId,
    /// Its package family name.
    Package,
    /// The client's own ports, whichever program has them.
    Ports,
}

impl Word for EndpointMatch {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("path", Self::Path),
        ("app-id", Self::AppId),
        ("package", Self::Package),
        ("ports", Self::Ports),
    ];
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

impl EndpointMatch {
    /// Its word in a policy.
    pub fn word(self) -> &'static str {
        <Self as Word>::word(self)
    }
}

const NAME: Key = Key::new("name", Kind::Text(Form::Name))
    .required()
    .example("\"Skype for Business\"")
    .means("Your name for it, in the names of rules; no two endpoints share one")
    .since("0.1");

const PRODUCT: Key = Key::new("product", Kind::word::<Product>())
    .otherwise(
        "none; `programs`, `app_id`, `packages` or `local_ports` is required then, as `match` says",
    )
    .example("\"teams\"")
    .means("Client, which stands for the programs of its usual installation")
    .since("0.1");

const MATCH: Key = Key::new("match", Kind::word::<EndpointMatch>())
    .default("\"path\"")
    .example("\"path\"")
    .means("Property by which the rules know the client: `\"path\"` of its programs; `\"app-id\"`, a tag of App Control for Business; \
            `\"package\"`, its package family name (unverified for Teams, which runs with full trust); `\"ports\"`, the client's own ports, which block every program that uses them")
    .since("0.1");

const APP_ID: Key = Key::new("app_id", Kind::Text(Form::Name))
    .otherwise("none; required where `match` is `\"app-id\"`")
    .example("\"Teams\"")
    .means("Value of the AppId tag that a policy of App Control for Business gives to the client's processes")
    .since("0.1");

const PACKAGES: Key = Key::new("packages", Kind::Texts(Form::Name))
    .otherwise("that of `product`")
    .example("[\"MSTeams_8wekyb3d8bbwe\"]")
    .means("Package family names, beside that of `product`; for `match = \"package\"`")
    .since("0.1");

const LOCAL_PORTS: Key = Key::new("local_ports", Kind::Texts(Form::Ports))
    .otherwise("those of `product`")
    .example("[\"50000-50059\"]")
    .means("The client's own ports, TCP and UDP; for `match = \"ports\"`")
    .since("0.1");

const LEAKED_PUBLIC: Key = Key::new("leaked_public", Kind::word::<LeakedPublic>())
    .otherwise("`filter.leaked_public`")
    .example("\"drop\"")
    .means("Packets from the client's tunnel address to a public service: `\"drop\"` blocks them on the client, too, as Microsoft advises for Teams")
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
        MATCH,
        PROGRAMS,
        APP_ID,
        PACKAGES,
        LOCAL_PORTS,
        PROFILE,
        INTERFACE_TYPE,
        LOCAL,
        REMOTE,
        LEAKED_PUBLIC,
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
        let matched_by: EndpointMatch = section.word_or_default(&MATCH, out);
        let keys = KeysOfMatch::of(&section, matched_by, product.map(|it| it.value));
        let programs = section.list(&keys.programs, parse_path, out);
        let app_id = section.string(&keys.app_id, parse_name, out);
        let packages = section.list(&keys.packages, parse_name, out);
        let local_ports = section.list(&keys.local_ports, parse_ports_of_services, out);
        let profile = section.word_or_default(&PROFILE, out);
        let interface_type = section.word_or_default(&INTERFACE_TYPE, out);
        let local = section.list(&LOCAL, parse_prefix, out);
        let remote = section.list(&REMOTE, parse_prefix, out);
        let leaked_public = section.word(&LEAKED_PUBLIC, out);
        endpoints.extend(name.map(|name| Endpoint {
            name,
            product,
            matched_by,
            programs,
            app_id,
            packages,
            local_ports,
            profile,
            interface_type,
            local,
            remote,
            leaked_public,
        }));
    }
    endpoints
}

/// Keys that depend on `match`: what it asks for must be there, unless the product has it.
struct KeysOfMatch {
    programs: Key,
    app_id: Key,
    packages: Key,
    local_ports: Key,
}

impl KeysOfMatch {
    fn of(section: &Section<'_, '_>, matched_by: EndpointMatch, product: Option<Product>) -> Self {
        let needed = |key: Key, is_needed: bool| if is_needed { key.required() } else { key };
        // A product that nobody knows is said to be one.
        let is_misspelt = section.has(&PRODUCT) && product.is_none();
        let by = |it: EndpointMatch| it == matched_by && !is_misspelt;
        let has_package = product.is_some_and(|it| it.package().is_some());
        let has_ports = product.is_some_and(|it| it.local_ports().is_some());
        Self {
            programs: needed(PROGRAMS, by(EndpointMatch::Path) && product.is_none()),
            app_id: needed(APP_ID, by(EndpointMatch::AppId)),
            packages: needed(PACKAGES, by(EndpointMatch::Package) && !has_package),
            local_ports: needed(LOCAL_PORTS, by(EndpointMatch::Ports) && !has_ports),
        }
    }
}

impl Endpoint {
    /// Writes the section.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        header(out, &SECTION)?;
        pair(out, &NAME, &self.name.value)?;
        if let Some(product) = &self.product {
            pair(out, &PRODUCT, product.value)?;
        }
        pair(out, &MATCH, self.matched_by.word())?;
        if !self.programs.is_empty() {
            list(out, &PROGRAMS, values(&self.programs))?;
        }
        if let Some(app_id) = &self.app_id {
            pair(out, &APP_ID, &app_id.value)?;
        }
        if !self.packages.is_empty() {
            list(out, &PACKAGES, values(&self.packages))?;
        }
        if !self.local_ports.is_empty() {
            list(out, &LOCAL_PORTS, values(&self.local_ports))?;
        }
        pair(out, &PROFILE, self.profile.word())?;
        pair(out, &INTERFACE_TYPE, self.interface_type.word())?;
        for (key, prefixes) in [(&LOCAL, &self.local), (&REMOTE, &self.remote)] {
            if !prefixes.is_empty() {
                list(out, key, values(prefixes))?;
            }
        }
        if let Some(leaked) = self.leaked_public {
            pair(out, &LEAKED_PUBLIC, leaked.value.word())?;
        }
        Ok(())
    }
}
