//! Reads a capture of small packets in batches of 64, down to the IP packet of each frame.
//!
//! The target is less than 100 ns a packet, so that reading never limits judging: run `cargo bench --bench capture`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use offramp::capture::{CaptureReader, LinkPayload, ip_packet};

/// Packets in a sample: 15 to 20 MB, more than a core's cache.
const PACKETS: u32 = 200_000;

/// Returns an Ethernet frame of 60 bytes, the minimum size.
fn frame(number: u32) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[12..15].copy_from_slice(&[8, 0, 0x45]);
    frame[30..34].copy_from_slice(&number.to_be_bytes());
    frame
}

fn words(file: &mut Vec<u8>, words: &[u32]) {
    file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

fn pcap() -> Vec<u8> {
    let mut file = Vec::new();
    words(&mut file, &[0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1]);
    for number in 0..PACKETS {
        words(&mut file, &[number, 0, 60, 60]);
        file.extend(frame(number));
    }
    file
}

/// Writes a pcapng capture; with `flags`, each packet has an option that states its direction.
fn pcapng(flags: bool) -> Vec<u8> {
    let mut file = Vec::new();
    words(&mut file, &[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, !0, !0, 28]);
    words(&mut file, &[1, 20, 1, 0, 20]);
    let length = if flags { 104 } else { 92 };
    for number in 0..PACKETS {
        words(&mut file, &[6, length, 0, 0, number, 60, 60]);
        file.extend(frame(number));
        if flags {
            words(&mut file, &[0x0004_0002, 1, 0]);
        }
        words(&mut file, &[length]);
    }
    file
}

/// Reads the whole capture and touches each packet.
fn read(file: &[u8]) -> (u64, u64) {
    let mut reader = CaptureReader::new(file).expect("a sample is a capture");
    let (mut packets, mut sum) = (0, 0);
    loop {
        let batch = reader.next_batch(64).expect("a sample is whole");
        if batch.is_empty() {
            return (packets, sum);
        }
        let mut side_by_side: [&[u8]; 64] = [&[]; 64];
        for (slot, frame) in side_by_side.iter_mut().zip(batch) {
            if let LinkPayload::Ip { packet, .. } = ip_packet(frame.link_type, frame.bytes) {
                *slot = packet;
                packets += 1;
            }
        }
        for packet in black_box(&side_by_side) {
            sum += packet.get(19).map_or(0, |&byte| u64::from(byte));
        }
    }
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("capture");
    group.throughput(Throughput::Elements(PACKETS.into()));
    for (name, file) in [
        ("pcap", pcap()),
        ("pcapng", pcapng(false)),
        ("pcapng with options", pcapng(true)),
    ] {
        assert_eq!(read(&file).0, u64::from(PACKETS));
        group.bench_function(name, |b| b.iter(|| read(black_box(&file))));
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
