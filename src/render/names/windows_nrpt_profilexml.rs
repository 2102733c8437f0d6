//! Windows' own VPN: rules of the name resolution policy table, as elements of a ProfileXML.
//!
//! `DomainNameInformation` of the VPNv2 configuration service provider; the rules hold while the connection is up. Intune
//! takes the same values one by one, in a VPN profile's DNS settings.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::windows_nrpt::servers;
use super::{because, head};
use crate::plan::Zones;
use crate::policy::Policy;
use crate::render::xml::comment;
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// Elements of a ProfileXML: the name resolution policy table of a connection.
pub const TARGET: Target = Target {
    name: "windows-nrpt-profilexml",
    about: "the same rules as DomainNameInformation elements of a VPNv2 ProfileXML, for Windows' own VPN and Intune",
    accepted_by: "nothing here; the documented elements",
    caveats: "Windows' own VPN alone",
    file: "nrpt-profile.xml",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Names(write),
    read: Read::No,
};

fn write(policy: &Policy, zones: &Zones) -> Result<Rendered, RenderError> {
    let servers = servers(&TARGET, policy)?;
    let servers: Vec<String> = servers.iter().map(IpAddr::to_string).collect();
    let servers = servers.join(",");
    let advice = [
        "They go into VPNProfile, before TrafficFilter and NativeProfile.",
        "Intune: name and servers of each, as NRPT rules of the VPN profile's DNS settings.",
    ];
    let comments = head("", policy, zones, &advice);
    let mut text = String::new();
    for line in comments.lines() {
        _ = writeln!(text, "<!-- {} -->", comment(line.trim()));
    }
    for owner in zones.owners() {
        _ = writeln!(
            text,
            "<!-- {} -->\n<DomainNameInformation>\n  <DomainName>{}</DomainName>\n  <DnsServers>{servers}</DnsServers>\n</DomainNameInformation>",
            comment(&because(owner)),
            owner.name
        );
    }
    Ok(Rendered::of_names(text))
}
