//! `prejoin.yaml`: none makes the collector panic, and an error says where.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_collector::config::Config;

fuzz_target!(|text: &str| {
    if let Err(error) = Config::parse("fuzz.yaml", text) {
        assert!(error.to_string().contains("fuzz.yaml"), "{error}");
    }
});
