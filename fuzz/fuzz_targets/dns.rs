#![no_main]

use offramp::dns::reference::fuzz_dns;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_dns(data));
