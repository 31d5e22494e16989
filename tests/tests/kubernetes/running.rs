//! `prejoin` while it is at work: what it says, line by line, and signals to it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Stdio};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prejoin_tests::kubernetes::Outcome;

use super::suite::Suite;

/// What makes an audit take some seconds.
pub(super) const SLOWLY: [&str; 4] = ["--rate", "400", "--samples", "100"];
/// What an audit says when it begins to send.
pub(super) const SENDS: &str = " probes between ";

/// A `prejoin` that was started.
pub(super) struct Running {
    child: Child,
    stdout: JoinHandle<String>,
    stderr: BufReader<ChildStderr>,
    said: String,
}

impl Suite {
    /// Starts `prejoin` with these arguments and every context.
    pub(super) fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.prejoin_command(&[arguments, &self.context_arguments()].concat());
        let command = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        // A report is more than a pipe holds.
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        Running {
            stderr: BufReader::new(child.stderr.take().unwrap()),
            child,
            stdout,
            said: String::new(),
        }
    }
}

impl Running {
    /// Waits until it has said this on standard error.
    pub(super) fn until_it_says(&mut self, what: &str) {
        while !self.said.contains(what) {
            let read = self.stderr.read_line(&mut self.said).unwrap();
            assert_ne!(read, 0, "it never said {what:?}: {}", self.said);
        }
    }

    /// Sends a signal to `prejoin` itself and not to what it was started through.
    pub(super) fn signal(&self, signal: Signal) {
        let own = i32::try_from(self.child.id()).unwrap();
        let processes = std::fs::read_dir("/proc").unwrap();
        let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let is_ours = |id: &i32| name(*id).as_deref() == Some("prejoin") && ancestors(*id).any(|of| of == own);
        let ours: Vec<i32> = ids.filter(is_ours).collect();
        assert_eq!(ours.len(), 1, "{ours:?}");
        kill(Pid::from_raw(ours[0]), signal).unwrap();
    }

    /// Waits for its end.
    pub(super) fn ended(mut self) -> Outcome {
        self.stderr.read_to_string(&mut self.said).unwrap();
        Outcome {
            code: self.child.wait().unwrap().code().unwrap_or(-1),
            stdout: self.stdout.join().unwrap(),
            stderr: self.said,
        }
    }
}

fn name(id: i32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{id}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// The process, its parent, and so on.
fn ancestors(id: i32) -> impl Iterator<Item = i32> {
    let parent = |id: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // After the name, which may hold anything, come the state and the parent.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    std::iter::successors(Some(id), parent)
}
