//! The binaries that the lab runs: they belong to other packages, so Cargo need not have built them for a test of this one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context as _, bail};

/// The lab's own binary: beside the test's own, where Cargo puts it.
pub(super) fn lab() -> anyhow::Result<PathBuf> {
    Ok(folder()?.join("prejoin-lab"))
}

/// `prejoin` or `prejoin-agent` of this working tree: built now, unless what is there is younger than all sources.
///
/// # Errors
/// When it does not build.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    if let Err(error) = built {
        bail!("{error}");
    }
    Ok(folder()?.join(name))
}

/// Where Cargo puts this package's binaries, and the others'.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("a program is in a folder")?;
    let above = folder.parent().filter(|_| folder.ends_with("deps"));
    Ok(above.unwrap_or(folder).to_owned())
}

/// What is built.
const PROGRAMS: [&str; 3] = ["prejoin", "prejoin-agent", "prejoin-cluster-agent"];

fn build() -> anyhow::Result<()> {
    let root = workspace()?;
    let folder = folder()?;
    let oldest = PROGRAMS
        .iter()
        .map(|name| folder.join(name).metadata().and_then(|data| data.modified()).ok())
        .min()
        .flatten();
    let mut youngest = SystemTime::UNIX_EPOCH;
    for package in ["checks", "agent", "collector", "manifests"] {
        look_at(&root.join(package), &mut youngest)?;
    }
    if oldest.is_some_and(|oldest| oldest > youngest) {
        return Ok(());
    }
    let mut command = cargo_build()?;
    command.args(["--package", "prejoin-agent", "--package", "prejoin-collector"]);
    for program in PROGRAMS {
        command.args(["--bin", program]);
    }
    if folder.ends_with("release") {
        command.arg("--release");
    }
    if let Some(target) = folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("{} do not build", PROGRAMS.join(", "));
    }
    Ok(())
}

/// The folder of the workspace.
pub(crate) fn workspace() -> anyhow::Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the package is in a workspace")
}

/// `cargo build` of this working tree; what of it is for the caller to say.
pub(crate) fn cargo_build() -> anyhow::Result<Command> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What Cargo tells this test of its own package: crates that look at it would be built anew, now and after.
    let told = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_PRIMARY_",
    ];
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| told.iter().any(|told| name.starts_with(told)))
        {
            command.env_remove(name);
        }
    }
    command.current_dir(workspace()?).args(["build", "--quiet", "--locked"]);
    Ok(command)
}

/// When the youngest source of a package was changed.
fn look_at(folder: &Path, youngest: &mut SystemTime) -> anyhow::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            look_at(&path, youngest)?;
        } else if path
            .extension()
            .is_some_and(|end| end == "rs" || end == "toml" || end == "yaml")
        {
            *youngest = (*youngest).max(entry.metadata()?.modified()?);
        }
    }
    Ok(())
}
