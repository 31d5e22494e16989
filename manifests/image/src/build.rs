//! Building the agents: static, and the same on every machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};

/// The programs of the image.
pub(crate) const PROGRAMS: [&str; 2] = ["prejoin-agent", "prejoin-cluster-agent"];

/// An architecture that there are agents for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    /// This machine's.
    pub(crate) fn here() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => bail!("there are no agents for {other}: say --arch"),
        }
    }

    /// As images call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As Rust calls it, with a C library that is linked in.
    fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }

    /// `e_machine` of its programs (ELF).
    fn machine(self) -> u16 {
        match self {
            Self::Amd64 => 62,
            Self::Arm64 => 183,
        }
    }
}

impl FromStr for Architecture {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "amd64" => Ok(Self::Amd64),
            "arm64" => Ok(Self::Arm64),
            other => bail!("`{other}` is neither amd64 nor arm64"),
        }
    }
}

/// The workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Builds the agents for an architecture and gives the folder that holds them. Honours `CARGO` and `CARGO_TARGET_DIR`.
pub(crate) fn agents(architecture: Architecture) -> Result<PathBuf> {
    let workspace = workspace().canonicalize()?;
    let target_folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let target = architecture.target();
    for (program, features) in [(PROGRAMS[0], &["--no-default-features"][..]), (PROGRAMS[1], &[])] {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&workspace);
        cargo.args([
            "build",
            "--locked",
            "--profile",
            "agent",
            "--target",
            target,
            "--package",
            "prejoin-agent",
            "--bin",
            program,
        ]);
        cargo.args(features);
        for (name, value) in environment(architecture, &workspace)? {
            cargo.env(name, value);
        }
        ensure!(
            cargo.status()?.success(),
            "{program} cannot be built for {target} (`rustup target add {target}` adds what Rust needs)"
        );
    }
    Ok(target_folder.join(target).join("agent"))
}

/// What the compilers are told: no path of this machine in the programs, and the linker that comes with Rust where the machine's own is for
/// another architecture.
fn environment(architecture: Architecture, workspace: &Path) -> Result<Vec<(String, String)>> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .context("there is no CARGO_HOME")?;
    let target = architecture.target();
    let variable = target.replace('-', "_");
    let mut environment = vec![(
        format!("CARGO_TARGET_{}_RUSTFLAGS", variable.to_uppercase()),
        format!(
            "--remap-path-prefix={}=/cargo --remap-path-prefix={}=/prejoin",
            cargo_home.display(),
            workspace.display()
        ),
    )];
    let mut unless_set = |name: String, value: &str| {
        if std::env::var_os(&name).is_none() {
            environment.push((name, value.to_owned()));
        }
    };
    if Architecture::here().is_ok_and(|here| here == architecture) {
        // The C code of the crypto library needs nothing of a C library: any compiler for this architecture does.
        unless_set(format!("CC_{variable}"), "cc");
    } else {
        unless_set(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), "rust-lld");
        unless_set(format!("CC_{variable}"), foreign_compiler(architecture));
    }
    Ok(environment)
}

/// The C compiler for an architecture that is not this machine's: clang is one for all, and Debian has gcc for each, which takes the headers of
/// a C library besides (`libc6-dev-arm64-cross`).
fn foreign_compiler(architecture: Architecture) -> &'static str {
    let gnu = match architecture {
        Architecture::Amd64 => "x86_64-linux-gnu-gcc",
        Architecture::Arm64 => "aarch64-linux-gnu-gcc",
    };
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let there = |name: &&str| std::env::split_paths(&folders).any(|folder| folder.join(name).is_file());
    // Where there is none, clang is what the build will ask for.
    ["clang", gnu].into_iter().find(there).unwrap_or("clang")
}

/// Fails unless a program is for this architecture and needs no library: there is none in the image.
pub(crate) fn must_be_static(program: &[u8], architecture: Architecture) -> Result<()> {
    const INTERPRETER: u32 = 3;
    let u16_at = |at: usize| {
        program
            .get(at..at + 2)
            .map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    };
    ensure!(
        program.starts_with(b"\x7fELF\x02\x01"),
        "it is no program for a 64-bit little-endian machine"
    );
    ensure!(
        u16_at(18) == Some(architecture.machine()),
        "it is not for {}",
        architecture.name()
    );
    let headers = program
        .get(32..40)
        .and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
    let start = headers
        .and_then(|start| usize::try_from(start).ok())
        .context("it has no program headers")?;
    let (size, count) = (
        u16_at(54).context("it is cut off")?,
        u16_at(56).context("it is cut off")?,
    );
    for number in 0..usize::from(count) {
        let at = start + number * usize::from(size);
        let kind = program.get(at..at + 4).context("it is cut off")?;
        ensure!(
            kind != INTERPRETER.to_le_bytes(),
            "it is not static: it names a dynamic loader"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a program with one program header of this kind.
    fn program(machine: u16, kind: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
        bytes[64..68].copy_from_slice(&kind.to_le_bytes());
        bytes
    }

    #[test]
    fn a_program_must_be_static_and_for_the_architecture() {
        let refused = |program: &[u8]| must_be_static(program, Architecture::Amd64).map_err(|error| error.to_string());
        assert_eq!(refused(&program(62, 1)), Ok(()));
        assert_eq!(refused(&program(183, 1)), Err("it is not for amd64".to_owned()));
        assert!(refused(&program(62, 3)).unwrap_err().contains("dynamic loader"));
        assert!(refused(b"#!/bin/sh").is_err());
    }
}
