//! Stands in for a VPN daemon: carries packets between the clients' tun devices and the concentrator's, unencrypted and
//! without a network in between.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;

use super::namespace::{Host, SiteError};
use crate::gateway::tun::make_plain_device;

/// One client: the host it runs on, and its address in the tunnel.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// The host.
    pub host: &'a Host,
    /// The address that the VPN gives it.
    pub address: Ipv4Addr,
}

/// Creates the device `tun0` on the concentrator and `vpn0` on each client, and carries packets between them until the
/// process ends.
///
/// # Errors
/// [`SiteError::System`] when a device cannot be created.
pub fn start(concentrator: &Host, clients: &[Client<'_>]) -> Result<(), SiteError> {
    let hub = Arc::new(device(concentrator, "tun0")?);
    let mut ends = Vec::new();
    for client in clients {
        let end = Arc::new(device(client.host, "vpn0")?);
        ends.push((client.address, Arc::clone(&end)));
        let hub = Arc::clone(&hub);
        thread::spawn(move || carry(&end, |_| Some(&hub)));
    }
    // Packets that the concentrator routes into its tun0 go to the client that has the destination address.
    thread::spawn(move || {
        carry(&hub, |packet| {
            let to = destination(packet)?;
            let (_, end) = ends.iter().find(|(address, _)| *address == to)?;
            Some(end)
        });
    });
    Ok(())
}

fn device(host: &Host, name: &str) -> Result<File, SiteError> {
    host.run(|| make_plain_device(name))?
        .map_err(|source| SiteError::System {
            host: host.name(),
            what: format!("make the device {name}"),
            source,
        })
}

/// Reads packets from `from` until the device is gone, and writes each to the device that `next` chooses.
fn carry<'a>(from: &File, next: impl Fn(&[u8]) -> Option<&'a Arc<File>>) {
    let mut packet = vec![0; MAX_PACKET];
    loop {
        match (&*from).read(&mut packet) {
            Ok(length) => {
                let packet = &packet[..length];
                if let Some(to) = next(packet) {
                    // A device that is down or full drops packets, as a network does.
                    _ = (&**to).write(packet);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The destination of an IPv4 packet (RFC 791 §3.1).
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let octets: &[u8; 4] = packet.get(16..)?.first_chunk()?;
    (packet[0] >> 4 == 4).then(|| Ipv4Addr::from(*octets))
}

/// The largest IP packet.
const MAX_PACKET: usize = 65_535;
