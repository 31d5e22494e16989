//! `prejoin baseline`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use prejoin_checks::profile::Profile;

use super::{ListFormat, profiles};

/// `prejoin baseline`.
#[derive(Debug, Subcommand)]
pub enum BaselineCommand {
    /// Accept the state that an audit's bundle or facts files hold, and write it as a baseline
    Accept(Accept),
    /// Show what was accepted, by whom and when
    Show(ShowBaseline),
}

/// `prejoin baseline accept`.
#[derive(Debug, Args)]
pub struct Accept {
    /// An audit's bundle (`prejoin audit --save`), or facts files, JSON or YAML; `-` is standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The configuration file
    #[arg(
        short = 'f',
        long = "file",
        env = "PREJOIN_CONFIG",
        hide_env_values = true,
        value_name = "prejoin.yaml"
    )]
    pub config: Option<PathBuf>,
    /// What the clusters are to be joined with (repeatable); without it what the bundle was judged for, or what they show signs of
    #[arg(long, env = "PREJOIN_PROFILE", hide_env_values = true, value_delimiter = ',', value_name = "PROFILE", value_parser = profiles())]
    pub profile: Vec<Profile>,
    /// Who accepts it [default: the user's name]
    #[arg(long, env = "USER", hide_env = true, value_name = "NAME", default_value = "")]
    pub by: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub note: String,
    /// The file to write instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `prejoin baseline show`.
#[derive(Debug, Args)]
pub struct ShowBaseline {
    /// The baseline; `-` is standard input
    #[arg(value_name = "FILE", default_value = "baseline.json")]
    pub file: PathBuf,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ListFormat,
}
