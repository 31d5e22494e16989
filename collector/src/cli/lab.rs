//! `prejoin lab`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::lab::Fault;

/// `prejoin lab`.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Make clusters to try prejoin on: with kind where there is Docker or Podman, in network namespaces otherwise
    Up(LabUp),
    /// Make a fault between the clusters
    Break(LabBreak),
    /// Take faults away again
    Heal(LabHeal),
    /// Take the clusters away
    Down(LabPlace),
}

/// Which lab.
#[derive(Debug, Clone, Args)]
pub struct LabPlace {
    /// The name of the lab; with kind its clusters are called NAME-east, NAME-west and NAME-north
    #[arg(long, default_value = "prejoin", value_parser = name)]
    pub name: String,
    /// What the clusters are made with; without it what is there
    #[arg(
        long,
        value_enum,
        env = "PREJOIN_LAB_ON",
        hide_env_values = true,
        value_name = "WHAT"
    )]
    pub on: Option<On>,
}

/// What clusters are made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum On {
    /// kind: each node is a container of Docker or Podman.
    Kind,
    /// Network namespaces: prejoin-kubelab of prejoin's own tests, which needs root on Linux.
    Namespaces,
}

/// `prejoin lab up`.
#[derive(Debug, Args)]
pub struct LabUp {
    /// Which lab.
    #[command(flatten)]
    pub place: LabPlace,
    /// How many clusters, of two nodes each
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3), value_name = "COUNT")]
    pub clusters: u8,
    /// With kind: leave the network plugin out, for one that you install (Cilium); nodes are not ready before
    #[arg(long)]
    pub no_cni: bool,
    /// An archive with the image of the agents, for every node
    #[arg(long, value_name = "FILE")]
    pub image_archive: Option<PathBuf>,
}

/// `prejoin lab break`.
#[derive(Debug, Args)]
pub struct LabBreak {
    /// Which fault
    #[arg(value_enum)]
    pub fault: Fault,
    /// Which lab.
    #[command(flatten)]
    pub place: LabPlace,
}

/// `prejoin lab heal`.
#[derive(Debug, Args)]
pub struct LabHeal {
    /// Which fault; all of them without it
    #[arg(value_enum)]
    pub fault: Option<Fault>,
    /// Which lab.
    #[command(flatten)]
    pub place: LabPlace,
}

/// A name that can begin those of containers and files.
fn name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if text.len() <= 20 && text.chars().all(plain) && ends(text.chars().next()) && ends(text.chars().last()) {
        Ok(text.to_owned())
    } else {
        Err("a lab's name is made of up to 20 lower-case letters, digits and `-`".to_owned())
    }
}
