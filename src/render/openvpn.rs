//! OpenVPN: `push "route ..."`, in four places.
//!
//! IPv4 exclusions are routes by `net_gateway`, the client's own gateway. For IPv6 OpenVPN 2 refuses that keyword (a
//! pushed `route-ipv6` may only name an address), so IPv6 always has the include form. Netmasks are dotted quads.
//! `redirect-gateway def1` gives the client's route to the server itself; without it, routes that cover the server need
//! `route remote_host ... net_gateway`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv6Net};

use super::lists::{Gateways, Lists, head, measures};
use super::pushed::{code_lines, masked, read_prefix, shorten};
use super::{Form, Measures, Options, Pushed, ReadError, RenderError, Rendered, Target};
use crate::plan::RoutePlan;
use crate::policy::TunnelMode;

/// An option to push, and what to say about it.
struct PushedOption {
    text: String,
    origin: String,
}

pub(super) fn write(
    target: Target,
    plan: &RoutePlan,
    options: &Options,
) -> Result<Rendered, RenderError> {
    let form = options.form.unwrap_or(Form::Exclude);
    let mut lists = Lists::of(plan, form, Form::Include, Gateways::LeftToClient);
    if lists.exclude_half_of_v4() {
        // `redirect-gateway def1` is a route to each half: one that is excluded must not be among them.
        lists = lists.in_halves();
    }
    let pushed = pushed_options(plan, form, &lists);
    let texts: Vec<&str> = pushed.iter().map(|option| option.text.as_str()).collect();
    let mut measures = Measures {
        messages: Some(messages(&texts)),
        ..measures(lists.all())
    };
    let what = format!(
        "{} IPv4 and {} IPv6 routes, {} control messages of {MESSAGE} bytes",
        measures.v4_entries,
        measures.v6_entries,
        messages(&texts)
    );
    let [first, second] = head(plan, &what);
    let mut text = format!("# {first}\n# {second}\n");
    match target {
        Target::OpenVpnCcd => {
            text.push_str(REMOVE_SERVER_ROUTES);
            write_pushes(&mut text, &pushed);
        }
        Target::OpenVpnClientConnect => {
            text.insert_str(0, "#!/bin/sh\n");
            // OpenVPN names the file to write as the last argument.
            text.push_str("cat >> \"$1\" <<'OFFRAMP_ROUTES'\n");
            text.push_str(REMOVE_SERVER_ROUTES);
            write_pushes(&mut text, &pushed);
            text.push_str("OFFRAMP_ROUTES\n");
        }
        Target::OpenVpnPushUpdate => {
            // The management interface has no comments.
            text.clear();
            let replaced = texts.join(",");
            measures.bytes = replaced.len();
            _ = writeln!(text, "push-update-broad \"{replaced}\"");
        }
        Target::OpenVpn
        | Target::Ocserv
        | Target::WireGuard
        | Target::StrongSwan
        | Target::StrongSwanUnity
        | Target::WindowsProfileXml
        | Target::WindowsPowerShell
        | Target::CiscoAsa
        | Target::Kea
        | Target::Dnsmasq
        | Target::Prefixes
        | Target::Json => write_pushes(&mut text, &pushed),
    }
    let mut warnings = Vec::new();
    if !lists.excludes.is_empty() {
        warnings.push(
            "exclusions are routes by net_gateway, which a few clients do not know: try one of each kind".to_owned(),
        );
    }
    if target == Target::OpenVpnPushUpdate {
        warnings.push(
            "the command replaces every route of every client that is connected; it needs OpenVPN 2.7 on both sides, without DCO".to_owned(),
        );
    }
    Ok(Rendered {
        text,
        form,
        measures,
        warnings,
    })
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

fn write_pushes(text: &mut String, options: &[PushedOption]) {
    for option in options {
        if !option.origin.is_empty() {
            _ = writeln!(text, "# {}", option.origin);
        }
        _ = writeln!(text, "push \"{}\"", option.text);
    }
}

/// How many control messages the server cuts the options into.
fn messages(options: &[&str]) -> usize {
    let mut messages = 1;
    let mut used = 0;
    for option in options {
        let size = option.len() + 1;
        if used + size > MESSAGE {
            messages += 1;
            used = 0;
        }
        used += size;
    }
    messages
}

/// A client's file adds to what the server pushes; so the server's routes go first. The space keeps `route-gateway` and
/// `route-metric`, which begin alike: OpenVPN compares the beginning of the option.
const REMOVE_SERVER_ROUTES: &str =
    "push-remove \"route \"\npush-remove \"route-ipv6 \"\npush-remove redirect-gateway\n";

/// Bytes of options in a control message: PUSH_BUNDLE_SIZE, 1024, without what OpenVPN keeps for itself.
const MESSAGE: usize = 940;

pub(super) fn read(target: Target, text: &str) -> Result<Pushed, ReadError> {
    let mut pushed = Pushed::default();
    for (number, line) in code_lines(text, &['#', ';']) {
        if target == Target::OpenVpnPushUpdate {
            let Some(rest) = line.strip_prefix("push-update-") else {
                continue;
            };
            let options = rest.split_once('"').map_or("", |(_, options)| options);
            for option in options.trim_end_matches('"').split(',') {
                read_option(number, option.trim().trim_start_matches('?'), &mut pushed)?;
            }
            continue;
        }
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

fn read_option(line: usize, option: &str, pushed: &mut Pushed) -> Result<(), ReadError> {
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
                // What OpenVPN makes of it: 2000::/3, in pieces.
                let global =
                    Ipv6Net::new_assert(std::net::Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
                pushed.includes.push(IpNet::V6(global));
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
        ["route-ipv6", prefix, ref rest @ ..] => {
            let net = read_prefix(line, prefix)?;
            match rest.first() {
                Some(&"net_gateway") => pushed.excludes.push(net),
                Some(_) | None => pushed.includes.push(net),
            }
        }
        _ => {}
    }
    Ok(())
}
