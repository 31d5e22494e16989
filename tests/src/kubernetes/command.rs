//! What came of a command.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Exit code; -1 where a signal ended it.
    pub code: i32,
    /// What it wrote on standard output.
    pub stdout: String,
    /// What it wrote on standard error.
    pub stderr: String,
}

impl Outcome {
    /// Runs a command to its end, with nothing on standard input.
    ///
    /// # Errors
    /// When it cannot be run at all.
    pub fn of(mut command: Command) -> anyhow::Result<Self> {
        let program = command.get_program().display().to_string();
        let output = command.stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot run {program}"))?;
        Ok(Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// What it printed, if it succeeded.
    ///
    /// # Errors
    /// When it did not: with what it said.
    pub fn succeeded(self) -> anyhow::Result<String> {
        if self.code != 0 {
            bail!("exit code {}: {}{}", self.code, self.stdout, self.stderr);
        }
        Ok(self.stdout)
    }
}
