//! [`Policy`]: what one policy file means, free of syntax.
//!
//! Every value here is valid by construction; [`Sourced`] keeps the line of the file it was written on, so that
//! `explain` can point at it. Two policies are equal when they mean the same and stand on the same lines.

use std::fmt::{self, Display};
use std::net::SocketAddr;

use ipnet::IpNet;

use crate::policy::diagnostic::Collector;
use crate::policy::section::accept::{self, Accept};
use crate::policy::section::allow::{self, Allow};
use crate::policy::section::check_sections;
use crate::policy::section::corporate::{self, Corporate};
use crate::policy::section::dns::{self, DNS_PORT, DnsOptions};
use crate::policy::section::endpoint::{self, Endpoint};
use crate::policy::section::feed::{self, Feed};
use crate::policy::section::filter::{self, FilterOptions};
use crate::policy::section::gateway::{self, GatewayOptions};
use crate::policy::section::media::{self, MediaOptions};
use crate::policy::section::profile;
use crate::policy::section::public::{self, PublicService};
use crate::policy::section::routes::{self, RouteOptions};
use crate::policy::section::server::{self, Server};
use crate::policy::section::test::{self, Expectation};
use crate::policy::section::vpn::{self, Ipv6Intent, VpnOptions};
use crate::policy::syntax::PolicyFile;
use crate::policy::value::Sourced;

/// The meaning of one policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Name of the file, for messages.
    pub origin: String,
    /// `[vpn]`.
    pub vpn: VpnOptions,
    /// `[corporate]`.
    pub corporate: Corporate,
    /// `[media]`.
    pub media: MediaOptions,
    /// `[filter]`.
    pub filter: FilterOptions,
    /// `[[server]]`, in file order.
    pub servers: Vec<Server>,
    /// `[[allow]]`, in file order.
    pub allows: Vec<Allow>,
    /// `[[public]]`, in file order.
    pub publics: Vec<PublicService>,
    /// `[[feed]]`, then `[[profile]]`, each in file order.
    pub feeds: Vec<Feed>,
    /// `[routes]`.
    pub routes: RouteOptions,
    /// `[dns]`.
    pub dns: DnsOptions,
    /// `[gateway]`.
    pub gateway: GatewayOptions,
    /// `[[endpoint]]`, in file order.
    pub endpoints: Vec<Endpoint>,
    /// `[[test]]`, in file order.
    pub tests: Vec<Expectation>,
    /// `[[accept]]`, in file order.
    pub accepts: Vec<Accept>,
}

impl Policy {
    /// Reads the whole file; `None` only where no client subnet could be read, and then `out` says why.
    ///
    /// The policy is complete when `out` holds no error.
    pub(super) fn read(
        origin: &str,
        file: &PolicyFile<'_>,
        out: &mut Collector<'_>,
    ) -> Option<Self> {
        check_sections(file, out);
        let vpn = vpn::read(file, out);
        let mut feeds = feed::read(file, out);
        let profiles = profile::read(file, &feeds, out);
        feeds.extend(profiles);
        let policy = Self {
            origin: origin.to_owned(),
            vpn: VpnOptions {
                interfaces: Vec::new(),
                client_subnets: Vec::new(),
                ipv6: Ipv6Intent::default(),
            },
            corporate: corporate::read(file, out),
            media: media::read(file, out),
            filter: filter::read(file, out),
            servers: server::read(file, out),
            allows: allow::read(file, out),
            publics: public::read(file, out),
            feeds,
            routes: routes::read(file, out),
            dns: dns::read(file, out),
            gateway: gateway::read(file, out),
            endpoints: endpoint::read(file, out),
            tests: test::read(file, out),
            accepts: accept::read(file, out),
        };
        vpn.map(|vpn| Self { vpn, ..policy })
    }

    /// The servers that answer what is not pinned or hidden: `dns.upstreams`, else `corporate.dns_servers` at port 53.
    pub fn dns_upstreams(&self) -> Vec<Sourced<SocketAddr>> {
        if !self.dns.upstreams.is_empty() {
            return self.dns.upstreams.clone();
        }
        let servers = self.corporate.dns_servers.iter();
        let upstreams = servers.map(|server| Sourced {
            value: SocketAddr::new(server.value, DNS_PORT),
            line: server.line,
        });
        upstreams.collect()
    }

    /// Prefixes that are answered: `dns.clients`, else `vpn.client_subnets`.
    pub fn dns_clients(&self) -> &[Sourced<IpNet>] {
        if self.dns.clients.is_empty() {
            &self.vpn.client_subnets
        } else {
            &self.dns.clients
        }
    }
}

/// A policy file that means this policy; parsing it gives an equal policy, but for lines and the file's name.
impl Display for Policy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.vpn.write(out)?;
        self.corporate.write(out)?;
        self.media.write(out)?;
        self.filter.write(out)?;
        self.servers.iter().try_for_each(|it| it.write(out))?;
        self.allows.iter().try_for_each(|it| it.write(out))?;
        self.publics.iter().try_for_each(|it| it.write(out))?;
        self.feeds.iter().try_for_each(|it| it.write(out))?;
        self.routes.write(out)?;
        self.dns.write(out)?;
        self.gateway.write(out)?;
        self.endpoints.iter().try_for_each(|it| it.write(out))?;
        self.tests.iter().try_for_each(|it| it.write(out))?;
        self.accepts.iter().try_for_each(|it| it.write(out))
    }
}
