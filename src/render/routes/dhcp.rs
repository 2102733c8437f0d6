//! DHCP: classless static routes, option 121 (RFC 3442) and Microsoft's 249, for Kea and dnsmasq.
//!
//! ```text
//!   08 0a ac 10 01 01
//!   │  │  └─ router 172.16.1.1
//!   │  └──── as many octets of the prefix as its length needs: 10
//!   └─────── length of the prefix: /8
//! ```
//!
//! Includes only, and IPv4 only: DHCPv6 has no option for routes. A client that gets option 121 ignores its default router
//! from option 3.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::lists::{Gateways, Lists, head};
use crate::plan::RoutePlan;
use crate::render::{Form, Measures, Options, RenderError, Rendered, Target};

/// The two options with the same contents: RFC 3442's, and the one that Windows asked for before.
pub(super) const OPTIONS: [u8; 2] = [121, 249];

/// The routes of an option, and what stands around them.
pub(super) struct StaticRoutes {
    /// Two lines, without comment signs.
    pub(super) head: [String; 2],
    pub(super) routes: Vec<Ipv4Net>,
    pub(super) via: Ipv4Addr,
    /// The contents of the option.
    pub(super) bytes: Vec<u8>,
}

impl StaticRoutes {
    pub(super) fn of(
        target: &'static Target,
        plan: &RoutePlan,
        options: &Options,
    ) -> Result<Self, RenderError> {
        if options.form == Some(Form::Exclude) {
            return Err(RenderError::NoSuchForm {
                target,
                form: Form::Exclude,
                why: "DHCP's routes can only include",
            });
        }
        let via = options.via.ok_or(RenderError::NoVia { target })?;
        let lists = Lists::of(plan, Form::Include, Form::Include, Gateways::LeftToClient);
        let v4 = lists.includes.iter().filter_map(|line| match line.prefix {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        });
        let routes: Vec<Ipv4Net> = v4.collect();
        let bytes = encode(&routes, via);
        let what = format!("{} routes via {via}, {} bytes", routes.len(), bytes.len());
        Ok(Self {
            head: head(plan, &what),
            routes,
            via,
            bytes,
        })
    }

    /// A file with these routes.
    pub(super) fn rendered(&self, text: String) -> Rendered {
        Rendered {
            text,
            form: Some(Form::Include),
            measures: Measures {
                v4_entries: self.routes.len(),
                bytes: self.bytes.len(),
                ..Measures::default()
            },
            warnings: Vec::new(),
        }
    }
}

/// RFC 3442, "Classless Route Option Format".
fn encode(routes: &[Ipv4Net], via: Ipv4Addr) -> Vec<u8> {
    let mut bytes = Vec::new();
    for net in routes {
        let octets = usize::from(net.prefix_len().div_ceil(8));
        bytes.push(net.prefix_len());
        bytes.extend(net.addr().octets().iter().take(octets));
        bytes.extend(via.octets());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_rfc() {
        let net = |text: &str| text.parse::<Ipv4Net>().expect("a prefix");
        let bytes = encode(&[net("10.0.0.0/8")], Ipv4Addr::new(172, 16, 1, 1));
        assert_eq!(bytes, [0x08, 0x0a, 0xac, 0x10, 0x01, 0x01]);
        // The examples of RFC 3442: /0, /8, /24, /16, /24, /25, /32 with as many octets as they need.
        let lengths = [
            "0.0.0.0/0",
            "10.0.0.0/24",
            "10.17.0.0/16",
            "10.27.129.0/24",
            "10.229.0.128/25",
            "10.198.122.47/32",
        ];
        let sizes = lengths.map(|text| encode(&[net(text)], Ipv4Addr::UNSPECIFIED).len() - 5);
        assert_eq!(sizes, [0, 3, 2, 3, 4, 4]);
    }
}
