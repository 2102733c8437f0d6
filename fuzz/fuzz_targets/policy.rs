#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| offramp::policy::reference::fuzz_text(data));
