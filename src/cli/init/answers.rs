//! [`Answers`]: what an operator says by options or in the dialogue. The policy's own parser checks each value.

use std::net::IpAddr;

use ipnet::IpNet;

use super::toml::{list, quoted};
use crate::policy::{self, Policy, Severity};

/// Answers of the operator.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    pub(super) interfaces: Vec<String>,
    pub(super) clients: Vec<IpNet>,
    pub(super) corporate: Vec<IpNet>,
    pub(super) dns_servers: Vec<IpAddr>,
    pub(super) gateways: Vec<IpAddr>,
    pub(super) sip_domains: Vec<String>,
    pub(super) servers: Vec<Service>,
    pub(super) publics: Vec<Service>,
    pub(super) teams: bool,
    pub(super) enforce: bool,
}

/// A server or a public service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) addresses: Vec<String>,
    pub(super) hosts: Vec<String>,
}

impl Service {
    /// Splits `NAME=ITEM,ITEM`: what begins like an address is one, the rest are host names.
    fn split(text: &str) -> Result<Self, String> {
        let Some((name, items)) = text.split_once('=') else {
            return Err(format!(
                "`{text}` has no `=`; write a name and addresses: \"Front End pool=10.1.0.10,10.1.0.11\""
            ));
        };
        let items = items.split(',').map(str::trim).filter(|it| !it.is_empty());
        let is_address = |it: &&str| {
            it.contains([':', '/']) || it.chars().all(|char| char.is_ascii_digit() || char == '.')
        };
        let (addresses, hosts): (Vec<&str>, Vec<&str>) = items.partition(is_address);
        if addresses.is_empty() {
            return Err(format!(
                "`{text}` has no address; write one behind `=`, before any host names"
            ));
        }
        Ok(Self {
            name: name.trim().to_owned(),
            addresses: addresses.into_iter().map(str::to_owned).collect(),
            hosts: hosts.into_iter().map(str::to_owned).collect(),
        })
    }

    /// Returns its entry in a policy, a `[[server]]` or a `[[public]]`.
    pub(super) fn entry(&self, section: &str) -> String {
        let mut text = format!(
            "[[{section}]]\nname = {}\naddresses = {}\n",
            quoted(&self.name),
            list(&self.addresses)
        );
        if !self.hosts.is_empty() {
            text.push_str(&format!("hosts = {}\n", list(&self.hosts)));
        }
        text
    }
}

pub(super) fn interface(text: &str) -> Result<String, String> {
    let entry = format!("interfaces = {}", list(&[text]));
    checked(&entry, "").map(|_| text.to_owned())
}

pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    let policy = checked("", &format!("[corporate]\nsubnets = {}", list(&[text])))?;
    let prefix = policy.corporate.subnets.first().map(|it| it.value);
    prefix.ok_or_else(|| "write a prefix: 10.0.0.0/8".to_owned())
}

pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    let policy = checked("", &format!("[corporate]\ndns_servers = {}", list(&[text])))?;
    let address = policy.corporate.dns_servers.first().map(|it| it.value);
    address.ok_or_else(|| "write an address: 10.0.0.53".to_owned())
}

pub(super) fn domain(text: &str) -> Result<String, String> {
    let policy = checked("", &format!("[dns]\nsip_domains = {}", list(&[text])))?;
    let domain = policy.dns.sip_domains.first().map(|it| it.value.clone());
    domain.ok_or_else(|| "write a domain: contoso.com".to_owned())
}

pub(super) fn server(text: &str) -> Result<Service, String> {
    service(text, "server")
}

pub(super) fn public(text: &str) -> Result<Service, String> {
    service(text, "public")
}

fn service(text: &str, section: &str) -> Result<Service, String> {
    let service = Service::split(text)?;
    checked("", &service.entry(section))?;
    Ok(service)
}

/// Has a policy read that consists of this key of `[vpn]` or this section; returns its errors if there are some.
fn checked(key: &str, section: &str) -> Result<Policy, String> {
    let text = format!("[vpn]\nclient_subnets = [\"192.0.2.0/24\"]\n{key}\n{section}\n");
    match policy::parse("", text.as_bytes()) {
        Ok((policy, _)) => Ok(policy),
        Err(errors) => {
            let errors = errors
                .iter()
                .filter(|it| it.severity() == Severity::Error)
                .map(|it| {
                    let help = it.help().iter().map(|help| format!("; {help}"));
                    format!("{}{}", it.message(), help.collect::<String>())
                });
            Err(errors.collect::<Vec<_>>().join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_service_are_told_from_its_host_names() {
        let read = public("Edge = 167.55.49.32,sip.contoso.com, 2001:db8::1,52.112.0.0/14");
        let service = read.expect("a service");
        assert_eq!(service.name, "Edge");
        assert_eq!(
            service.addresses,
            ["167.55.49.32", "2001:db8::1", "52.112.0.0/14"]
        );
        assert_eq!(service.hosts, ["sip.contoso.com"]);
    }

    #[test]
    fn a_wrong_value_says_what_is_wrong() {
        for (error, part) in [
            (prefix("10.1.0.0/8").err(), "host bits"),
            (address("10.0.0.300").err(), "10.0.0.300"),
            (domain("con toso").err(), "con toso"),
            (interface("an-interface-too-long").err(), "15"),
            (server("Front End").err(), "no `=`"),
            (server("Front End=pool.contoso.com").err(), "no address"),
            (server("Front End=10.1.0.300").err(), "10.1.0.300"),
            (server("=10.1.0.3").err(), "name"),
            (public("Edge=192.0.2.1,-.example").err(), "-.example"),
        ] {
            let error = error.expect("it is wrong");
            assert!(error.contains(part), "{part}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
