//! Lines from an agent: a hostile one never makes a collector panic, and what is understood is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_agent::protocol::{Reply, line};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(reply) = line::decode::<Reply>(bytes) {
        let written = line::encode(&reply).expect("replies are JSON");
        let read: Reply = line::decode(&written).expect("what is written can be read");
        assert_eq!(read, reply);
    }
});
