#![no_main]

use offramp::packet::merge::reference::fuzz_merge;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_merge(data));
