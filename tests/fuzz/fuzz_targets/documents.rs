//! Facts files, bundles and reports, as JSON or YAML: none makes the collector panic.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Whether it is a document or an error that says where does not matter here.
    let _ = prejoin_collector::load::parse(Path::new("fuzz"), text);
});
