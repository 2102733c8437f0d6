#![no_main]

libfuzzer_sys::fuzz_target!(|data: offramp::filter::leak::FragmentSequence| offramp::filter::leak::assert_no_leak(&data));
