#![no_main]

use offramp::render::names::reference::fuzz_names;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_names(data));
