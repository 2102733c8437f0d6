//! Policies of IPsec that take IPv6 packets of clients away from the filter, or stop what it lets pass.
//!
//! ```text
//!  dir out   the packet on its way to the filter's device would be encrypted instead, and is not judged
//!  dir fwd   the packet that comes back from the filter was not decrypted just before: it is dropped
//! ```
//!
//! For IPv4 settings of the device have the kernel leave both alone (`disable_xfrm`, `disable_policy`); for IPv6 it has none
//! that matter for what is forwarded (net/ipv6/route.c, Linux 6.18). The policies are listed by the kernel's own messages
//! (linux/xfrm.h).

use std::io::{self, Read as _};
use std::net::Ipv6Addr;
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};
use socket2::{Domain, Protocol, Socket, Type};

use super::Diversion;
use crate::policy::DivertScope;
use crate::verify::Finding;

/// A policy for IPv6 packets that are forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Policy {
    source: Ipv6Net,
    destination: Ipv6Net,
    direction: Direction,
    /// True if it asks for a transformation: the kernel lists one for each step.
    transforms: bool,
    /// True if it stops what it applies to.
    blocks: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Out,
    Forward,
}

/// Finds the policies of this host that apply to clients' packets to a destination of the plan.
pub(super) fn check(diversion: &Diversion) -> Vec<Finding> {
    match policies() {
        Ok(policies) => check_policies(diversion, &policies),
        // A kernel without IPsec has no such socket.
        Err(error) if error.raw_os_error() == Some(nix::libc::EPROTONOSUPPORT) => Vec::new(),
        Err(error) => vec![Finding::host_warning(
            format!("the policies of IPsec could not be listed: {error}"),
            "look with `ip -6 xfrm policy` for one that applies to clients: IPv6 packets would not be judged",
        )],
    }
}

fn check_policies(diversion: &Diversion, policies: &[Policy]) -> Vec<Finding> {
    let overlap = |one: Ipv6Net, other: Ipv6Net| {
        one.contains(&other.network()) || other.contains(&one.network())
    };
    let of_ipv6 = |prefixes: &[IpNet]| -> Vec<Ipv6Net> {
        let of_ipv6 = prefixes.iter().filter_map(|it| match it {
            IpNet::V6(prefix) => Some(*prefix),
            IpNet::V4(_) => None,
        });
        of_ipv6.collect()
    };
    let clients = of_ipv6(&diversion.clients);
    let destinations = match diversion.scope {
        DivertScope::All => vec![Ipv6Net::default()],
        DivertScope::Policy | DivertScope::Suspects => of_ipv6(&diversion.destinations),
    };
    let applies = |policy: &&Policy| {
        (policy.transforms || policy.blocks)
            && clients.iter().any(|it| overlap(*it, policy.source))
            && destinations
                .iter()
                .any(|it| overlap(*it, policy.destination))
    };
    let mut findings: Vec<Finding> = Vec::new();
    for policy in policies.iter().filter(applies) {
        let finding = finding(diversion, policy);
        if !findings.iter().any(|it| it.what == finding.what) {
            findings.push(finding);
        }
    }
    findings
}

fn finding(diversion: &Diversion, policy: &Policy) -> Finding {
    let Policy {
        source,
        destination,
        ..
    } = policy;
    let device = &diversion.device;
    let (direction, fate) = match policy.direction {
        Direction::Out => (
            "out",
            format!("takes clients' packets on their way to {device}, and they are not judged"),
        ),
        Direction::Forward => (
            "fwd",
            format!("stops clients' packets that come back from {device}"),
        ),
    };
    Finding::host_error(
        format!("the IPsec policy `src {source} dst {destination} dir {direction}` {fate}"),
        "divert by eBPF ([gateway] diversion = \"ebpf\"), or have the policy leave out the clients' IPv6 prefixes; the kernel has no \
         setting of a device for this, as it has for IPv4",
    )
}

/// Lists the policies of the kernel.
fn policies() -> io::Result<Vec<Policy>> {
    let socket = Socket::new(
        Domain::from(nix::libc::AF_NETLINK),
        Type::RAW.cloexec(),
        Some(Protocol::from(nix::libc::NETLINK_XFRM)),
    )?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&request())?;
    let mut socket = socket;
    let mut buffer = vec![0; BUFFER];
    let mut policies = Vec::new();
    loop {
        let length = socket.read(&mut buffer)?;
        let mut messages = &buffer[..length];
        while let Some((message, rest)) = split_message(messages) {
            messages = rest;
            match message.kind {
                NEW_POLICY => policies.extend(read_policy(message.payload)),
                DONE => return Ok(policies),
                ERROR => {
                    let code = message.payload.first_chunk().copied();
                    let code = i32::from_ne_bytes(code.unwrap_or_default());
                    return Err(io::Error::from_raw_os_error(-code));
                }
                _ => {}
            }
        }
    }
}

/// `XFRM_MSG_GETPOLICY` for all of them.
fn request() -> Vec<u8> {
    let length = HEADER + USER_POLICY_ID;
    let mut request = vec![0; length];
    request[..4].copy_from_slice(&u32::try_from(length).unwrap_or(0).to_ne_bytes());
    request[4..6].copy_from_slice(&GET_POLICY.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST_DUMP.to_ne_bytes());
    request
}

/// A message of netlink.
struct Message<'a> {
    kind: u16,
    payload: &'a [u8],
}

/// Splits the first message off.
fn split_message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let payload = bytes.get(HEADER..length)?;
    let next = length.next_multiple_of(4).min(bytes.len());
    Some((Message { kind, payload }, &bytes[next..]))
}

/// Reads a `struct xfrm_userpolicy_info` and the attributes behind it; `None` for a policy that is none of IPv6, of no
/// forwarded packets, or of one interface alone: of that of its index, or that of its mark or number, as tunnels with an
/// interface of their own have it.
fn read_policy(bytes: &[u8]) -> Option<Policy> {
    let address = |at: usize| Some(Ipv6Addr::from(*bytes.get(at..)?.first_chunk::<16>()?));
    let family = u16::from_ne_bytes(*bytes.get(FAMILY..)?.first_chunk()?);
    if i32::from(family) != nix::libc::AF_INET6 {
        return None;
    }
    let destination = Ipv6Net::new(address(0)?, *bytes.get(FAMILY + 2)?).ok()?;
    let source = Ipv6Net::new(address(16)?, *bytes.get(FAMILY + 3)?).ok()?;
    let attributes = bytes.get(USER_POLICY_INFO..)?;
    let is_of_interface = attribute(attributes, INTERFACE).is_some_and(|it| it != [0; 4])
        || attribute(attributes, MARK).is_some_and(|it| !it.starts_with(&[0; 4]))
        || *bytes.get(INDEX..)?.first_chunk()? != [0; 4];
    if is_of_interface {
        return None;
    }
    let direction = match *bytes.get(DIRECTION)? {
        1 => Direction::Out,
        2 => Direction::Forward,
        _ => return None,
    };
    Some(Policy {
        source,
        destination,
        direction,
        transforms: attribute(attributes, TEMPLATE).is_some_and(|it| !it.is_empty()),
        blocks: *bytes.get(DIRECTION + 1)? == BLOCK,
    })
}

/// The payload of the first attribute of this kind.
fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let found = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        if found == kind {
            return attributes.get(4..length);
        }
        // No attribute is shorter than its header.
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

/// The time in which the kernel answers.
const PATIENCE: Duration = Duration::from_secs(1);
/// Room for what the kernel sends at once.
const BUFFER: usize = 1 << 16;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// The sizes of `struct xfrm_userpolicy_id` and `struct xfrm_userpolicy_info`.
const USER_POLICY_ID: usize = 64;
const USER_POLICY_INFO: usize = 168;
/// Offsets in `struct xfrm_userpolicy_info`: of `sel.family`, with the lengths of both prefixes behind it, and of `dir`, with
/// `action` behind it.
const FAMILY: usize = 40;
const DIRECTION: usize = 160;
/// The offset of `sel.ifindex`.
const INDEX: usize = 48;
/// `XFRM_POLICY_BLOCK`.
const BLOCK: u8 = 1;
/// `XFRMA_TMPL`, `XFRMA_MARK`, `XFRMA_IF_ID`.
const TEMPLATE: u16 = 5;
const MARK: u16 = 21;
const INTERFACE: u16 = 31;
/// `XFRM_MSG_NEWPOLICY`, `XFRM_MSG_GETPOLICY`.
const NEW_POLICY: u16 = 0x13;
const GET_POLICY: u16 = 0x15;
/// `NLMSG_ERROR`, `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_DUMP: u16 = 1 | 0x300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::divert::DivertPlan;
    use crate::gateway::host::sample::{assert_one, compiled};
    use crate::policy::Severity;

    /// A policy as the kernel lists it, with a template.
    fn listed(family: i32, direction: u8) -> Vec<u8> {
        let mut bytes = vec![0; USER_POLICY_INFO];
        bytes[..16].copy_from_slice(&"fd00:2::".parse::<Ipv6Addr>().expect("one").octets());
        bytes[16..32].copy_from_slice(&"fd00:1::".parse::<Ipv6Addr>().expect("one").octets());
        bytes[FAMILY..FAMILY + 2].copy_from_slice(&(family as u16).to_ne_bytes());
        bytes[FAMILY + 2..FAMILY + 4].copy_from_slice(&[48, 64]);
        bytes[DIRECTION] = direction;
        add(&mut bytes, TEMPLATE, &[7; 64]);
        bytes
    }

    fn add(bytes: &mut Vec<u8>, kind: u16, payload: &[u8]) {
        bytes.extend((4 + payload.len() as u16).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(payload);
    }

    fn found(bytes: &[u8]) -> Vec<Finding> {
        let policies: Vec<Policy> = read_policy(bytes).into_iter().collect();
        check_policies(&Diversion::of(&compiled("", 1)), &policies)
    }

    #[test]
    fn a_policy_for_clients_is_an_error_in_both_directions() {
        let out = found(&listed(nix::libc::AF_INET6, 1));
        assert_one(
            &out,
            Severity::Error,
            "src fd00:1::/64 dst fd00:2::/48 dir out",
        );
        let back = found(&listed(nix::libc::AF_INET6, 2));
        assert_one(
            &back,
            Severity::Error,
            "stops clients' packets that come back",
        );
    }

    #[test]
    fn policies_of_ipv4_of_this_host_of_others_and_of_an_interface_are_none() {
        assert_eq!(found(&listed(nix::libc::AF_INET, 1)), []);
        assert_eq!(found(&listed(nix::libc::AF_INET6, 0)), []);
        let mut of_others = listed(nix::libc::AF_INET6, 1);
        of_others[17] = 1;
        assert_eq!(found(&of_others), []);
        let mut of_interface = listed(nix::libc::AF_INET6, 1);
        add(&mut of_interface, INTERFACE, &[1, 0, 0, 0]);
        assert_eq!(found(&of_interface), []);
        let mut of_mark = listed(nix::libc::AF_INET6, 1);
        add(&mut of_mark, MARK, &[1, 0, 0, 0, 255, 255, 255, 255]);
        assert_eq!(found(&of_mark), []);
    }

    #[test]
    fn any_bytes_are_read_to_their_end() {
        let bytes = listed(nix::libc::AF_INET6, 1);
        for length in 0..bytes.len() {
            _ = read_policy(&bytes[..length]);
            _ = split_message(&bytes[..length]);
        }
        assert_eq!(attribute(&[0, 0, 9, 0, 0, 0, 9, 0], TEMPLATE), None);
    }
}
