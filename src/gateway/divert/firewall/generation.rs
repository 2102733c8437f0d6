//! The number that the kernel gives a ruleset of nftables: it changes with each transaction.

use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// Asks the kernel for it; `None` if it does not tell.
pub(super) fn current() -> Option<u32> {
    let netfilter = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    );
    let netfilter = netfilter.ok()?;
    setsockopt(&netfilter, ReceiveTimeout, &TimeVal::milliseconds(100)).ok()?;
    send(netfilter.as_raw_fd(), &request(), MsgFlags::empty()).ok()?;
    let mut answer = [0; 256];
    let length = recv(netfilter.as_raw_fd(), &mut answer, MsgFlags::empty()).ok()?;
    read(answer.get(..length)?)
}

/// `NFT_MSG_GETGEN` (linux/netfilter/nf_tables.h) with a header of netlink and one of its netfilter family.
fn request() -> [u8; 20] {
    let mut request = [0; 20];
    request[..4].copy_from_slice(&20_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&GET_GENERATION.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    request
}

/// The first attribute of the answer, `NFTA_GEN_ID`.
fn read(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    let attribute = u16::from_ne_bytes(*answer.get(22..)?.first_chunk()?);
    let number = u32::from_be_bytes(*answer.get(24..)?.first_chunk()?);
    (kind == NEW_GENERATION && attribute == 1).then_some(number)
}

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN`.
const NEW_GENERATION: u16 = 10 << 8 | 15;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN`.
const GET_GENERATION: u16 = 10 << 8 | 16;
const NLM_F_REQUEST: u16 = 1;
