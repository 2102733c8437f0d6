#![no_main]

use offramp::capture::reference::fuzz_reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_reader(data));
