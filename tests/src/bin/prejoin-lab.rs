//! The network lab's own program: `docs/lab.md` says how to use it by hand.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use prejoin_tests::lab;

const USAGE: &str = "\
prejoin-lab up                           the lab of examples/lab.yaml, until Ctrl-C
prejoin-lab agent NODE                   a session of the agent on a node of that lab
prejoin-lab serve                        a lab that is told what to do on standard input
prejoin-lab enter --net PATH [--user PATH] [--host-name NAME] [--instead WHAT:PLACE]... -- PROGRAM...
prejoin-lab relay FAULT -- AGENT...      an agent that goes wrong";

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        // In one line, whatever the environment says of backtraces: what starts an agent shows it as the reason.
        eprintln!("prejoin-lab: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("up") => lab::up().map(|()| ExitCode::SUCCESS),
        Some("agent") => Err(lab::become_agent(&arguments.next().context("on which node?")?)),
        Some("serve") => lab::serve().map(|()| ExitCode::SUCCESS),
        Some("enter") => {
            let (room, program) = room(arguments)?;
            lab::enter(&room, &program)
        }
        // What `enter` starts itself as, inside.
        Some("become") => {
            let (room, program) = room(arguments)?;
            Err(lab::become_program(&room, &program))
        }
        Some("relay") => {
            let fault = arguments.next().context("which fault?")?;
            let fault = serde_json::from_str(&fault).context("not a fault")?;
            let program: Vec<String> = arguments.skip(1).collect();
            lab::relay(&fault, &program).map(|()| ExitCode::SUCCESS)
        }
        _ => bail!("usage:\n{USAGE}"),
    }
}

fn room(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<(lab::Room, Vec<String>)> {
    let mut room = lab::Room::default();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            return Ok((room, arguments.collect()));
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
