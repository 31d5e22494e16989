//! A lab that a person raises in one terminal and audits from another: `examples/lab.yaml` is the configuration of that audit.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};

use super::{Lab, programs};

/// With this variable set, the lab is written down in the file it names and not beside the program.
pub const WRITTEN_DOWN: &str = "PREJOIN_LAB";

/// Nodes of each of the two sites.
const NODES: u8 = 3;

/// The lab of `examples/lab.yaml`, yet to be made: `east` and `west`, three nodes each with a pod, IPv4.
pub fn example() -> Lab {
    Lab::new().ipv4_only().pods().site("east", NODES).site("west", NODES)
}

/// What is written down of a raised lab for other processes.
#[derive(Debug, Serialize, Deserialize)]
struct WrittenDown {
    /// The process that raised it.
    process: u32,
    /// The command that starts an agent's session, by node and pod.
    agents: BTreeMap<String, Vec<String>>,
}

/// Raises the lab of `examples/lab.yaml`, says so, and takes it down when it is told to end by SIGINT, SIGTERM or SIGHUP.
///
/// # Errors
/// When no lab can be made, or one is up already.
pub fn up() -> anyhow::Result<()> {
    let file = place()?;
    if let Ok(other) = read(&file)
        && Path::new("/proc").join(other.process.to_string()).exists()
    {
        bail!("a lab is up already, raised by process {}", other.process);
    }
    let Some(lab) = example().up()? else {
        bail!("no network lab can be made here: it needs Linux, and root or user namespaces");
    };
    let agents = lab.places().map(|node| Ok((node.to_owned(), lab.agent(node)?)));
    let written = WrittenDown {
        process: std::process::id(),
        agents: agents.collect::<anyhow::Result<_>>()?,
    };
    // From here on nobody ends it but by the wait below: the file goes with the lab.
    let ends: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    ends.thread_block()?;
    let mut out = File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
    serde_json::to_writer(&mut out, &written)?;
    out.flush()?;
    let ended = say(&file).and_then(|()| Ok(ends.wait()?));
    std::fs::remove_file(&file)?;
    ended.map(|_| ())
}

fn say(file: &Path) -> anyhow::Result<()> {
    let folder = programs::folder()?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "The lab is up: sites east and west, {NODES} nodes each. Audit it from another terminal:\n"
    )?;
    writeln!(out, "  export PATH=\"{}:$PATH\"", folder.display())?;
    if std::env::var_os(WRITTEN_DOWN).is_some() {
        writeln!(out, "  export {WRITTEN_DOWN}=\"{}\"", file.display())?;
    }
    writeln!(out, "  prejoin audit -f examples/lab.yaml\n\nCtrl-C takes it down.")?;
    Ok(out.flush()?)
}

/// Becomes a session of the agent on a node or pod of the lab that is up; returns only if that fails.
pub fn become_agent(node: &str) -> anyhow::Error {
    let started = || -> anyhow::Result<std::convert::Infallible> {
        let lab = read(&place()?).context("no lab is up: raise it by `prejoin-lab up`")?;
        let command = lab
            .agents
            .get(node)
            .with_context(|| format!("the lab has no node {node}"))?;
        let (name, arguments) = command.split_first().context("no command is written down")?;
        Err(Command::new(name).args(arguments).exec().into())
    };
    match started() {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn read(file: &Path) -> anyhow::Result<WrittenDown> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

fn place() -> anyhow::Result<PathBuf> {
    match std::env::var_os(WRITTEN_DOWN) {
        Some(file) => Ok(file.into()),
        None => Ok(programs::folder()?.join("prejoin-lab.json")),
    }
}
