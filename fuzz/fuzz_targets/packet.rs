#![no_main]

use offramp::packet::reference::fuzz_packet;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_packet(data));
