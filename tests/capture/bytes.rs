//! Captures written byte by byte, in either byte order.

/// Options of a pcapng block: codes and values.
pub(crate) type Options<'a> = &'a [(u16, &'a [u8])];

/// A writer of numbers in one byte order.
pub(crate) struct Bytes {
    pub(crate) bytes: Vec<u8>,
    pub(crate) big: bool,
}

impl Bytes {
    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes.extend(if self.big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        });
    }

    pub(crate) fn words(&mut self, values: &[u32]) {
        for value in values {
            self.bytes.extend(if self.big {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            });
        }
    }

    /// Writes a pcapng block around a body, which is padded.
    pub(crate) fn block(&mut self, block_type: u32, body: impl FnOnce(&mut Bytes)) {
        let mut inner = Bytes {
            bytes: Vec::new(),
            big: self.big,
        };
        body(&mut inner);
        inner.pad();
        let length = inner.bytes.len() as u32 + 12;
        self.words(&[block_type, length]);
        self.bytes.extend(inner.bytes);
        self.words(&[length]);
    }

    pub(crate) fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    pub(crate) fn section(&mut self) {
        self.block(0x0a0d_0d0a, |b| {
            b.words(&[0x1a2b_3c4d, if b.big { 1 << 16 } else { 1 }, !0, !0])
        });
    }

    /// Writes an interface with options, each a code and a value.
    pub(crate) fn interface(&mut self, link_type: u16, snapshot: u32, options: Options) {
        self.block(1, |b| {
            b.u16(link_type);
            b.u16(0);
            b.words(&[snapshot]);
            b.options(options);
        });
    }

    pub(crate) fn options(&mut self, options: Options) {
        for (code, value) in options {
            self.u16(*code);
            self.u16(value.len() as u16);
            self.bytes.extend(*value);
            self.pad();
        }
        if !options.is_empty() {
            self.words(&[0]);
        }
    }

    pub(crate) fn enhanced(&mut self, interface: u32, time: u64, packet: &[u8], options: Options) {
        self.block(6, |b| {
            let length = packet.len() as u32;
            b.words(&[
                interface,
                (time >> 32) as u32,
                time as u32,
                length,
                length + 1,
            ]);
            b.bytes.extend(packet);
            b.pad();
            b.options(options);
        });
    }
}

pub(crate) fn classic_header(big: bool, magic: u32, version: (u16, u16), link_type: u32) -> Bytes {
    let mut b = Bytes {
        bytes: Vec::new(),
        big,
    };
    b.words(&[magic]);
    b.u16(version.0);
    b.u16(version.1);
    b.words(&[0, 0, 8, link_type]);
    b
}

/// Frames of 0, 1, 2, ... bytes, each filled with its length, one second apart.
pub(crate) fn classic(big: bool, magic: u32, frames: u8) -> Vec<u8> {
    let mut b = classic_header(big, magic, (2, 4), 1);
    for n in 0..frames {
        b.words(&[n.into(), 5, n.into(), 1500]);
        b.bytes.extend(vec![n; n.into()]);
    }
    b.bytes
}

/// Returns every kind of packet block, two interfaces, two sections, and blocks that readers skip.
pub(crate) fn pcapng(big: bool) -> Vec<u8> {
    let mut b = Bytes {
        bytes: Vec::new(),
        big,
    };
    b.section();
    b.interface(1, 3, &[(2, b"eth0")]);
    b.interface(101, 0, &[(9, &[9])]);
    b.enhanced(0, 1_000_001, b"one", &[]);
    b.block(0x4bad, |b| b.words(&[1, 2, 3]));
    b.enhanced(
        1,
        1_000_000_001,
        b"seconds",
        &[(1, b"a comment"), (2, &[1, 0, 0, 0])],
    );
    b.block(3, |b| {
        b.words(&[5]);
        b.bytes.extend(b"third");
    });
    b.block(2, |b| {
        b.u16(1);
        b.u16(0xffff);
        b.words(&[0, 7, 4, 4]);
        b.bytes.extend(b"four");
    });
    b.big = !big;
    b.section();
    b.interface(113, 0, &[]);
    b.enhanced(0, 0, b"fifth", &[]);
    b.bytes
}
