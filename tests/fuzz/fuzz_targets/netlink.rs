//! What the kernel answers over netlink: none of it makes an agent panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| prejoin_agent::node::fuzz_netlink(bytes));
