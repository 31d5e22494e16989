//! Writes the facts files of a fleet, to measure `prejoin check` on many clusters:
//! `cargo run --release -p prejoin-checks --features samples --example fleet -- DIRECTORY CLUSTERS NODES`.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use prejoin_checks::samples::fleet::faulty_fleet;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, clusters, nodes] = arguments.as_slice() else {
        return Err("usage: fleet DIRECTORY CLUSTERS NODES".into());
    };
    let directory = PathBuf::from(directory);
    fs::create_dir_all(&directory)?;
    for facts in faulty_fleet(clusters.parse()?, nodes.parse()?) {
        let mut file = BufWriter::new(File::create(directory.join(format!("{}.json", facts.name)))?);
        serde_json::to_writer_pretty(&mut file, &facts)?;
        file.flush()?;
    }
    Ok(())
}
