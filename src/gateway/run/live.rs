//! `offramp verify --live`: checks that this host behaves as the policy specifies.
//!
//! ```text
//!            names                          routes                         filter
//!  gateway   as dns.listen answers          public ones not by the VPN     the self-test of the running one
//!  client    as its resolvers answer        and the company's by it        -
//! ```
//!
//! The check itself changes nothing. It looks up a route by connecting a UDP socket that sends nothing: the local address that
//! the kernel assigns shows the route. The gateway makes the self-test, with packets that enter at the interfaces of the VPN as
//! clients' do.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use super::options::control_path;
use crate::address::Family;
use crate::filter::CompiledPolicy;
use crate::gateway::host::addresses::{IPV4_DUMMY, local_addresses};
use crate::gateway::report::control::{self, Request};
use crate::gateway::report::status::{Status, TrialState, TrialStatus};
use crate::gateway::resolver::probe::{ProbeClient, Reply};
use crate::name::record_type;
use crate::plan::zones::{Owner, Treatment};
use crate::plan::{Answer, RoutePlan, Zones};
use crate::policy::Policy;
use crate::verify::{Finding, FindingCode, Part};

/// The host that the check runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vantage {
    /// The concentrator on which the gateway runs.
    Gateway,
    /// A client of the VPN.
    Client,
}

/// Options of the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveOptions {
    /// The host that the check runs on.
    pub vantage: Vantage,
    /// The DNS servers to query; if empty, those that clients use.
    pub resolvers: Vec<SocketAddr>,
    /// The gateway's control socket; `None` for the one in the policy.
    pub control: Option<PathBuf>,
}

/// The result of the check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LiveReport {
    /// Deviations from the policy.
    pub findings: Vec<Finding>,
    /// Checks that were not possible, each with its reason.
    pub unchecked: Vec<String>,
}

/// Checks that this host behaves as the policy specifies. `file` is the policy file.
pub fn check(
    file: &Path,
    policy: &CompiledPolicy,
    plan: &RoutePlan,
    zones: &Zones,
    options: &LiveOptions,
) -> LiveReport {
    let mut check = LiveCheck {
        policy,
        // Without them no name is asked from an address in the tunnel.
        local: local_addresses().unwrap_or_default(),
        options,
        report: LiveReport::default(),
    };
    check.names(zones);
    check.routes(plan);
    if options.vantage == Vantage::Gateway {
        check.gateway(file);
    }
    check.report
}

struct LiveCheck<'a> {
    policy: &'a CompiledPolicy,
    /// The addresses of this host.
    local: Vec<IpAddr>,
    options: &'a LiveOptions,
    report: LiveReport,
}

impl LiveCheck<'_> {
    fn policy(&self) -> &Policy {
        self.policy.policy()
    }

    fn is_client(&self, address: IpAddr) -> bool {
        let mut clients = self.policy().vpn.client_subnets.iter();
        clients.any(|subnet| subnet.value.contains(&address))
    }

    /// An address of this host in the tunnel, of the same family as `like`.
    fn own_in_tunnel(&self, like: IpAddr) -> Option<IpAddr> {
        let mut own = self.local.iter().copied();
        own.find(|it| it.is_ipv4() == like.is_ipv4() && self.is_client(*it))
    }

    fn resolvers(&self) -> Vec<SocketAddr> {
        if !self.options.resolvers.is_empty() {
            return self.options.resolvers.clone();
        }
        match self.options.vantage {
            Vantage::Gateway => {
                let listen = self.policy().dns.listen.iter();
                listen.map(|it| it.value).collect()
            }
            Vantage::Client => resolv_conf(),
        }
    }

    fn names(&mut self, zones: &Zones) {
        let resolvers = self.resolvers();
        if resolvers.is_empty() {
            let unchecked = "names: no DNS server is known; write --resolver ADDRESS";
            self.report.unchecked.push(unchecked.to_owned());
        }
        for server in resolvers {
            if let Err(why) = self.names_at(server, zones) {
                let what = format!("the DNS server {server} does not answer: {why}");
                let finding = Finding::error(FindingCode::Blackhole, what)
                    .because(Part::Host, "it was asked as a client asks it")
                    .because(Part::Names, "clients resolve nothing");
                self.report.findings.push(finding);
            }
        }
    }

    fn names_at(&mut self, server: SocketAddr, zones: &Zones) -> Result<(), String> {
        // The server may answer clients only.
        let client = ProbeClient::new(server, self.own_in_tunnel(server.ip()));
        for owner in zones.owners() {
            let types: &[u16] = match &owner.treatment {
                Treatment::Pinned(_) => &[
                    record_type::A,
                    record_type::AAAA,
                    record_type::SRV,
                    record_type::HTTPS,
                ],
                Treatment::Hidden => &[record_type::A, record_type::AAAA, record_type::SRV],
                Treatment::NoData(_) => &[],
            };
            for asked in types {
                let reply = client.ask(&owner.name, *asked)?;
                let wanted = zones.answer(&owner.name, *asked);
                let finding = compare(server, owner, *asked, &wanted, &reply);
                self.report.findings.extend(finding);
            }
        }
        Ok(())
    }

    /// True if this host has an address of that family outside the tunnel, by which it may reach public services.
    fn has_home(&self, family: Family) -> bool {
        let mut own = self.local.iter().filter(|it| Family::from(**it) == family);
        own.any(|it| {
            let is_local = match it {
                IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || *v4 == IPV4_DUMMY,
                IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
            };
            !is_local && !self.is_client(*it)
        })
    }

    /// Checks the kernel's route to one address of each prefix of the policy.
    fn routes(&mut self, plan: &RoutePlan) {
        let mut homeless = [false; 2];
        for source in &plan.sources {
            let to = source.prefix.network();
            let is_public = source.kind.is_public() && !plan.tunnel.contains(to);
            let is_company = !source.kind.is_public()
                && self.options.vantage == Vantage::Client
                && plan.tunnel.contains(to)
                && !self.is_client(to);
            if !(is_public || is_company) || !plan.families.contains(to) {
                continue;
            }
            let to = if to == source.prefix.broadcast() {
                to
            } else {
                source.prefix.hosts().next().unwrap_or(to)
            };
            let finding = match source_towards(to) {
                Ok(from) if self.is_client(from) == is_company => continue,
                Ok(from) if is_public => {
                    let what =
                        format!("the kernel leads \"{}\" into the tunnel: {to}", source.kind);
                    Finding::error(FindingCode::Leak, what)
                        .because(Part::Host, format!("packets to it would leave from {from}"))
                        .because(Part::Routes, "the policy keeps it outside")
                }
                Ok(from) => {
                    let what = format!("the kernel leads {} {to} past the tunnel", source.kind);
                    Finding::error(FindingCode::Collateral, what)
                        .because(Part::Host, format!("packets to it would leave from {from}"))
                        .because(Part::Routes, "the policy has it in the tunnel")
                }
                Err(_) if is_public && !self.has_home(Family::from(to)) => {
                    homeless[Family::from(to) as usize] = true;
                    continue;
                }
                Err(error) => {
                    let what = format!("the kernel has no way to \"{}\": {to}", source.kind);
                    Finding::error(FindingCode::Blackhole, what)
                        .because(Part::Host, error.to_string())
                }
            };
            self.report.findings.push(finding.at(source.line));
        }
        for family in Family::BOTH.into_iter().filter(|it| homeless[*it as usize]) {
            self.report.unchecked.push(format!(
                "routes: this host has no {} outside the tunnel; services are reached by the other family",
                family.name()
            ));
        }
    }

    /// Checks that the gateway runs with this policy and passes its self-test.
    fn gateway(&mut self, file: &Path) {
        let gateway = &self.policy().gateway;
        let control = self.options.control.as_deref();
        let control = control.unwrap_or_else(|| control_path(gateway)).to_owned();
        let status = match control::ask(&control) {
            Ok(status) => status,
            Err(error) => {
                let what = format!("no gateway answers at {}: {error}", control.display());
                let finding = Finding::error(FindingCode::Leak, what)
                    .because(Part::Host, "nothing is judged here")
                    .remedy(format!("start it: offramp run {}", file.display()));
                return self.report.findings.push(finding);
            }
        };
        self.report.findings.extend(about_status(&status, file));
        self.self_test(&control);
    }

    /// Has the gateway send packets through its interfaces as clients would.
    fn self_test(&mut self, control: &Path) {
        let tested = control::request(control, Request::SelfTest);
        let outcome = tested.map(|status| status.diversion.self_test);
        let failures = match outcome {
            Ok(Some(outcome)) => {
                let untested = outcome.untested.iter();
                let untested = untested.map(|it| format!("filter: {it}"));
                self.report.unchecked.extend(untested);
                outcome.failures
            }
            Ok(None) => {
                let unchecked = "filter: the gateway makes no self-test now: everything is bypassed, or its log tells why";
                return self.report.unchecked.push(unchecked.to_owned());
            }
            Err(error) => vec![format!("the gateway does not answer: {error}")],
        };
        for failure in failures {
            let what = format!("the self-test of the gateway failed: {failure}");
            let finding = Finding::error(FindingCode::Leak, what)
                .because(Part::Host, "packets of its own take the way of clients'")
                .remedy("`offramp status` tells what is judged, and by which policy");
            self.report.findings.push(finding);
        }
    }
}

fn about_status(status: &Status, file: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if real(Path::new(&status.policy)) != real(file) {
        let what = format!("the gateway goes by another policy: {}", status.policy);
        findings.push(Finding::warning(FindingCode::Stale, what));
    }
    if let Some(why) = &status.reloads.last_error {
        let what = format!(
            "the gateway has refused the policy as it reads now; generation {} stays in force",
            status.generation
        );
        let first = why.lines().next().unwrap_or_default();
        findings.push(Finding::error(FindingCode::Stale, what).because(Part::Host, first));
    }
    if status.diversion.bypassed {
        let finding = Finding::error(
            FindingCode::Leak,
            "the gateway judges nothing: bypass is on",
        );
        let finding = finding.because(Part::Host, "everything passes");
        findings.push(finding.remedy("offramp bypass off"));
    }
    if let Some(gap) = &status.enforcement.gap {
        let finding = Finding::error(FindingCode::Leak, gap);
        let finding = finding.because(Part::Host, "what the gateway would drop otherwise passes");
        let is_over = |trial: TrialStatus| trial.state == TrialState::Over;
        let remedy = match status.enforcement.trial.is_some_and(is_over) {
            true => {
                "`offramp keep` enforces it until offramp ends, `offramp enforce --for 10m` for another while"
            }
            false => "take gateway.enforce and gateway.pilot out of the policy",
        };
        findings.push(finding.remedy(remedy));
    }
    for found in &status.health {
        let finding = match found.severity.as_str() {
            "error" => Finding::host_error(&found.what, &found.remedy),
            _ => Finding::host_warning(&found.what, &found.remedy),
        };
        findings.push(finding.because(Part::Host, "the running gateway reports it"));
    }
    for interface in &status.diversion.interfaces {
        if interface.present.is_empty() {
            let what = format!("there is no interface \"{}\"", interface.pattern);
            findings.push(
                Finding::warning(FindingCode::Leak, what)
                    .because(Part::Host, "nothing that enters from it is judged"),
            );
        }
    }
    findings
}

/// Compares a server's answer for a name with the policy.
fn compare(
    server: SocketAddr,
    owner: &Owner,
    asked: u16,
    wanted: &Answer<'_>,
    reply: &Reply,
) -> Option<Finding> {
    let asked = record_type::text(asked);
    let question = format!("{} {asked}", owner.name);
    let data = wanted.data();
    let finding = match wanted {
        Answer::Records { .. } | Answer::NoData { .. } => {
            let unexpected = reply.data.iter().find(|it| !data.contains(it));
            let is_whole = data.iter().all(|it| reply.data.contains(it));
            match unexpected {
                Some(unexpected) => Finding::error(
                    FindingCode::Leak,
                    format!("{server} answers {question} with {unexpected}"),
                ),
                None if is_whole => return None,
                None => Finding::error(
                    FindingCode::InternalRegistration,
                    format!("{server} does not pin {question}"),
                ),
            }
        }
        Answer::NxDomain { .. } if !reply.data.is_empty() => Finding::error(
            FindingCode::InternalRegistration,
            format!("{server} does not hide {question}"),
        ),
        Answer::NxDomain { .. } | Answer::Forward => return None,
    };
    let by_policy = match wanted {
        Answer::Records { .. } => data.join(", "),
        Answer::NoData { .. } => "no data".to_owned(),
        Answer::NxDomain { .. } | Answer::Forward => "no such name".to_owned(),
    };
    let line = owner.sources.first().map_or(0, |it| it.line);
    Some(
        finding
            .at(line)
            .because(Part::Host, reply.to_string())
            .because(Part::Names, format!("by the policy: {by_policy}")),
    )
}

/// The source address that this host would use towards `to`; sends nothing.
fn source_towards(to: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match to {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    // STUN's port; any port would do.
    socket.connect((to, 3_478))?;
    Ok(socket.local_addr()?.ip())
}

/// The name servers of `/etc/resolv.conf` (resolv.conf(5)).
fn resolv_conf() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words
            .next()
            .filter(|it| *it == "nameserver")
            .and(words.next())?;
        Some(SocketAddr::new(address.parse().ok()?, 53))
    });
    servers.collect()
}
