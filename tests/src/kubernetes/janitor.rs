//! What the kernel does not take away when a lab's process ends: empty control groups and a folder. A process of its own sees that they go.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::cgroup;

/// How long the kernel may take to end all processes of a lab.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for the end of the lab that holds it, however that comes, and removes what is left.
#[derive(Debug)]
pub(super) struct Janitor(Child);

impl Janitor {
    /// Starts one: `program` is `prejoin-kubelab`.
    pub(super) fn start(program: &Path, groups: &str, folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg("janitor").arg(groups).arg(folder).stdin(Stdio::piped());
        // What ends the lab from a terminal is not for it.
        let child = command.process_group(0).spawn();
        Ok(Self(
            child.with_context(|| format!("cannot start {}", program.display()))?,
        ))
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Is a janitor: standard input ends when the lab does.
///
/// # Errors
/// When something does not go away.
pub fn clean_up_after(groups: &str, folder: &Path) -> anyhow::Result<()> {
    // Whatever comes or does not come: it is the end.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let deadline = Instant::now() + PATIENCE;
    // Nothing tells when a group of the first version has become empty.
    while let Err(error) = cgroup::remove(groups) {
        if Instant::now() > deadline {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}
