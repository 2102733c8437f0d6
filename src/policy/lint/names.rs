//! The checks of names: what VPN clients need to find outside and would not, or would find inside.

use std::net::SocketAddr;

use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::meaning::Policy;
use crate::policy::section::public::{self, PublicService};
use crate::policy::section::{corporate, dns};
use crate::policy::syntax::{Place, PolicyFile};

/// Adds what is to be said about hosts, service records and the DNS server.
pub(in crate::policy) fn check_names(
    policy: &Policy,
    file: &PolicyFile<'_>,
    out: &mut Collector<'_>,
) {
    check_upstreams(policy, file, out);
    check_sip_domains(policy, file, out);
    for (position, public) in policy.publics.iter().enumerate() {
        check_hosts(policy, public, position, file, out);
        check_srv(policy, public, position, file, out);
        check_exchange(public, position, file, out);
    }
}

/// An upstream that is the server itself asks itself for ever; without one, only pinned and hidden names are answered.
fn check_upstreams(policy: &Policy, file: &PolicyFile<'_>, out: &mut Collector<'_>) {
    let is_default = policy.dns.upstreams.is_empty();
    let (section, key) = if is_default {
        (&corporate::SECTION, &corporate::DNS_SERVERS)
    } else {
        (&dns::SECTION, &dns::UPSTREAMS)
    };
    let upstreams = policy.dns_upstreams();
    for (item, upstream) in upstreams.iter().enumerate() {
        let mut listen = policy.dns.listen.iter();
        if !listen.any(|listen| reaches(upstream.value, listen.value)) {
            continue;
        }
        let place = Place {
            section,
            position: 0,
            key,
            item,
        };
        let shown = if is_default {
            format!("DNS server {}", upstream.value.ip())
        } else {
            format!("upstream {}", upstream.value)
        };
        let message = format!("{shown} is `dns.listen` itself: it would ask itself for ever");
        let label = out.text.label(file.span(place), "listens here");
        let problem = Diagnostic::error(Code::DnsLoop, message).with_label(label);
        out.add(
            problem.with_help("write the internal DNS server that answers what offramp does not"),
        );
    }
    if upstreams.is_empty() && !policy.dns.listen.is_empty() {
        let place = Place {
            section: &dns::SECTION,
            position: 0,
            key: &dns::LISTEN,
            item: 0,
        };
        let message = "the DNS server has no upstream: names that are neither pinned nor hidden get no answer";
        let label = out.text.label(file.span(place), "listens here");
        let problem = Diagnostic::warning(Code::DnsWithoutUpstream, message).with_label(label);
        out.add(problem.with_help(
            "write the internal DNS servers, e.g. [corporate] dns_servers = [\"10.0.0.53\"]",
        ));
    }
}

/// Returns `true` if a query to `upstream` comes out at `listen`.
fn reaches(upstream: SocketAddr, listen: SocketAddr) -> bool {
    let same_family = upstream.is_ipv4() == listen.is_ipv4();
    // `0.0.0.0` listens at every address of this host, of which the policy tells only the loopback.
    let everywhere = listen.ip().is_unspecified() && same_family;
    let here = upstream.ip().is_loopback() || upstream.ip().is_unspecified();
    upstream.port() == listen.port() && (upstream.ip() == listen.ip() || (everywhere && here))
}

/// Names by which clients of a SIP domain find their way outside.
fn check_sip_domains(policy: &Policy, file: &PolicyFile<'_>, out: &mut Collector<'_>) {
    // A policy without hosts does not speak of names at all: another DNS server pins them.
    if policy
        .publics
        .iter()
        .all(|it| it.hosts.is_empty() && it.srv.is_empty())
    {
        return;
    }
    for (item, domain) in policy.dns.sip_domains.iter().enumerate() {
        let domain = &domain.value;
        let mut missing = Vec::new();
        for host in ["lyncdiscover", "sip"] {
            let name = format!("{host}.{domain}");
            if !hosts(policy).any(|host| host == name) {
                missing.push(name);
            }
        }
        let service = format!("{SIP_SERVICE}.{domain}");
        if !services(policy).any(|name| name == service) {
            missing.push(service);
        }
        if missing.is_empty() {
            continue;
        }
        let place = Place {
            section: &dns::SECTION,
            position: 0,
            key: &dns::SIP_DOMAINS,
            item,
        };
        let message = format!(
            "clients of the SIP domain {domain} look for {}, which no [[public]] service has",
            missing.join(" and ")
        );
        let label = out
            .text
            .label(file.span(place), "its internal names are hidden");
        let problem = Diagnostic::warning(Code::NameMissing, message).with_label(label);
        out.add(problem.with_help(
            "write them as `hosts`, or as `srv`, of the services that have them outside: what the \
             internal DNS server says of them leads inside",
        ));
    }
}

fn check_hosts(
    policy: &Policy,
    public: &PublicService,
    position: usize,
    file: &PolicyFile<'_>,
    out: &mut Collector<'_>,
) {
    let name = &public.name.value;
    let place = |item| Place {
        section: &public::SECTION,
        position,
        key: &public::HOSTS,
        item,
    };
    if !public.hosts.is_empty() && public.host_addresses().next().is_none() {
        let message = format!(
            "the hosts of \"{name}\" are not pinned: it has prefixes, and no single address to answer with"
        );
        let label = out
            .text
            .label(file.span(place(0)), "left to the DNS servers");
        let problem = Diagnostic::warning(Code::HostWithoutAddress, message).with_label(label);
        out.add(
            problem
                .with_help("write the address that the hosts have outside, e.g. \"167.55.49.32\""),
        );
    }
    for (item, host) in public.hosts.iter().enumerate() {
        let span = file.span(place(item));
        if let Some(other) = hidden_by(policy, &host.value) {
            let message = format!(
                "{} is a host of \"{name}\", and {other} hides it",
                host.value
            );
            let label = out.text.label(span.clone(), "pinned");
            let problem = Diagnostic::warning(Code::PinnedAndHidden, message).with_label(label);
            out.add(
                problem.with_help("public comes first, so it is pinned; keep it in one of the two"),
            );
        }
        let registrar = host.value.strip_prefix("sip.");
        if let Some(domain) = registrar.filter(|domain| !is_sip_domain(policy, domain)) {
            let message = format!(
                "{} is pinned, but {domain} is none of `dns.sip_domains`: clients still find its internal servers",
                host.value
            );
            let label = out
                .text
                .label(span, "where clients of that SIP domain register");
            let problem = Diagnostic::warning(Code::SipDomainMissing, message).with_label(label);
            out.add(problem.with_help(format!(
                "write [dns] sip_domains = [\"{domain}\"]: lyncdiscoverinternal, sipinternal, \
                 _sipinternaltls._tcp and _sipinternal._tcp below it are hidden then"
            )));
        }
    }
}

/// Names the rule that hides `host`, in prose.
fn hidden_by(policy: &Policy, host: &str) -> Option<String> {
    let mut servers = policy.servers.iter();
    let server = servers.find(|server| server.hosts.iter().any(|it| it.value == host));
    if let Some(server) = server {
        return Some(format!("[[server]] \"{}\"", server.name.value));
    }
    let (label, domain) = host.split_once('.')?;
    let internal = ["lyncdiscoverinternal", "sipinternal"].contains(&label);
    (internal && is_sip_domain(policy, domain)).then(|| "`dns.sip_domains`".to_owned())
}

fn is_sip_domain(policy: &Policy, domain: &str) -> bool {
    policy.dns.sip_domains.iter().any(|it| it.value == domain)
}

fn check_srv(
    policy: &Policy,
    public: &PublicService,
    position: usize,
    file: &PolicyFile<'_>,
    out: &mut Collector<'_>,
) {
    for (item, record) in public.srv.iter().enumerate() {
        let (name, target) = (&record.name.value, &record.target);
        let span = file.span(Place {
            section: &public::SECTION,
            position,
            key: &public::SRV,
            item,
        });
        let domain = name.splitn(3, '.').nth(2).unwrap_or_default();
        let inside = target.strip_suffix(domain);
        let is_inside = inside.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        // Of other services' clients no such rule is known.
        if name.starts_with("_sip") && !is_inside {
            let message =
                format!("the target {target} of {name} is not in {domain}: clients refuse it");
            let label = out.text.label(span.clone(), "in another domain");
            let problem = Diagnostic::warning(Code::SrvTargetOutside, message).with_label(label);
            out.add(problem.with_help(format!(
                "name a host of the SIP domain that has the Edge's address, e.g. sip.{domain}"
            )));
        }
        let is_pinned = policy.publics.iter().any(|public| {
            public.hosts.iter().any(|host| host.value == *target)
                && public.host_addresses().next().is_some()
        });
        if !is_pinned {
            let message = format!(
                "the target {target} of {name} is not pinned: the internal DNS server says where it is"
            );
            let label = out.text.label(span, "no [[public]] service has this host");
            let problem = Diagnostic::warning(Code::SrvTargetNotPinned, message).with_label(label);
            out.add(problem.with_help(format!(
                "write hosts = [\"{target}\"] in the service that has its public address"
            )));
        }
    }
}

/// Autodiscover only tells where Exchange is; what it tells has to be pinned, too.
fn check_exchange(
    public: &PublicService,
    position: usize,
    file: &PolicyFile<'_>,
    out: &mut Collector<'_>,
) {
    let [host] = &public.hosts[..] else {
        return;
    };
    if !host.value.starts_with("autodiscover.") {
        return;
    }
    let place = Place {
        section: &public::SECTION,
        position,
        key: &public::HOSTS,
        item: 0,
    };
    let message = format!(
        "{} is pinned alone: it names another host for Exchange Web Services, which clients then find inside",
        host.value
    );
    let label = out.text.label(file.span(place), "tells where Exchange is");
    let problem = Diagnostic::warning(Code::ExchangeHostMissing, message).with_label(label);
    out.add(problem.with_help(
        "add the hosts of the internal and external URLs (`Get-WebServicesVirtualDirectory | fl *Url`), and that of the \
         service connection point, which domain members ask first (`Get-ClientAccessService | fl AutoDiscoverServiceInternalUri`)",
    ));
}

/// Every host of a public service.
fn hosts(policy: &Policy) -> impl Iterator<Item = &str> {
    let hosts = policy.publics.iter().flat_map(|public| &public.hosts);
    hosts.map(|host| host.value.as_str())
}

/// Every name with a service record.
fn services(policy: &Policy) -> impl Iterator<Item = &str> {
    let records = policy.publics.iter().flat_map(|public| &public.srv);
    records.map(|record| record.name.value.as_str())
}

/// The service by which clients outside find the Access Edge.
const SIP_SERVICE: &str = "_sip._tls";
