//! Hosts, service records and `[dns]` for a small policy, of few labels, so that names repeat and are below each other.

use arbitrary::{Result, Unstructured};

use crate::policy::{Canary, Policy, Sourced, SrvRecord};

/// Gives the rules of `policy` names, and fills its `[dns]`.
pub fn give_names(bytes: &mut Unstructured<'_>, policy: &mut Policy) -> Result<()> {
    for server in &mut policy.servers {
        server.hosts = names(bytes, server.name.line)?;
    }
    for public in &mut policy.publics {
        public.hosts = names(bytes, public.name.line)?;
        for _ in 0..bytes.int_in_range(0..=2u8)? {
            let name = Sourced {
                value: format!("_sip._tls.{}", name(bytes)?),
                line: public.name.line,
            };
            public.srv.push(SrvRecord {
                name,
                target: self::name(bytes)?,
                port: bytes.int_in_range(1..=u16::MAX)?,
                priority: bytes.arbitrary()?,
                weight: bytes.arbitrary()?,
            });
        }
    }
    policy.dns.sip_domains = names(bytes, 1)?;
    policy.dns.ttl_seconds = bytes.int_in_range(1..=300)?;
    policy.dns.canaries.clear();
    for canary in [Canary::Doh, Canary::PrivateRelay, Canary::Ddr] {
        if bytes.arbitrary()? {
            let value = canary;
            policy.dns.canaries.push(Sourced { value, line: 2 });
        }
    }
    Ok(())
}

fn names(bytes: &mut Unstructured<'_>, line: u32) -> Result<Vec<Sourced<String>>> {
    let mut names = Vec::new();
    for _ in 0..bytes.int_in_range(0..=3u8)? {
        let value = name(bytes)?;
        names.push(Sourced { value, line });
    }
    Ok(names)
}

/// A name of two to five labels out of six.
pub fn name(bytes: &mut Unstructured<'_>) -> Result<String> {
    let mut labels = Vec::new();
    for _ in 0..bytes.int_in_range(1..=4u8)? {
        labels.push(*bytes.choose(&["a", "b", "sip", "sipinternal", "lyncdiscoverinternal"])?);
    }
    labels.push("x");
    Ok(labels.join("."))
}
