//! Capture files: pcap and pcapng in, frames out, and the other way round.
//!
//! ```text
//!   bytes of a file            CaptureReader                  ip_packet                 packet
//!   (impl Read, maybe    ──►   batch of CapturedFrame    ──►  link header read     ──►  PacketView
//!    through gunzip)           borrowed from one buffer       and stepped over
//!
//!   frames worth keeping ──►   PcapngWriter              ──►  bytes of a file (impl Write)
//! ```
//!
//! This folder is floor 0: it knows bytes and formats, nothing of policies. It opens no file and reads no clock; callers
//! hand in a [`Read`](std::io::Read) or [`Write`](std::io::Write). No bytes make it panic, and a length field is
//! trusted only as far as bytes follow it: memory stays at one buffer of [`BUFFER_SIZE`], which grows to
//! [`MAX_RECORD`] at most, and only for a record that large whose bytes have arrived.
//!
//! Sources: draft-ietf-opsawg-pcap (classic pcap), draft-ietf-opsawg-pcapng (pcapng), and the registry of link types,
//! <https://www.tcpdump.org/linktypes.html>.

mod buffer;
mod classic;
mod error;
mod gzip;
mod link;
mod pcapng;
mod reader;
mod record;
pub mod reference;
mod writer;

pub use error::{CaptureError, Damage, Foreign};
pub use gzip::{Gunzip, gunzip};
pub use link::{LinkPayload, LinkType, NotIp, ip_packet};
pub use reader::{BUFFER_SIZE, Batch, CaptureReader, CapturedFrame, Frames};
pub use record::MAX_RECORD;
pub use writer::PcapngWriter;
