//! `prejoin serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// `prejoin serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where it is said what to do.
    #[command(flatten)]
    pub at: ServeAt,
    /// The address to listen on, instead of the file's
    #[arg(long, env = "PREJOIN_LISTEN", hide_env_values = true, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
}

/// The collector that is meant.
#[derive(Debug, Clone, Args)]
pub struct ServeAt {
    /// The server's configuration file
    #[arg(
        short = 'f',
        long = "file",
        env = "PREJOIN_SERVER_CONFIG",
        hide_env_values = true,
        default_value = "server.yaml",
        value_name = "server.yaml"
    )]
    pub config: PathBuf,
    /// The file (SQLite) or postgres://… URL to keep everything in, instead of what the configuration says
    #[arg(long, env = "PREJOIN_STORE", hide_env_values = true, value_name = "FILE|URL")]
    pub store: Option<String>,
}
