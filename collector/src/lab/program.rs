//! Programs of others that labs are made with.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::LabError;

/// A program that is there.
#[derive(Debug, Clone)]
pub(super) struct Program {
    path: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Program {
    /// The first of this name in the folders of `PATH`.
    pub(super) fn on_path(name: &str) -> Option<Self> {
        let folders = std::env::var_os("PATH")?;
        std::env::split_paths(&folders).find_map(|folder| Self::at(folder.join(name)))
    }

    /// The one beside this program, or the first on `PATH`.
    pub(super) fn beside_or_on_path(name: &str) -> Option<Self> {
        let own = std::env::current_exe().ok();
        let beside = own
            .as_deref()
            .and_then(Path::parent)
            .and_then(|folder| Self::at(folder.join(name)));
        beside.or_else(|| Self::on_path(name))
    }

    fn at(path: PathBuf) -> Option<Self> {
        path.is_file().then_some(Self {
            path,
            environment: Vec::new(),
        })
    }

    /// It sees this variable, too.
    pub(super) fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.environment.push((variable, value.to_owned()));
        self
    }

    /// Runs it and gives what it prints.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub(super) fn run(&self, arguments: &[impl AsRef<OsStr>], input: &str) -> Result<String, LabError> {
        self.start(arguments, input, Stdio::piped())
    }

    /// Runs what takes long: what it says goes to standard error as it is said.
    ///
    /// # Errors
    /// When it fails.
    pub(super) fn run_aloud(&self, arguments: &[impl AsRef<OsStr>], input: &str) -> Result<String, LabError> {
        self.start(arguments, input, Stdio::inherit())
    }

    fn start(&self, arguments: &[impl AsRef<OsStr>], input: &str, stderr: Stdio) -> Result<String, LabError> {
        let broken = |source| LabError::Run {
            program: self.path.display().to_string(),
            source,
        };
        let mut command = Command::new(&self.path);
        command
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(broken)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that reads nothing has ended, or will say so by how it ends.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(broken)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let words = arguments.iter().map(|word| word.as_ref().to_string_lossy());
        let command = std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ");
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(LabError::Failed {
            command,
            said: if said.is_empty() {
                output.status.to_string()
            } else {
                said
            },
        })
    }
}
