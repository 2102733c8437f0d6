#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| offramp::capture::reference::fuzz_reader(data));
