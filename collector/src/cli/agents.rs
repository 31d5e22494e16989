//! `prejoin agents`.

use clap::{Args, Subcommand, ValueEnum};
use prejoin_agent::dial::trust::Fingerprint;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Clusters, ListFormat};
use crate::agents::manifest::{self, DialOut, Mode, Wanted};
use crate::agents::permissions::Access;
use crate::config::Timeout;
use crate::error::Error;

/// `prejoin agents`.
#[derive(Debug, Subcommand)]
pub enum AgentsCommand {
    /// Install agents, or change those that are installed; says what it waits for
    Install(Install),
    /// Show on which nodes agents are, and what keeps them from the others
    Status(Status),
    /// Remove agents, and prove that nothing is left
    Remove(Remove),
    /// Say what you are not permitted that an audit or an installation needs; asks the cluster and changes nothing
    Rbac(Rbac),
}

/// Where agents are.
#[derive(Debug, Args)]
pub struct Placed {
    /// Which clusters.
    #[command(flatten)]
    pub clusters: Clusters,
    /// The namespace of the agents
    #[arg(short, long, env = "PREJOIN_NAMESPACE", hide_env_values = true, default_value = manifest::NAMESPACE, value_parser = label_value, value_name = "NAMESPACE")]
    pub namespace: String,
}

/// What agents run from.
#[derive(Debug, Clone, Default, Args)]
pub struct Image {
    /// The image of the agents [default: that of this version]
    #[arg(long, env = "PREJOIN_IMAGE", hide_env_values = true, value_name = "IMAGE")]
    pub image: Option<String>,
    /// The Secret in the agents' namespace with which the image is pulled
    #[arg(long, env = "PREJOIN_IMAGE_PULL_SECRET", hide_env_values = true, value_parser = label_value, value_name = "SECRET")]
    pub image_pull_secret: Option<String>,
    /// Run agents only on nodes with these labels (repeatable, or separated by commas)
    #[arg(long, value_delimiter = ',', value_parser = label, value_name = "LABEL=VALUE")]
    pub node_selector: Vec<(String, String)>,
}

impl Image {
    /// What is to be installed with it.
    pub fn wanted(&self, namespace: &str, mode: Mode) -> Wanted {
        let image = self.image.clone().filter(|image| !image.is_empty());
        Wanted {
            namespace: namespace.to_owned(),
            image: image.unwrap_or_else(|| manifest::IMAGE.to_owned()),
            pull_secret: self.image_pull_secret.clone(),
            node_selector: self.node_selector.iter().cloned().collect(),
            mode,
            collector: None,
        }
    }
}

/// Which agents an audit uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UseAgents {
    /// Those that are installed; that there are none is an error.
    Installed,
    /// Agents of its own, installed before and removed after.
    Ephemeral,
    /// None in clusters.
    None,
}

/// The agents of `prejoin audit`.
#[derive(Debug, Default, Args)]
pub struct AuditAgents {
    /// Which agents in clusters probe; without it those that are installed, if any are
    #[arg(
        long,
        value_enum,
        env = "PREJOIN_AGENTS",
        hide_env_values = true,
        value_name = "WHICH"
    )]
    pub agents: Option<UseAgents>,
    /// The namespace of the agents; ephemeral ones make one of their own without it, and need one that is there with it
    #[arg(short, long, env = "PREJOIN_NAMESPACE", hide_env_values = true, value_parser = label_value, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// What ephemeral agents run from.
    #[command(flatten)]
    pub image: Image,
    /// What ephemeral agents may: `restricted` leaves out root and NET_RAW [default: cluster]
    #[arg(long, value_enum, value_name = "MODE")]
    pub agents_mode: Option<Mode>,
    /// Ephemeral agents end after this time, whatever happened to the audit [default: 30m]
    #[arg(long, value_name = "DURATION")]
    pub agents_deadline: Option<Timeout>,
    /// How long ephemeral agents may take to become ready; then the audit goes on with those that are [default: 1m]
    #[arg(long, value_name = "DURATION")]
    pub agents_timeout: Option<Timeout>,
}

/// `prejoin agents install`.
#[derive(Debug, Args)]
pub struct Install {
    /// Where.
    #[command(flatten)]
    pub placed: Placed,
    /// What agents run from.
    #[command(flatten)]
    pub image: Image,
    /// Which agents, and what they may
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    /// The collector that stays, for the cluster agent to dial out to: https://collector.example:8443
    #[arg(long, value_parser = collector, value_name = "URL")]
    pub collector: Option<String>,
    /// The one-time token that `prejoin serve enroll` printed; agents that were enrolled before need none
    #[arg(
        long,
        env = "PREJOIN_ENROLL_TOKEN",
        hide_env_values = true,
        requires = "collector",
        value_name = "TOKEN"
    )]
    pub enroll: Option<String>,
    /// The SHA-256 of the collector's certificate, or of the one that issued it, as `prejoin serve enroll` printed it
    #[arg(long, requires = "collector", value_name = "SHA256")]
    pub collector_fingerprint: Option<Fingerprint>,
    /// Print the objects instead of applying them; asks no cluster
    #[arg(long, conflicts_with = "dry_run")]
    pub print: bool,
    /// Ask the API server what it would do, and do nothing
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "server", value_name = "WHERE")]
    pub dry_run: Option<DryRun>,
    /// Take over fields that others have changed
    #[arg(long)]
    pub force_conflicts: bool,
    /// How long agents may take to become ready
    #[arg(long, default_value = "2m", value_name = "DURATION")]
    pub timeout: Timeout,
}

impl Install {
    /// What is to be installed.
    pub fn wanted(&self) -> Result<Wanted, Error> {
        if self.collector.is_some() && self.mode == Mode::Node {
            return Err(Error::Usage(
                "--collector: it is the cluster agent that dials out, and --mode node has none".to_owned(),
            ));
        }
        let collector = self.collector.clone().map(|url| DialOut {
            url,
            fingerprint: self.collector_fingerprint,
            token: self.enroll.clone(),
        });
        Ok(Wanted {
            collector,
            ..self.image.wanted(&self.placed.namespace, self.mode)
        })
    }
}

/// `prejoin agents status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Where.
    #[command(flatten)]
    pub placed: Placed,
    /// How long one cluster may take to answer
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    pub timeout: Timeout,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ListFormat,
}

/// `prejoin agents remove`.
#[derive(Debug, Args)]
pub struct Remove {
    /// Where.
    #[command(flatten)]
    pub placed: Placed,
    /// Ask the API server what it would do, and do nothing
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "server", value_name = "WHERE")]
    pub dry_run: Option<DryRun>,
    /// How long everything may take to be gone
    #[arg(long, default_value = "2m", value_name = "DURATION")]
    pub timeout: Timeout,
}

/// `prejoin agents rbac`.
#[derive(Debug, Args)]
pub struct Rbac {
    /// Where.
    #[command(flatten)]
    pub placed: Placed,
    /// What you want to do (repeatable); everything without it
    #[arg(long = "for", visible_alias = "mode", value_enum, value_name = "ACCESS")]
    pub access: Vec<Access>,
    /// Print the roles that permit it instead; asks no cluster
    #[arg(long)]
    pub print: bool,
}

/// Who tells what would be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// The API server, admission included.
    Server,
}

/// `LABEL=VALUE`.
fn label(text: &str) -> Result<(String, String), String> {
    let (label, value) = text
        .split_once('=')
        .ok_or("a label and its value are written LABEL=VALUE")?;
    if label.is_empty() {
        return Err("the label is empty".to_owned());
    }
    Ok((label.to_owned(), value.to_owned()))
}

/// The URL of a collector: TLS always.
fn collector(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").unwrap_or_default().trim_end_matches('/');
    if host.is_empty() || host.contains(['/', '?', '#', ' ']) {
        return Err("a collector is named as https://collector.example:8443".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// A name as namespaces and Secrets have it (RFC 1123): anything else would end up in a path.
fn label_value(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if text.len() <= 253 && text.chars().all(allowed) && ends(text.chars().next()) && ends(text.chars().last()) {
        Ok(text.to_owned())
    } else {
        Err("a name is made of lower-case letters, digits, `-` and `.`".to_owned())
    }
}
