//! Attaches programs to what enters at interfaces.
//!
//! ```text
//!              link (TCX)                                filter of the clsact qdisc, before Linux 6.6
//!  place       before the programs of others             priority 1
//!  ends        with the process, or the file of it       when somebody removes it
//!  exchanged   by the link, without a gap                by its priority and handle, without a gap
//! ```
//!
//! A qdisc that is there is used, `ingress` as well as `clsact`; one that was added stays, since others may have come to use it.

use aya::programs::links::Link as _;
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, tc};

use super::programs::ProgramsError;
use super::version::has_links;

/// Attaches `program` to `interface`, before all programs of others. One that a killed process has left there as a filter is
/// exchanged for it.
pub(super) fn attach(
    program: &mut SchedClassifier,
    interface: &str,
) -> Result<SchedClassifierLink, ProgramsError> {
    let options = if has_links() {
        TcAttachOptions::TcxOrder(LinkOrder::first())
    } else {
        // One that is there is an error whose kind differs between kernels; without any, the attachment fails.
        _ = tc::qdisc_add_clsact(interface);
        if let Some(Ok(id)) = filter_at(interface).map(|left| program.attach_to_link(left)) {
            return Ok(program.take_link(id)?);
        }
        TcAttachOptions::Netlink(NlOptions {
            priority: PRIORITY,
            handle: HANDLE,
            classid: None,
        })
    };
    let id = program.attach_with_options(interface, TcAttachType::Ingress, options)?;
    Ok(program.take_link(id)?)
}

/// Removes a filter that a killed process has left at `interface`.
pub(super) fn detach_leftover(interface: &str) {
    if let Some(left) = filter_at(interface) {
        // Mostly there is none.
        _ = left.detach();
    }
}

/// The place of our filter at `interface`, whether there is one or not; `None` without the interface.
fn filter_at(interface: &str) -> Option<SchedClassifierLink> {
    SchedClassifierLink::attached(interface, TcAttachType::Ingress, PRIORITY, HANDLE, None).ok()
}

/// The first one.
const PRIORITY: u16 = 1;

/// The handle of our filter: one that nobody else has by chance.
const HANDLE: TcHandle = TcHandle::new(0x0ff7, 0xa3b1);
