#![no_main]

use offramp::packet::media::{reference::assert_agreement, traffic::Scenario};

libfuzzer_sys::fuzz_target!(|scenario: Scenario| assert_agreement(&scenario));
