//! [`is_enforced_for`]: decides whether a dropped packet is dropped for real (`gateway.enforce`, `gateway.pilot`).

use crate::packet::Received;
use crate::policy::Enforcement;

/// Returns `true` if the policy takes effect for the client that has sent `packet`. One whose source cannot be read is nobody's.
pub fn is_enforced_for(enforcement: &Enforcement, packet: Received<'_>) -> bool {
    let is_for_sender = || {
        let packet = packet.parse();
        packet.is_ok_and(|packet| enforcement.is_for(packet.addresses().source()))
    };
    enforcement.is_whole() || is_for_sender()
}
