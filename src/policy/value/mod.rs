//! Readers of single values: an address, a range of ports, the name of a host.

mod address;
mod name;
mod path;
mod port;
mod problem;
mod product;
mod protocol;
mod sourced;
mod word;

pub use crate::address::PortRange;
pub use crate::packet::Protocol;
pub use product::Product;
pub use protocol::ProtocolSet;
pub use sourced::Sourced;

pub(in crate::policy) use address::{parse_address, parse_endpoint, parse_prefix, parse_socket};
pub(in crate::policy) use name::{
    parse_device, parse_host, parse_interface, parse_name, parse_service,
};
pub(in crate::policy) use path::{STANDARD_OUTPUT, parse_log, parse_path};
pub(in crate::policy) use port::parse_ports;
pub(in crate::policy) use problem::{Problem, nearest, quoted_list};
pub(in crate::policy) use word::{Word, parse_word, words};
