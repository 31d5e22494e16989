//! A lab in network namespaces: `prejoin-kubelab`, which prejoin's own tests use, makes it and keeps it.

use super::program::Program;
use super::{CLUSTERS, Fault, LabError, Up};
use crate::cli::LabUp;

const PROGRAM: &str = "prejoin-kubelab";

/// A lab of this kind, made or not.
#[derive(Debug)]
pub(super) struct Namespaces {
    program: Program,
    name: String,
}

impl Namespaces {
    /// What is lacking for it otherwise. Whether clusters can run here it says itself.
    pub(super) fn find(name: &str) -> Result<Self, String> {
        let program = Program::beside_or_on_path(PROGRAM).ok_or_else(|| {
            format!("{PROGRAM} is neither beside this program nor on PATH: `cargo build -p prejoin-tests --bins` in prejoin's sources makes it")
        })?;
        Ok(Self {
            // What it says of a failure is one line of ours.
            program: program.with("RUST_LIB_BACKTRACE", "0"),
            name: name.to_owned(),
        })
    }

    fn ask(&self, verb: &str, arguments: &[&str]) -> Result<String, LabError> {
        let name = ["--name", self.name.as_str()];
        self.program.run(&[&[verb], arguments, &name].concat(), "")
    }

    pub(super) fn is_up(&self) -> bool {
        self.ask("kubeconfig", &[]).is_ok()
    }

    pub(super) fn up(&self, wanted: &LabUp) -> Result<Up, LabError> {
        if wanted.no_cni {
            return Err(LabError::Cannot(
                "a lab of namespaces has its own network for pods: no other can be installed there".to_owned(),
            ));
        }
        if self.is_up() {
            return Err(LabError::IsUp(self.name.clone()));
        }
        let clusters = wanted.clusters.to_string();
        let mut words = vec![
            "up",
            "--detach",
            "--clusters",
            &clusters,
            "--nodes",
            "2",
            "--name",
            &self.name,
        ];
        let archive = wanted.image_archive.as_ref().map(|path| path.display().to_string());
        match &archive {
            Some(archive) => words.extend(["--image", archive]),
            None => words.push("--agents"),
        }
        self.program.run_aloud(&words, "")?;
        let kubeconfig = self.ask("kubeconfig", &[])?.trim().to_owned();
        let contexts = CLUSTERS.into_iter().take(wanted.clusters.into());
        Ok(Up {
            kubeconfig: Some(kubeconfig),
            contexts: contexts.map(str::to_owned).collect(),
        })
    }

    pub(super) fn make(&self, fault: Fault) -> Result<(), LabError> {
        self.ask("break", &[fault.name()]).map(drop)
    }

    pub(super) fn heal(&self, fault: Option<Fault>) -> Result<Vec<Fault>, LabError> {
        let which = fault.map(Fault::name);
        let healed = self.ask("heal", which.as_slice())?;
        Ok(healed.lines().filter_map(Fault::by_name).collect())
    }

    pub(super) fn down(&self) -> Result<(), LabError> {
        self.ask("down", &[]).map(drop)
    }
}
