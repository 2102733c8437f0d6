#![no_main]

libfuzzer_sys::fuzz_target!(|data: offramp::filter::strategy::Scenario| offramp::filter::agreement::assert_agreement(&data));
