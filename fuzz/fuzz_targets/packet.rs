#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| offramp::packet::reference::fuzz_packet(data));
