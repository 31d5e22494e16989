//! Kubeconfigs: none makes the collector panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| prejoin_collector::fleet::fuzz_kubeconfig(text));
