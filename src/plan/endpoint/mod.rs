//! [`EndpointRules`]: the Windows Firewall rules that block programs on the clients themselves.
//!
//! Implements the first method of the article: two rules per program, inbound and outbound, for all ports and
//! protocols, between the client's tunnel address and all internal addresses. A block rule wins over the allow rule
//! that a client installs for itself, so exceptions of the policy are cut out of it ([`blocked`]).
//!
//! ```text
//!  local     the client's address in the tunnel                          vpn.client_subnets
//!  remote    what is internal, and not public     corporate.subnets, vpn.client_subnets, [[server]]
//! ```
//!
//! Public addresses are left out, as in the filter: calls must not fail there even if they enter the tunnel by mistake.
//! If the filter drops leaks, or the endpoint says so, they are blocked, too: the client fails at once and takes its direct
//! path (Microsoft, "Securing Teams media traffic for VPN split tunneling").
//!
//! A program is known by its path, by a tag of App Control, by its package, or not at all: by the client's own ports.

mod blocked;

pub use blocked::BlockedTraffic;

use crate::address::{PortRange, PortSet, PrefixSet};
use crate::policy::{
    Code, Endpoint, EndpointMatch, FirewallProfile, InterfaceType, LeakedPublic, Policy, Product,
    Remark,
};

/// The rules of every `[[endpoint]]`, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRules {
    /// Name of the policy file.
    pub origin: String,
    /// One rule for each program, or several where exceptions are cut out.
    pub rules: Vec<EndpointRule>,
    /// Remarks on rules that would silently have no effect.
    pub remarks: Vec<Remark>,
}

/// A program blocked in both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRule {
    /// The operator's name of the endpoint.
    pub endpoint: String,
    /// Line of the policy file with the program or its product.
    pub line: u32,
    /// The programs that it is about.
    pub subject: EndpointSubject,
    /// The product that the program belongs to.
    pub product: Option<Product>,
    /// The client's own addresses.
    pub local: PrefixSet,
    /// The remote addresses that the program cannot reach.
    pub remote: PrefixSet,
    /// The traffic with them that is blocked.
    pub traffic: BlockedTraffic,
    /// The firewall profile in which the rules apply.
    pub profile: FirewallProfile,
    /// The interface type on which the rules apply.
    pub interface_type: InterfaceType,
}

/// The programs of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointSubject {
    /// The program at this path, with environment variables; `*` stands for a part that differs between clients.
    Program(String),
    /// Processes with this AppId tag.
    AppId(String),
    /// Processes of this package family.
    Package(String),
    /// Every program: the client's own ports tell which traffic it is.
    Everything,
}

/// The direction of a firewall rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Inbound packets.
    In,
    /// Outbound packets.
    Out,
}

impl Direction {
    /// Both directions.
    pub const BOTH: [Self; 2] = [Self::In, Self::Out];

    /// Returns the direction as it appears in rule names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

impl EndpointRules {
    /// Builds the rules of `policy`, whose feeds must be loaded.
    pub fn of(policy: &Policy) -> Self {
        let mut rules = Vec::new();
        let mut remarks = Vec::new();
        for endpoint in &policy.endpoints {
            let own = rules_of(policy, endpoint);
            remarks.extend(families(endpoint, &own));
            remarks.extend(idle_keys(endpoint));
            for (line, subject, _) in subjects(endpoint) {
                if let EndpointSubject::Program(path) = subject {
                    remarks.extend(path_remark(&endpoint.name.value, &path, line));
                }
            }
            rules.extend(own);
        }
        Self {
            origin: policy.origin.clone(),
            rules,
            remarks,
        }
    }
}

impl EndpointRule {
    /// Returns the path of its program, if it goes by one.
    pub fn program(&self) -> Option<&str> {
        match &self.subject {
            EndpointSubject::Program(path) => Some(path),
            EndpointSubject::AppId(_)
            | EndpointSubject::Package(_)
            | EndpointSubject::Everything => None,
        }
    }

    /// Returns its subject in a word: the program's file name without its folder, the tag, the package.
    pub fn short_subject(&self) -> &str {
        match &self.subject {
            EndpointSubject::Program(path) => path.rsplit('\\').next().unwrap_or(path),
            EndpointSubject::AppId(tag) => tag,
            EndpointSubject::Package(name) => name,
            EndpointSubject::Everything => "every program",
        }
    }

    /// Returns `true` if the path has to be resolved on each client.
    pub fn is_looked_up(&self) -> bool {
        self.program().is_some_and(|path| path.contains('*'))
    }
}

fn rules_of(policy: &Policy, endpoint: &Endpoint) -> Vec<EndpointRule> {
    let written = |prefixes: &[crate::policy::Sourced<ipnet::IpNet>]| -> PrefixSet {
        prefixes.iter().map(|it| it.value).collect()
    };
    let local = if endpoint.local.is_empty() {
        written(&policy.vpn.client_subnets)
    } else {
        written(&endpoint.local)
    };
    let mut remote = if endpoint.remote.is_empty() {
        internal(policy)
    } else {
        written(&endpoint.remote)
    };
    let public = public(policy);
    if leaked_public(policy, endpoint) == LeakedPublic::Drop {
        remote = remote.union(&public);
    }
    let own_ports = own_ports(endpoint);
    let blocked = blocked::blocked(policy, &public, &remote, own_ports.as_ref());
    let mut rules = Vec::new();
    for (line, subject, product) in subjects(endpoint) {
        rules.extend(blocked.iter().map(|blocked| EndpointRule {
            endpoint: endpoint.name.value.clone(),
            line,
            subject: subject.clone(),
            product,
            local: local.clone(),
            remote: blocked.remote.clone(),
            traffic: blocked.traffic.clone(),
            profile: endpoint.profile,
            interface_type: endpoint.interface_type,
        }));
    }
    rules
}

/// Returns what becomes of public services at the tunnel address of a client.
fn leaked_public(policy: &Policy, endpoint: &Endpoint) -> LeakedPublic {
    endpoint
        .leaked_public
        .map_or(policy.filter.leaked_public, |it| it.value)
}

/// Returns the programs of an endpoint, each with its line and product.
fn subjects(endpoint: &Endpoint) -> Vec<(u32, EndpointSubject, Option<Product>)> {
    let product = endpoint.product.iter();
    match endpoint.matched_by {
        EndpointMatch::Path => {
            let of_product = product.flat_map(|product| {
                let programs = product.value.programs().iter();
                programs.map(|it| (product.line, (*it).to_owned(), Some(product.value)))
            });
            let written = endpoint.programs.iter();
            let written = written.map(|it| (it.line, it.value.clone(), None));
            of_product
                .chain(written)
                .map(|(line, path, product)| (line, EndpointSubject::Program(path), product))
                .collect()
        }
        EndpointMatch::AppId => {
            let tags = endpoint.app_id.iter();
            tags.map(|it| (it.line, EndpointSubject::AppId(it.value.clone()), None))
                .collect()
        }
        EndpointMatch::Package => {
            let of_product = product.filter_map(|product| {
                let name = product.value.package()?.to_owned();
                Some((product.line, EndpointSubject::Package(name), None))
            });
            let written = endpoint.packages.iter();
            let written =
                written.map(|it| (it.line, EndpointSubject::Package(it.value.clone()), None));
            of_product.chain(written).collect()
        }
        EndpointMatch::Ports => {
            vec![(endpoint.name.line, EndpointSubject::Everything, None)]
        }
    }
}

/// Returns the client's own ports of an endpoint that goes by them.
fn own_ports(endpoint: &Endpoint) -> Option<PortSet> {
    if endpoint.matched_by != EndpointMatch::Ports {
        return None;
    }
    let of_product = endpoint.product.and_then(|it| it.value.local_ports());
    let of_product = of_product.and_then(|(first, last)| PortRange::new(first, last));
    let written = endpoint.local_ports.iter().map(|it| it.value);
    Some(if endpoint.local_ports.is_empty() {
        of_product.into_iter().collect()
    } else {
        written.collect()
    })
}

/// Returns all internal addresses that are not public.
fn internal(policy: &Policy) -> PrefixSet {
    let servers = policy.servers.iter().map(|it| &it.addresses);
    let lists = [&policy.corporate.subnets, &policy.vpn.client_subnets];
    let internal = lists
        .into_iter()
        .chain(servers)
        .flatten()
        .map(|it| it.value);
    let internal: PrefixSet = internal.collect();
    internal.subtract(&public(policy))
}

/// Returns the addresses of public services and feeds.
fn public(policy: &Policy) -> PrefixSet {
    let services = policy.publics.iter().flat_map(|it| &it.addresses);
    let feeds = policy.feeds.iter().flat_map(|it| it.prefixes.iter());
    let public = services.map(|it| it.value);
    public
        .chain(feeds.flatten().map(|taken| taken.prefix))
        .collect()
}

/// Remarks on a family that only one side of the rules has: no packet of it matches.
fn families(endpoint: &Endpoint, rules: &[EndpointRule]) -> Vec<Remark> {
    let Some(rule) = rules.first() else {
        return Vec::new();
    };
    let has_remote = |has: fn(&PrefixSet) -> bool| rules.iter().any(|rule| has(&rule.remote));
    let sides = [
        ("IPv4", rule.local.has_v4(), has_remote(PrefixSet::has_v4)),
        ("IPv6", rule.local.has_v6(), has_remote(PrefixSet::has_v6)),
    ];
    let lacking = sides.into_iter().filter_map(|(family, local, remote)| {
        let side = match (local, remote) {
            (true, false) => "remote",
            (false, true) => "local",
            (true, true) | (false, false) => return None,
        };
        let message = format!(
            "[[endpoint]] \"{}\" does nothing for {family}: its {side} addresses have none",
            endpoint.name.value
        );
        let remark = Remark::warning(Code::EndpointNeverMatches, message);
        Some(remark.at(endpoint.name.line).help(format!(
            "add the {family} prefixes, or ignore this where clients get no {family} through the tunnel"
        )))
    });
    lacking.collect()
}

/// Remarks on a path that the firewall service would not find, or would lose with the next update.
fn path_remark(endpoint: &str, program: &str, line: u32) -> Option<Remark> {
    let path = program.to_ascii_lowercase();
    let variable = USER_VARIABLES.into_iter().find(|it| path.contains(it));
    let (what, help) = if let Some(variable) = variable {
        (
            format!(
                "{variable} differs from user to user, and the firewall's service runs as none of them"
            ),
            r"write e.g. '%SystemDrive%\Users\*\AppData\Local\Microsoft\Teams\current\Teams.exe': windows-firewall looks it up on the client",
        )
    } else if path.contains(r"\windowsapps\") && !program.contains('*') {
        (
            "its version is part of its path, and changes with the next update".to_owned(),
            r#"write product = "teams", or a `*` in place of the version: windows-firewall looks it up on the client"#,
        )
    } else if !path.ends_with(".exe") {
        (
            "it is no program: the path has to end in .exe".to_owned(),
            r"write e.g. '%ProgramFiles%\Microsoft Office\root\Office16\lync.exe'",
        )
    } else {
        return None;
    };
    let message = format!("[[endpoint]] \"{endpoint}\" would miss `{program}`: {what}");
    let remark = Remark::warning(Code::EndpointNeverMatches, message);
    Some(remark.at(line).help(help))
}

/// Remarks on keys that another `match` would read.
fn idle_keys(endpoint: &Endpoint) -> Vec<Remark> {
    let keys = [
        (
            "programs",
            EndpointMatch::Path,
            endpoint.programs.first().map(|it| it.line),
        ),
        (
            "app_id",
            EndpointMatch::AppId,
            endpoint.app_id.as_ref().map(|it| it.line),
        ),
        (
            "packages",
            EndpointMatch::Package,
            endpoint.packages.first().map(|it| it.line),
        ),
        (
            "local_ports",
            EndpointMatch::Ports,
            endpoint.local_ports.first().map(|it| it.line),
        ),
    ];
    let idle = keys
        .into_iter()
        .filter(|(_, by, _)| *by != endpoint.matched_by);
    let idle = idle.filter_map(|(key, by, line)| Some((key, by, line?)));
    let remark = |(key, by, line): (&str, EndpointMatch, u32)| {
        let message = format!(
            "`{key}` of [[endpoint]] \"{}\" has no effect: its match is \"{}\"",
            endpoint.name.value,
            endpoint.matched_by.word()
        );
        let remark = Remark::warning(Code::EndpointNeverMatches, message);
        let help = format!("write match = \"{}\", or leave the key out", by.word());
        remark.at(line).help(help)
    };
    idle.map(remark).collect()
}

/// Environment variables of a user, in lower case.
const USER_VARIABLES: [&str; 7] = [
    "%localappdata%",
    "%appdata%",
    "%userprofile%",
    "%username%",
    "%homepath%",
    "%temp%",
    "%tmp%",
];

#[cfg(test)]
mod tests {
    use super::EndpointRules;

    fn rules(text: &str) -> EndpointRules {
        let text = format!(
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\", \"167.55.0.0/16\"]\n\
             [[server]]\nname = \"Edge, internal\"\naddresses = [\"192.168.7.5\"]\n\
             [[public]]\nname = \"Edge\"\naddresses = [\"167.55.49.0/24\"]\n{text}"
        );
        let (policy, _) = crate::policy::parse("site.toml", text.as_bytes())
            .unwrap_or_else(|errors| panic!("{errors}"));
        EndpointRules::of(&policy)
    }

    fn said(text: &str) -> String {
        let remarks = rules(text).remarks;
        let said: Vec<&str> = remarks.iter().map(|it| it.message()).collect();
        said.join("\n")
    }

    #[test]
    fn the_rules_block_all_that_is_internal_and_nothing_public() {
        let rules = rules("[[endpoint]]\nname = \"Lync\"\nproduct = \"lync-2010\"\n").rules;
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[0].local.to_string(), "172.16.1.0/24");
        let remote = &rules[0].remote;
        for address in ["10.1.2.3", "172.16.1.9", "192.168.7.5", "167.55.48.1"] {
            assert!(remote.contains(address.parse().expect("an address")));
        }
        assert!(!remote.contains("167.55.49.34".parse().expect("an address")));
        assert_eq!(rules[0].short_subject(), "communicator.exe");
    }

    #[test]
    fn what_is_written_goes_before_what_follows_from_the_policy() {
        let rules = rules(
            "[[endpoint]]\nname = \"Lync\"\nproduct = \"teams\"\nprograms = ['C:\\a.exe']\nlocal = [\"10.8.0.0/16\"]\nremote = [\"10.1.0.0/16\"]\n",
        );
        assert_eq!(rules.rules.len(), 3);
        assert_eq!(rules.rules[2].program(), Some(r"C:\a.exe"));
        assert_eq!(rules.rules[2].local.to_string(), "10.8.0.0/16");
        assert_eq!(rules.rules[2].remote.to_string(), "10.1.0.0/16");
        assert!(rules.remarks.is_empty(), "{:?}", rules.remarks);
    }

    #[test]
    fn a_printed_endpoint_is_read_back_as_it_was() {
        let text = "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[[endpoint]]\nname = \"x\"\nproduct = \"teams\"\nlocal = [\"10.8.0.0/16\"]\n\
                    [[endpoint]]\nname = \"y\"\nproduct = \"lync-2010\"\nprograms = ['C:\\a.exe']\nremote = [\"10.1.0.0/16\"]\n";
        let (policy, _) = crate::policy::parse("site.toml", text.as_bytes()).expect("a policy");
        let printed = policy.to_string();
        let (again, _) = crate::policy::parse("site.toml", printed.as_bytes()).expect("printed");
        let said = |rules: EndpointRules| -> Vec<String> {
            let rules = rules.rules.into_iter();
            rules
                .map(|it| format!("{:?} {} {}", it.subject, it.local, it.remote))
                .collect()
        };
        assert_eq!(
            said(EndpointRules::of(&again)),
            said(EndpointRules::of(&policy))
        );
        assert_eq!(again.to_string(), printed);
    }

    #[test]
    fn a_path_that_would_not_be_found_is_remarked() {
        let endpoint = |path: &str| format!("[[endpoint]]\nname = \"x\"\nprograms = ['{path}']\n");
        let said = |path: &str| said(&endpoint(path));
        assert!(
            said(r"%LocalAppData%\Microsoft\Teams\current\Teams.exe").contains("from user to user")
        );
        assert!(
            said(r"C:\Program Files\WindowsApps\MSTeams_25306.8_x64__8wekyb3d8bbwe\ms-teams.exe")
                .contains("changes with the next update")
        );
        assert!(said(r"C:\Program Files\Lync").contains("no program"));
        assert_eq!(
            said(r"C:\Program Files\WindowsApps\MSTeams_*\ms-teams.exe"),
            ""
        );
    }

    #[test]
    fn a_family_that_one_side_lacks_is_remarked() {
        let said = said(
            "[[endpoint]]\nname = \"x\"\nproduct = \"teams\"\nlocal = [\"172.16.1.0/24\", \"fd00:1::/64\"]\n",
        );
        assert_eq!(
            said,
            "[[endpoint]] \"x\" does nothing for IPv6: its remote addresses have none"
        );
    }
}
