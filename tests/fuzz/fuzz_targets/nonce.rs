//! Datagrams: none makes an agent panic, and none is taken for authentic that was not written with the audit's key.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| prejoin_agent::nonce::fuzz(bytes));
