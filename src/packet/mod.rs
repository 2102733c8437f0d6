//! Bytes of one IP packet.
