//! Answers to Submariner's NAT discovery: none makes an agent panic, and no more is kept of one than a name is long.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| prejoin_agent::probe::fuzz_nat_discovery(datagram));
