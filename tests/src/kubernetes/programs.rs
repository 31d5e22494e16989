//! The programs of which clusters are made: built once for each set of pinned versions, by `tests/lab/build.sh`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// The folder of all programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Builds what is not built yet: some minutes the first time.
    ///
    /// # Errors
    /// When something does not build.
    pub fn build() -> anyhow::Result<Self> {
        static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let parts = ["kubernetes", "etcd", "containers", "runc", "own"];
        match BUILT.get_or_init(|| build(&parts).map_err(|error| format!("{error:#}"))) {
            Ok(folder) => Ok(Self { folder: folder.clone() }),
            Err(error) => bail!("{error}"),
        }
    }

    /// Builds Helm, which clusters can do without, and gives its path.
    ///
    /// # Errors
    /// When it does not build.
    pub fn helm() -> anyhow::Result<PathBuf> {
        Ok(build(&["helm"])?.join("helm"))
    }

    /// Builds kind, of which no lab is made, and gives its path.
    ///
    /// # Errors
    /// When it does not build.
    pub fn kind() -> anyhow::Result<PathBuf> {
        Ok(build(&["kind"])?.join("kind"))
    }

    /// Builds actionlint, and gives its path.
    ///
    /// # Errors
    /// When it does not build.
    pub fn actionlint() -> anyhow::Result<PathBuf> {
        Ok(build(&["lint"])?.join("actionlint"))
    }

    /// Fetches promtool, if the machine has none, and gives its path.
    ///
    /// # Errors
    /// When it can be had neither way.
    pub fn promtool() -> anyhow::Result<PathBuf> {
        Ok(build(&["promtool"])?.join("promtool"))
    }

    /// Whether what the build starts with is there.
    pub fn can_be_built() -> bool {
        // It says itself what is missing.
        let able = Command::new("bash").arg(script()).arg("--can-build").status();
        able.is_ok_and(|status| status.success())
    }

    /// Path of a program: `kubectl`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder they are all in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Packs static programs into a container image without a base; a container of it runs the first.
    ///
    /// # Errors
    /// When a program is not there.
    pub fn pack(&self, image: &str, programs: &[&Path], archive: &Path) -> anyhow::Result<()> {
        let mut command = Command::new(self.path("image"));
        command.args(["-name", image, "-o"]).arg(archive).args(programs);
        let status = command.status().context("cannot run image")?;
        if !status.success() {
            bail!("cannot pack {image}");
        }
        Ok(())
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/build.sh")
}

fn build(parts: &[&str]) -> anyhow::Result<PathBuf> {
    let script = script();
    let output = Command::new("bash")
        .arg(&script)
        .args(parts)
        .stderr(Stdio::inherit())
        .output();
    let output = output.with_context(|| format!("cannot run {}", script.display()))?;
    if !output.status.success() {
        bail!("{} failed: see above", script.display());
    }
    let folder = String::from_utf8(output.stdout)?;
    Ok(PathBuf::from(folder.trim()))
}
