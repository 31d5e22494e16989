//! Lines from a collector: a hostile one never makes an agent panic, and what is understood is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_agent::protocol::{Request, line};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = line::decode::<Request>(bytes) {
        let written = line::encode(&request).expect("requests are JSON");
        let read: Request = line::decode(&written).expect("what is written can be read");
        assert_eq!(read, request);
    }
});
