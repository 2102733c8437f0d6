//! OpenVPN: `push "route ..."`, in the server's configuration. The other targets of OpenVPN share its options and its reader.
//!
//! IPv4 exclusions are routes by `net_gateway`, the client's own gateway. For IPv6 OpenVPN 2 refuses that keyword (a
//! pushed `route-ipv6` may only name an address), so IPv6 always has the include form. Netmasks are dotted quads.
//! `redirect-gateway def1` gives the client's route to the server itself; without it, routes that cover the server need
//! `route remote_host ... net_gateway`.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use super::lists::{Gateways, Lists, head, measures};
use super::pushed::{Pushed, masked, read_prefix};
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::policy::TunnelMode;
use crate::render::{
    Families, Form, Limit, Measure, Measures, Options, Read, ReadError, RenderError, Rendered,
    Target, Write, code_lines,
};

/// OpenVPN's server configuration.
pub const TARGET: Target = Target {
    name: "openvpn",
    about: "`push` lines for the OpenVPN server's configuration (`config FILE`)",
    accepted_by: "OpenVPN: server, clients and their kernel routes",
    caveats: "",
    file: "openvpn-routes.conf",
    is_executable: false,
    families: Families::Both,
    limits: LIMITS,
    write: Write::Routes(write),
    read: Read::Routes(read),
};

/// Limits of routes that are pushed when a client connects.
pub(super) const LIMITS: &[Limit] = &[Limit {
    measure: Measure::V4Entries,
    most: 100,
    is_strict: false,
    whose: "clients before OpenVPN 2.4",
}];

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let pushes = Pushes::with(plan, options, dns(plan));
    let text = format!("{}{}", pushes.head, pushes.lines());
    Ok(pushes.rendered(text))
}

/// The options that name the policy's DNS server, in the server's configuration alone: the files of clients keep what it pushes.
fn dns(plan: &RoutePlan) -> Vec<PushedOption> {
    let servers = plan.dns_servers().map(|address| {
        let option = match address {
            IpAddr::V4(_) => "DNS",
            IpAddr::V6(_) => "DNS6",
        };
        (
            format!("dhcp-option {option} {address}"),
            DNS_ORIGIN.to_owned(),
        )
    });
    servers
        .map(|(text, origin)| PushedOption { text, origin })
        .collect()
}

/// Comment of the option that names the DNS server.
const DNS_ORIGIN: &str = "pin-point DNS, in place of other DNS servers; while it is down clients resolve nothing: `offramp dns` on a second host";

/// The options that are pushed to a client.
pub(super) struct Pushes {
    /// Two lines of comments.
    pub(super) head: String,
    options: Vec<PushedOption>,
    form: Form,
    measures: Measures,
    excludes: bool,
}

/// An option to push, and its origin as a comment.
struct PushedOption {
    text: String,
    origin: String,
}

impl Pushes {
    pub(super) fn of(plan: &RoutePlan, options: &Options) -> Self {
        Self::with(plan, options, Vec::new())
    }

    /// The same, and `more` options.
    fn with(plan: &RoutePlan, options: &Options, more: Vec<PushedOption>) -> Self {
        let form = options.form.unwrap_or(Form::Exclude);
        let mut lists = Lists::of(plan, form, Form::Include, Gateways::LeftToClient);
        if lists.exclude_half_of_v4() {
            // `redirect-gateway def1` is a route to each half: one that is excluded must not be among them.
            lists = lists.in_halves();
        }
        let mut options = pushed_options(plan, form, &lists);
        options.extend(more);
        let measures = measures(lists.all());
        let messages = messages(&options);
        let what = format!(
            "{} IPv4 and {} IPv6 routes, {messages} control messages of {MESSAGE} bytes",
            measures.v4_entries, measures.v6_entries,
        );
        let [first, second] = head(plan, &what);
        Self {
            head: format!("# {first}\n# {second}\n"),
            options,
            form,
            measures: Measures {
                messages: Some(messages),
                ..measures
            },
            excludes: !lists.excludes.is_empty(),
        }
    }

    /// The options as `push` lines.
    pub(super) fn lines(&self) -> String {
        let mut text = String::new();
        for option in &self.options {
            if !option.origin.is_empty() {
                _ = writeln!(text, "# {}", option.origin);
            }
            _ = writeln!(text, "push \"{}\"", option.text);
        }
        text
    }

    /// The options in one line, with commas between them.
    pub(super) fn joined(&self) -> String {
        let texts: Vec<&str> = self.options.iter().map(|it| it.text.as_str()).collect();
        texts.join(",")
    }

    /// A file with these options.
    pub(super) fn rendered(self, text: String) -> Rendered {
        let mut warnings = Vec::new();
        if self.excludes {
            warnings.push(
                "exclusions are routes by net_gateway, which a few clients do not know: try one of each kind".to_owned(),
            );
        }
        Rendered {
            text,
            form: Some(self.form),
            measures: self.measures,
            warnings,
        }
    }
}

fn pushed_options(plan: &RoutePlan, form: Form, lists: &Lists) -> Vec<PushedOption> {
    let mut options = Vec::new();
    let mut push = |text: String, origin: &str| {
        options.push(PushedOption {
            text,
            origin: origin.to_owned(),
        });
    };
    let includes_v4 = lists
        .includes
        .iter()
        .filter(|line| line.prefix.addr().is_ipv4());
    let is_default = includes_v4
        .clone()
        .any(|line| line.prefix.prefix_len() == 0);
    if is_default {
        push("redirect-gateway def1".to_owned(), "");
    } else {
        // Of the article's split tunnel no route covers the server; of a full one in the include form some route does.
        let included = plan.included_but_gateways();
        let covers_server = match (plan.mode, form) {
            (TunnelMode::Full, Form::Include) => included.has_v4(),
            // One half is left of everything, and may have the server in it.
            (TunnelMode::Full, Form::Exclude) => includes_v4.clone().next().is_some(),
            (TunnelMode::Split, _) => !included.intersect(&plan.gateways).only_v4().is_empty(),
        };
        if covers_server {
            push(
                "route remote_host 255.255.255.255 net_gateway".to_owned(),
                "the VPN server itself",
            );
        }
    }
    for line in &lists.includes {
        match line.prefix {
            IpNet::V4(net) if net.prefix_len() == 0 => {}
            IpNet::V4(net) => push(
                format!("route {} {}", net.addr(), net.netmask()),
                &line.origin,
            ),
            // As `def1` does it: two halves leave the client's own default route in its place.
            IpNet::V6(net) if net.prefix_len() == 0 => {
                push("route-ipv6 ::/1".to_owned(), &line.origin);
                push("route-ipv6 8000::/1".to_owned(), "");
            }
            IpNet::V6(net) => push(format!("route-ipv6 {net}"), &line.origin),
        }
    }
    for line in &lists.excludes {
        if let IpNet::V4(net) = line.prefix {
            let text = format!("route {} {} net_gateway", net.addr(), net.netmask());
            push(text, &line.origin);
        }
    }
    options
}

/// How many control messages the server cuts the options into.
fn messages(options: &[PushedOption]) -> usize {
    let mut messages = 1;
    let mut used = 0;
    for option in options {
        let size = option.text.len() + 1;
        if used + size > MESSAGE {
            messages += 1;
            used = 0;
        }
        used += size;
    }
    messages
}

/// Bytes of options in a control message: PUSH_BUNDLE_SIZE, 1024, without what OpenVPN keeps for itself.
const MESSAGE: usize = 940;

/// Reads `push` lines; others are of no concern here.
pub(crate) fn read(text: &str) -> Result<Pushed, ReadError> {
    let mut pushed = Pushed::default();
    for (number, line) in code_lines(text, &['#', ';']) {
        let Some(rest) = line.strip_prefix("push") else {
            continue;
        };
        if !rest.starts_with([' ', '\t']) {
            continue;
        }
        read_option(number, rest.trim().trim_matches(['"', '\'']), &mut pushed)?;
    }
    Ok(pushed)
}

pub(crate) fn read_option(line: usize, option: &str, pushed: &mut Pushed) -> Result<(), ReadError> {
    let words: Vec<&str> = option.split_whitespace().collect();
    match words[..] {
        ["redirect-gateway", ref flags @ ..] => {
            if !flags.contains(&"!ipv4") {
                let everything = Pushed::everything(false);
                match everything.subnets(1) {
                    Ok(halves) if flags.contains(&"def1") => pushed.includes.extend(halves),
                    Ok(_) | Err(_) => pushed.includes.push(everything),
                }
            }
            if flags.contains(&"ipv6") {
                pushed.includes.extend(EVERYTHING_V6.map(|(first, length)| {
                    let first = Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0);
                    IpNet::V6(Ipv6Net::new_assert(first, length))
                }));
            }
        }
        ["route", "remote_host", ..] => {}
        ["route", address, ref rest @ ..] => {
            let address: Ipv4Addr = address.parse().map_err(|_| {
                ReadError::new(
                    line,
                    format!("`{}` is not an IPv4 address", shorten(address)),
                )
            })?;
            let mask = match rest.first() {
                Some(&mask) if mask != "default" => mask.parse().map_err(|_| {
                    ReadError::new(line, format!("`{}` is not a netmask", shorten(mask)))
                })?,
                Some(_) | None => Ipv4Addr::BROADCAST,
            };
            let net = masked(line, address, mask)?;
            match rest.get(1) {
                Some(&"net_gateway") => pushed.excludes.push(net),
                Some(_) | None => pushed.includes.push(net),
            }
        }
        ["route-ipv6", prefix, ..] => {
            let net = read_prefix(line, prefix)?;
            // OpenVPN 2.6 takes no keyword for the gateway here: it complains, and routes into the tunnel.
            pushed.includes.push(net);
        }
        _ => {}
    }
    Ok(())
}

/// The routes of OpenVPN 2.6 for `redirect-gateway ipv6`: begin and length.
const EVERYTHING_V6: [(u16, u8); 4] = [(0, 3), (0x2000, 4), (0x3000, 4), (0xfc00, 7)];
