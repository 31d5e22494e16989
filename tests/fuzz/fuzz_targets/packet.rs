//! Packets as a capture sees them: none makes an agent panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| prejoin_agent::listen::fuzz(packet));
