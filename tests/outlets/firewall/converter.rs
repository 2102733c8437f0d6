//! Files for appliances read by FWShift, a converter of firewall policies that is not ours (`tests/run` installs it): it finds every
//! connection whose verdict differs between two configurations.
//!
//! ```text
//!  policy ──▶ cisco-asa-filter ──────────────┐
//!         ──▶ fortigate-policy, mikrotik, … ─┴─▶ fwshift compare ──▶ connections from the VPN to the inside that differ: none
//! ```
//!
//! Each file is given what stands around it on such an appliance: interfaces, and a last rule by which the rest passes.

use std::process::Command;

use offramp::policy::Policy;
use offramp::random::Random;
use offramp::render::{Options, Target, render, rules};

use super::policies;
use crate::support::{Folder, is_installed, project, run, skip};

/// A file in the language of a converter.
struct Side {
    target: &'static Target,
    format: &'static str,
    /// Its zone of VPN clients.
    zone: &'static str,
    name: Option<&'static str>,
    /// Adds what stands around the file.
    around: fn(&str) -> String,
}

const ASA: Side = Side {
    target: &rules::cisco_asa_filter::TARGET,
    format: "asa",
    zone: "outside",
    name: None,
    around: |text| {
        format!(
            "{text}interface GigabitEthernet0/0\n nameif outside\n security-level 0\n ip address 203.0.113.1 255.255.255.0\n\
             interface GigabitEthernet0/1\n nameif inside\n security-level 100\n ip address 192.0.2.1 255.255.255.0\n\
             route inside 0.0.0.0 0.0.0.0 192.0.2.2\nipv6 route inside ::/0 2001:db8::2\n\
             access-group OFFRAMP-FILTER in interface outside\n"
        )
    },
};

const OTHERS: [Side; 4] = [
    Side {
        target: &rules::fortigate_policy::TARGET,
        format: "fortios",
        zone: "OFFRAMP",
        name: None,
        around: |text| {
            format!(
                "{text}config firewall policy\n    edit 999999\n        set srcintf \"OFFRAMP\"\n        set dstintf \"any\"\n        \
                 set srcaddr \"all\"\n        set dstaddr \"all\"\n        set srcaddr6 \"all\"\n        set dstaddr6 \"all\"\n        \
                 set action accept\n        set schedule \"always\"\n        set service \"ALL\"\n    next\nend\n"
            )
        },
    },
    Side {
        target: &rules::mikrotik::TARGET,
        format: "routeros",
        zone: "vpn",
        name: None,
        around: |text| {
            // An export has no commands that remove.
            let lines = text.lines().filter(|line| !line.starts_with("remove"));
            let mut script: String = lines.map(|line| format!("{line}\n")).collect();
            for menu in ["/ip", "/ipv6"] {
                script.push_str(&format!(
                    "{menu} firewall filter\nadd chain=forward in-interface=vpn action=jump jump-target=offramp\n"
                ));
            }
            script
        },
    },
    Side {
        target: &rules::pfsense::TARGET,
        format: "pfsense",
        zone: "VPN",
        name: Some("opt1"),
        around: |text| pf(text).replace("<filter>", "<version>23.3</version><filter>"),
    },
    Side {
        target: &rules::opnsense::TARGET,
        format: "opnsense",
        zone: "VPN",
        name: Some("opt1"),
        around: |text| pf(text).replace("</Alias>", "</Alias><Filter version=\"1.0.4\"/>"),
    },
];

/// A config.xml with interfaces, and a last rule.
fn pf(text: &str) -> String {
    let around = "<system><ipv6allow>1</ipv6allow></system><interfaces><opt1><enable/><descr>VPN</descr><if>em0</if>\
                  <ipaddr>203.0.113.1</ipaddr><subnet>24</subnet></opt1><lan><enable/><descr>inside</descr><if>em1</if>\
                  <ipaddr>192.0.2.1</ipaddr><subnet>24</subnet></lan></interfaces><filter>";
    let last = "<rule><type>pass</type><interface>opt1</interface><ipprotocol>inet46</ipprotocol><direction>in</direction>\
                <floating>yes</floating><quick>yes</quick><source><any/></source><destination><any/></destination></rule></filter>";
    let text = text.replace("<filter>", around);
    text.replace("</filter>", last)
}

impl Side {
    fn write(&self, policy: &Policy, folder: &Folder) -> String {
        let options = Options {
            name: self.name.map(str::to_owned),
            ..Options::default()
        };
        let rendered = render(self.target, policy, &options).expect("a whole policy");
        folder.write(self.target.file, (self.around)(&rendered.text))
    }
}

/// Services of connections from the VPN to the inside whose verdict differs, as the converter has them.
fn differences(side: &Side, files: [&str; 2]) -> Vec<String> {
    let mut python = Command::new("python3");
    python
        .env("PYTHONPATH", project("target/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-m", "fwshift", "compare", files[0], files[1]])
        .args(["--from", side.format, "--from-second", ASA.format])
        .args(["--no-source-networks", "--json", "--fail-on", "none"])
        .arg(format!("--zone-map={}={}", side.zone, ASA.zone));
    let compared = run(&mut python).json();
    let found = compared["differences"].as_array().expect("a list").iter();
    let found = found.filter(|it| it["from"] == side.zone && it["to"] == "inside");
    let connections = found.flat_map(|it| it["connections"].as_array().expect("a list"));
    let services = connections.flat_map(|it| it["services"].as_array().expect("a list"));
    services
        .map(|it| it.as_str().expect("a text").to_owned())
        .collect()
}

/// FortiOS counts ports from 1.
fn is_about_port_0(service: &str) -> bool {
    let (to, from) = service.split_once(" from port ").unwrap_or((service, ""));
    to == "tcp/0" || to == "udp/0" || from == "0"
}

fn is_there() -> bool {
    if !is_installed("python3") {
        return false;
    }
    let is_there = project("target/python/fwshift").is_dir();
    if !is_there {
        skip("fwshift is not installed: tests/run installs it into target/python");
    }
    is_there
}

#[test]
fn a_converter_of_others_finds_no_connection_that_differs_between_appliances() {
    if !is_there() {
        return;
    }
    let folder = Folder::new("converter");
    for seed in 3_000..3_004 {
        let mut random = Random(seed);
        let policy = policies::parsed(&policies::text(&mut random));
        let reference = ASA.write(&policy, &folder);
        for side in &OTHERS {
            let file = side.write(&policy, &folder);
            let mut found = differences(side, [&file, &reference]);
            if *side.target == rules::fortigate_policy::TARGET {
                found.retain(|it| !is_about_port_0(it));
            }
            assert_eq!(found, [] as [&str; 0], "{}\n{policy}", side.target);
        }
    }
}

#[test]
fn the_converter_tells_a_rule_that_is_gone() {
    if !is_there() {
        return;
    }
    let folder = Folder::new("converter-differs");
    let text = "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n[media]\nmatch = \"ports\"\n";
    let policy = policies::parsed(text);
    let reference = ASA.write(&policy, &folder);
    for side in &OTHERS {
        let file = side.write(&policy, &folder);
        assert_eq!(differences(side, [&file, &reference]), [] as [&str; 0]);
        // One port fewer.
        let written = std::fs::read_to_string(&file).expect("it was just written");
        let edited = written.replace("1024-65535", "1025-65535");
        let edited = edited.replace("1024:65535", "1025:65535");
        assert_ne!(edited, written, "{}", side.target);
        let edited = folder.write(side.target.file, edited);
        let mut found = differences(side, [&edited, &reference]);
        found.sort_unstable();
        found.dedup();
        let is_told = found.iter().all(|it| it.ends_with("/1024")) && !found.is_empty();
        assert!(is_told, "{}: {found:?}", side.target);
    }
}
