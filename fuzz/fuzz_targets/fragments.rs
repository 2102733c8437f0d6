#![no_main]

use offramp::filter::leak::{FragmentSequence, assert_no_leak};

libfuzzer_sys::fuzz_target!(|sequence: FragmentSequence| assert_no_leak(&sequence));
