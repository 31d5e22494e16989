//! `prejoin serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::ListFormat;
use crate::config::Timeout;
use crate::serve::access::Role;

/// `prejoin serve`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Serve {
    /// What else than to serve.
    #[command(subcommand)]
    pub command: Option<ServeCommand>,
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
        global = true,
        default_value = "server.yaml",
        value_name = "server.yaml"
    )]
    pub config: PathBuf,
    /// The file (SQLite) or postgres://… URL to keep everything in, instead of what the configuration says
    #[arg(
        long,
        env = "PREJOIN_STORE",
        hide_env_values = true,
        global = true,
        value_name = "FILE|URL"
    )]
    pub store: Option<String>,
}

/// `prejoin serve enroll`.
#[derive(Debug, Args)]
pub struct ServeEnroll {
    /// The name that the cluster gets
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Where its agent reaches this collector [default: by the first of `tls.names`, the address that is listened on, or this machine's name]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// How long the token may wait to be used
    #[arg(long, default_value = "1h", value_name = "DURATION")]
    pub lifetime: Timeout,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ListFormat,
}

/// `prejoin serve revoke`.
#[derive(Debug, Args)]
pub struct ServeRevoke {
    /// The name of the cluster
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// What can be done with a collector besides running it, on a machine that reaches its store; also while it runs.
#[derive(Debug, Subcommand)]
pub enum ServeCommand {
    /// Let a cluster dial in: print a one-time token, and how to install agents with it
    Enroll(ServeEnroll),
    /// End what a cluster that dials in may, at once
    Revoke(ServeRevoke),
    /// Make, list and revoke tokens of people and programs
    #[command(subcommand)]
    Token(TokenCommand),
    /// Write everything that audits found, one JSON document to a line
    Export {
        /// The file to write; `-` is standard output
        #[arg(default_value = "-", value_name = "FILE")]
        output: PathBuf,
    },
    /// Copy the store's file as it is at this moment, while the collector runs
    Backup {
        /// The file to write; it must not be there yet
        #[arg(value_name = "FILE")]
        output: PathBuf,
    },
}

/// `prejoin serve token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, this once
    Create {
        /// What it is called in the log
        name: String,
        /// What it allows
        #[arg(long, default_value = "viewer", value_parser = roles())]
        role: Role,
        /// For how many days it is valid; until it is revoked without
        #[arg(long, value_name = "DAYS")]
        days: Option<u32>,
    },
    /// List all tokens
    List,
    /// Revoke a token at once
    Revoke {
        /// The token's name
        name: String,
    },
}

fn roles() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::name)).map(|name| {
        let known = Role::ALL.into_iter().find(|role| role.name() == name);
        known.unwrap_or(Role::Viewer)
    })
}
