//! [`Error`]: why a command could not do its work, and the exit code that says so.

use std::io;

use crate::config::ConfigError;
use crate::fleet::FleetError;
use crate::lab::LabError;
use crate::load::LoadError;
use crate::serve::store::StoreError;

/// Exit codes of the command. A report brings its own: see [`Report::exit_code`](prejoin_checks::report::Report::exit_code).
pub mod exit_code {
    /// Everything asked for holds, or was done.
    pub const PASS: u8 = 0;
    /// The tool itself failed.
    pub const TOOL_FAILED: u8 = 1;
    /// Bad usage, configuration or input.
    pub const BAD_USAGE: u8 = 2;
    /// What was asked for could not be found out.
    pub const INCOMPLETE: u8 = 5;
    /// Two documents differ.
    pub const DRIFT: u8 = 6;
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// The configuration file cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of facts or a report cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The clusters asked for cannot be told.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// A lab could not be made or changed.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// What the collector keeps could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The result could not be written.
    #[error("cannot write {to}: {source}")]
    Write {
        /// Where to: a path or `standard output`.
        to: String,
        /// What went wrong.
        source: io::Error,
    },
    /// The machine did not give what the tool needs.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// The exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) | Self::Load(_) | Self::Fleet(_) => exit_code::BAD_USAGE,
            Self::Write { .. } | Self::Lab(_) | Self::Store(_) | Self::Internal(_) => exit_code::TOOL_FAILED,
        }
    }
}
