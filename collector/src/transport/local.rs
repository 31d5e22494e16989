//! Agents that are processes of this machine: for its own nodes, for network namespaces, for anything that a command can reach.

use std::ffi::OsStr;
use std::io;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::stderr::Tail;
use super::{Carrier, Connection, Unreached};

/// A process on this machine that speaks the protocol on its standard input and output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The command and its arguments, not passed through a shell.
    pub command: Vec<String>,
}

impl Local {
    pub(super) fn connect(&self) -> Result<Connection, Unreached> {
        let (program, args) = self
            .command
            .split_first()
            .ok_or_else(|| Unreached("the command is empty".to_owned()))?;
        spawn(program, args).map_err(|error| Unreached(format!("cannot run {program}: {error}")))
    }
}

/// A process, ended and waited for when this is dropped.
pub(super) struct Process(Child);

/// Starts a process and connects to its standard streams.
///
/// It gets a process group of its own: an interrupt typed at the terminal is prejoin's to handle, which then tells the agents.
pub(super) fn spawn(program: impl AsRef<OsStr>, args: &[impl AsRef<OsStr>]) -> io::Result<Connection> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let missing = || io::Error::other("a stream of the process is missing");
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    Ok(Connection {
        reader: Box::new(stdout),
        writer: Box::new(stdin),
        carrier: Carrier::Process(Process(child)),
        stderr: Tail::of(stderr),
    })
}

impl Process {
    /// Waits for its end and says how it was.
    pub(super) async fn ended(&mut self) -> Option<String> {
        // Waiting for a child of ours fails only if somebody else has waited for it.
        let status = self.0.wait().await.ok()?;
        Some(in_words(status))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Known as long as it has not been waited for, so that the number cannot belong to another by now.
        if let Some(id) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            // It may be over already. The runtime waits for the child, which `kill_on_drop` sees to.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

fn in_words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("ended by {signal}"),
            Err(_) => format!("ended by signal {signal}"),
        },
        (None, None) => "ended".to_owned(),
    }
}
