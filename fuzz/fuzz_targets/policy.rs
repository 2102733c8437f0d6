#![no_main]

use offramp::policy::reference::fuzz_text;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_text(data));
