//! `docs/targets.md`, generated from the registry.
//!
//! ```text
//! OFFRAMP_WRITE_DOCS=1 cargo test --locked --lib render::manual     writes it anew
//! ```

use std::fmt::Write as _;
use std::path::Path;

use super::{Families, Kind, Limit, Read, Target};

#[test]
fn the_page_of_targets_is_that_of_the_registry() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/targets.md");
    let page = page();
    if std::env::var_os("OFFRAMP_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("docs/ can be written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == page,
        "docs/targets.md is out of date; write it anew: \
         OFFRAMP_WRITE_DOCS=1 cargo test --locked --lib render::manual"
    );
}

#[test]
fn names_and_files_of_targets_are_unique_and_fit_for_commands() {
    let mut names: Vec<&str> = Target::all().map(|target| target.name).collect();
    let mut files: Vec<&str> = Target::all().map(|target| target.file).collect();
    for name in &names {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!(name.bytes().all(fits), "{name}");
    }
    for list in [&mut names, &mut files] {
        let count = list.len();
        list.sort_unstable();
        list.dedup();
        assert_eq!(list.len(), count, "{list:?}");
    }
}

#[test]
fn every_target_says_by_what_it_was_checked() {
    for target in Target::all() {
        assert!(!target.accepted_by.is_empty(), "{target}");
    }
}

fn page() -> String {
    let mut page = String::from(
        "# Targets of `offramp render`\n\n\
         Generated from the code; `OFFRAMP_WRITE_DOCS=1 cargo test --locked --lib render::manual` writes it anew.\n\n\
         `offramp render TARGET POLICY` prints a file, `-o DIR` writes it there under the name below, and `--check FILE`\n\
         compares a file in place with the policy. A strict limit refuses the file; any other is a warning. *Accepted by* names\n\
         the program, grammar or document by which the tests check the file, and what could not be tried.\n",
    );
    for kind in Kind::ALL {
        let title = match kind {
            Kind::Routes => "Routes: the addresses that enter the tunnel",
            Kind::Names => "Names: the answers that VPN clients get",
            Kind::GatewayRules => "Rules on the gateway: the filter's verdicts in another firewall",
            Kind::ClientRules => "Rules on clients: `[[endpoint]]` in their own firewall",
            Kind::Settings => "Settings: VPN clients and browsers",
        };
        _ = write!(
            page,
            "\n## {title}\n\n| target | file | contents | families | limits | `--check` compares | accepted by | caveats |\n|---|---|---|---|---|---|---|---|\n"
        );
        for target in Target::of_kind(kind) {
            let limits: Vec<String> = target.limits.iter().map(limit).collect();
            _ = writeln!(
                page,
                "| `{}` | `{}` | {} | {} | {} | {} | {} | {} |",
                target.name,
                target.file,
                target.about.replace('|', "\\|"),
                match target.families {
                    Families::V4 => "IPv4",
                    Families::V6 => "IPv6",
                    Families::Both => "both",
                },
                limits.join("; "),
                match target.read {
                    Read::Routes(_) | Read::NamedRoutes(_) => "addresses",
                    Read::Names(_) => "answers",
                    Read::Settings(_) => "settings",
                    Read::Lines { .. } => "lines",
                    Read::No => "no",
                },
                target.accepted_by.replace('|', "\\|"),
                target.caveats.replace('|', "\\|"),
            );
        }
    }
    page.push_str(OTHERS);
    page
}

/// Programs and grammars of others for files whose own program is not at hand.
const OTHERS: &str = "\n## Programs of others that were tried\n\n\
    No appliance and no cloud was at hand for these files. Programs of others stood in for them, as far as there are any (2026-11-29):\n\n\
    | for | program | |\n|---|---|---|\n\
    | `fortigate-policy`, `mikrotik`, `pfsense`, `opnsense`, `cisco-asa-filter` | FWShift 0.40.18 (PyPI), a converter of firewall policies | in the \
    tests: finds no connection from clients that differs from the ASA's file, but port 0 for FortiOS, which counts from 1 |\n\
    | `meraki-rules` | FWShift | by hand: reads the rules, and cannot tell the networks behind them from one table alone |\n\
    | `mikrotik` | mikrotik-rsc-auditor 0.2.0 (PyPI) | by hand: reads the script; it judges routers, and says nothing of these rules |\n\
    | `pfsense`, `opnsense` | pfctl | not tried: there is no Debian package, and no parser of pf's rules was found on PyPI |\n\
    | `cisco-asa-dynamic` | ciscoconfparse2 0.9.18 (PyPI) | by hand: finds each line below `webvpn`, the group policy, or by itself |\n\
    | `globalprotect`, `globalprotect-xml` | pan-os-python 1.13.1 (PyPI) | of no use: it has no class for GlobalProtect's gateways |\n\
    | `tailscale-approvers` | jsonvet 3.1.1 (PyPI), a checker of HuJSON | by hand: no fault; Tailscale's own parser was not tried |\n\
    | `netbird` | JSON Schema with the fields of NetBird's openapi.yml | in the tests |\n\
    | `cloudflare-warp-terraform` | hcl-rs, a parser of Terraform's grammar | in the tests |\n\
    | `chrome-json` | Chromium of Debian | in the tests: browsers of two clients offer no address of the tunnel, and talk from home to home |\n\
    | `edge-plist`, `chrome-plist` | Python's plistlib | in the tests |\n\n\
    Nobody could try here: FortiOS, ASA and Secure Client, RouterOS, pfSense, OPNsense, Meraki, PAN-OS, Windows and macOS, and the APIs of \
    Cloudflare, NetBird and Tailscale.\n";

fn limit(limit: &Limit) -> String {
    let strict = if limit.is_strict { ", strict" } else { "" };
    format!("{} {} ({}{strict})", limit.most, limit.measure, limit.whose)
}
