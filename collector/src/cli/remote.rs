//! `--collector`: a collector that is asked instead of clusters.

use std::path::PathBuf;

use clap::Args;

/// A collector that is asked by its API.
#[derive(Debug, Default, Clone, Args)]
pub struct Remote {
    /// Ask this collector instead (`audit`, `status`, `diff`); PREJOIN_TOKEN is sent along
    #[arg(
        long,
        global = true,
        env = "PREJOIN_COLLECTOR_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub collector: Option<String>,
    /// Certificates to trust besides the system's, PEM
    #[arg(
        long,
        global = true,
        env = "PREJOIN_COLLECTOR_CA",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub collector_ca: Option<PathBuf>,
    /// The file that holds the token to send along
    #[arg(
        long,
        global = true,
        env = "PREJOIN_TOKEN_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub token_file: Option<PathBuf>,
}
