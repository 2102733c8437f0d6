#![no_main]

use offramp::verify::against::reference::fuzz_against;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_against(data));
