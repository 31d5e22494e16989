//! Certificates that a probed TLS service shows: none makes an agent panic, and what is kept of one is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| prejoin_agent::probe::fuzz_certificate(der));
