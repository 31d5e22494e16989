//! Running the command in a directory of its own, with an environment of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use prejoin_checks::facts::ClusterFacts;
use serde_json::Value;
use tempfile::TempDir;

/// An empty home, with the files that a test puts there.
pub(super) struct Place {
    directory: TempDir,
}

/// What came of a command.
pub(super) struct Outcome {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Place {
    pub(super) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(super) fn write_facts(&self, name: &str, facts: &ClusterFacts) -> PathBuf {
        self.write(name, serde_json::to_vec(facts).unwrap())
    }

    /// `prejoin`, here, knowing nothing of who runs the tests.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prejoin"));
        command
            .args(args)
            .current_dir(self.directory.path())
            .env_clear()
            .env("HOME", self.directory.path())
            .stdin(Stdio::null());
        command
    }

    pub(super) fn run(&self, args: &[&str]) -> Outcome {
        outcome(&self.command(args).output().unwrap())
    }
}

pub(super) fn outcome(output: &Output) -> Outcome {
    Outcome {
        code: output.status.code().expect("not ended by a signal"),
        stdout: String::from_utf8(output.stdout.clone()).unwrap(),
        stderr: String::from_utf8(output.stderr.clone()).unwrap(),
    }
}

impl std::fmt::Debug for Outcome {
    /// As much as a failed test needs to be understood: whole reports are long.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start: String = self.stdout.chars().take(1000).collect();
        write!(f, "exit code {}\nstdout: {start}\nstderr: {}", self.code, self.stderr)
    }
}

impl Outcome {
    /// Standard output as JSON.
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The command ended with this code.
    #[track_caller]
    pub(super) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Standard error holds this text.
    #[track_caller]
    pub(super) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "`{text}` is missing in {self:?}");
        self
    }

    /// Nothing went to standard output: an error is no result.
    #[track_caller]
    pub(super) fn prints_nothing(self) -> Self {
        assert_eq!(self.stdout, "", "{self:?}");
        self
    }
}

/// The verdict of one check in a report.
#[track_caller]
pub(super) fn verdicts(report: &Value, code: &str) -> Vec<String> {
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["code"] == code)
        .map(|finding| finding["verdict"].as_str().unwrap().to_owned())
        .collect()
}

/// A path as an argument.
pub(super) fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}
