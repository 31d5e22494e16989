//! The network lab's own program: `docs/lab.md` says how to use it by hand.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use prejoin_tests::lab;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("serve") => lab::serve(),
        Some("enter") => enter(arguments),
        _ => bail!(
            "usage: prejoin-lab serve | enter --net PATH [--user PATH] [--host-name NAME] [--instead WHAT:PLACE]... -- PROGRAM..."
        ),
    }
}

fn enter(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut room = lab::Room::default();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            let program: Vec<String> = arguments.collect();
            return Err(lab::become_program(&room, &program));
        }
        let value = arguments.next().with_context(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--net" => room.net = PathBuf::from(value),
            "--user" => room.user = Some(PathBuf::from(value)),
            "--host-name" => room.host_name = value,
            "--instead" => {
                let (what, place) = value.split_once(':').context("--instead takes WHAT:PLACE")?;
                room.instead.push((PathBuf::from(what), PathBuf::from(place)));
            }
            other => bail!("{other} is not known"),
        }
    }
    bail!("no program is given: -- PROGRAM...")
}
