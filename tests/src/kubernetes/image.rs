//! The agents' image, as far as tests need one: both agents of this working tree, static, on an empty base.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, bail};

use super::Programs;
use crate::lab::{cargo_build, folder, workspace};

/// Builds the agents and packs them as this image; gives the archive.
///
/// # Errors
/// When they do not build.
pub fn agents(programs: &Programs, image: &str) -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    let folder = match built {
        Ok(folder) => folder,
        Err(error) => bail!("{error}"),
    };
    let (archive, new) = (
        folder.join("agents.tar"),
        folder.join(format!("agents.tar.{}", std::process::id())),
    );
    let agents = ["prejoin-agent", "prejoin-cluster-agent"].map(|name| folder.join(name));
    programs.pack(image, &[&agents[0], &agents[1]], &new)?;
    std::fs::rename(new, &archive)?;
    Ok(archive)
}

/// Gives the folder of the static programs.
fn build() -> anyhow::Result<PathBuf> {
    let architecture = std::env::consts::ARCH;
    let musl = format!("{architecture}-unknown-linux-musl");
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .current_dir(workspace()?)
        .output()?;
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout)?.trim());
    let has_musl = sysroot.join("lib/rustlib").join(&musl).exists();
    let mut command = cargo_build()?;
    let target = if has_musl {
        // The little C in it needs no C library.
        command.env(format!("CC_{}", musl.replace('-', "_")), "cc");
        musl
    } else {
        // The C library of every machine with a C compiler can be linked in, too.
        command.env("RUSTFLAGS", "-C target-feature=+crt-static");
        format!("{architecture}-unknown-linux-gnu")
    };
    command.args([
        "--package",
        "prejoin-agent",
        "--bin",
        "prejoin-agent",
        "--bin",
        "prejoin-cluster-agent",
        "--target",
        &target,
    ]);
    // Every node keeps them in memory.
    command
        .env("CARGO_PROFILE_DEV_STRIP", "true")
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    let own = folder()?;
    let folder = own.parent().context("a profile's folder is in another")?;
    command.arg("--target-dir").arg(folder);
    if !command.status().context("cannot run cargo")?.success() {
        bail!("the agents do not build for {target}");
    }
    Ok(folder.join(target).join("debug"))
}
