//! What can be typed. What it comes to, together with environment and configuration file, is worked out in
//! [`settings`](crate::settings).

mod agents;
mod baseline;
mod lab;
mod remote;
mod serve;

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use prejoin_checks::policy::{Phase, Probe};
use prejoin_checks::profile::Profile;

use crate::config::{FailOn, ProbeTimeout, Timeout};
use crate::report::Format;
pub use agents::{AgentsCommand, AuditAgents, DryRun, Image, Install, Placed, Rbac, Remove, Status, UseAgents};
pub use baseline::{Accept, BaselineCommand, ShowBaseline};
pub use lab::{LabBreak, LabCommand, LabHeal, LabPlace, LabUp, On};
pub use remote::Remote;
pub use serve::{Serve, ServeAt, ServeCommand, ServeEnroll, ServeRevoke, TokenCommand};

/// Audits Kubernetes clusters before they are joined with Cilium ClusterMesh or Submariner.
#[derive(Debug, Parser)]
#[command(name = "prejoin", bin_name = "prejoin", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// When to use colours; `auto` means on a terminal, unless NO_COLOR is set.
    #[arg(
        long,
        value_enum,
        global = true,
        env = "PREJOIN_COLOR",
        hide_env_values = true,
        default_value_t,
        value_name = "WHEN"
    )]
    pub color: Color,
    /// A collector to ask instead.
    #[command(flatten)]
    pub remote: Remote,
}

const EXIT_CODES: &str = "Exit codes:
  0  everything asked for holds, or was done
  1  prejoin itself failed
  2  bad usage, configuration or input
  3  at least one rule is broken
  4  only warnings, with --fail-on warn
  5  incomplete: something could not be determined (--allow-unknown to accept)
  6  drift: `prejoin diff` found differences, or `--against` did and nothing fails";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read clusters, judge them and report
    Audit(Box<Audit>),
    /// Write a cluster's facts file; nothing else is needed to check it elsewhere, later, offline
    Facts(Facts),
    /// Judge facts files, or what an audit saved; asks no cluster
    Check(Check),
    /// Accept a state of clusters, to hold later ones against: `prejoin audit --against`
    #[command(subcommand)]
    Baseline(BaselineCommand),
    /// Install agents that probe in clusters, look after them, and remove them without trace
    #[command(subcommand)]
    Agents(AgentsCommand),
    /// Stay, and audit groups of clusters on a schedule
    Serve(Box<Serve>),
    /// Make clusters to try prejoin on, break what is between them, and mend it
    #[command(subcommand)]
    Lab(LabCommand),
    /// Show what a collector knows of its groups
    Status,
    /// Show what changed between two facts files of one cluster, or two JSON reports; with --collector, in a group since its baseline
    Diff(Diff),
    /// List all checks
    Checks(List),
    /// Show what a check looks at, why, and how to fix what it finds
    Explain(Explain),
    /// Print the JSON Schema of a document
    Schema {
        /// Which document
        #[arg(value_enum)]
        document: SchemaOf,
    },
    /// Print a completion script
    Completions {
        /// For which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// `prejoin audit`.
#[derive(Debug, Args)]
pub struct Audit {
    /// Which clusters.
    #[command(flatten)]
    pub clusters: Clusters,
    /// The group that the collector is to audit
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// A facts file to judge beside the contexts (repeatable; `-` is standard input)
    #[arg(long, value_name = "FILE")]
    pub facts: Vec<PathBuf>,
    /// What is read.
    #[command(flatten)]
    pub reading: Reading,
    /// What is sent.
    #[command(flatten)]
    pub sending: Sending,
    /// Who sends it.
    #[command(flatten)]
    pub agents: AuditAgents,
    /// How it is judged.
    #[command(flatten)]
    pub judging: Judging,
}

/// `prejoin facts`.
#[derive(Debug, Args)]
pub struct Facts {
    /// Which clusters.
    #[command(flatten)]
    pub clusters: Clusters,
    /// What is read.
    #[command(flatten)]
    pub reading: Reading,
    /// The configuration file
    #[arg(
        short = 'f',
        long = "file",
        env = "PREJOIN_CONFIG",
        hide_env_values = true,
        value_name = "prejoin.yaml"
    )]
    pub config: Option<PathBuf>,
    /// The file to write instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `prejoin check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Facts files or an audit's bundle, JSON or YAML; `-` is standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How it is judged.
    #[command(flatten)]
    pub judging: Judging,
}

/// `prejoin diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The earlier document
    #[arg(required_unless_present = "group")]
    pub old: Option<PathBuf>,
    /// The later document
    #[arg(required_unless_present = "group")]
    pub new: Option<PathBuf>,
    /// The group of the collector that is meant
    #[arg(long, conflicts_with_all = ["old", "new"], value_name = "NAME")]
    pub group: Option<String>,
    /// How the differences are written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ListFormat,
}

/// `prejoin checks`.
#[derive(Debug, Args)]
pub struct List {
    /// Only the checks of this profile
    #[arg(long, value_name = "PROFILE", value_parser = profiles())]
    pub profile: Option<Profile>,
    /// How the list is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ListFormat,
    /// Columns to write in; the terminal's without it
    #[arg(long, value_name = "COLUMNS", hide = true)]
    pub width: Option<usize>,
}

/// `prejoin explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The check's code or slug, as CM301 or tunnel-protocol
    #[arg(value_name = "CODE|SLUG")]
    pub check: String,
    /// How the page is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ListFormat,
    /// Columns to write in; the terminal's without it
    #[arg(long, value_name = "COLUMNS", hide = true)]
    pub width: Option<usize>,
}

/// Clusters to ask.
#[derive(Debug, Args)]
pub struct Clusters {
    /// A kubeconfig context to read (repeatable); the current one without it
    #[arg(long, value_name = "CONTEXT")]
    pub context: Vec<String>,
    /// The kubeconfig; without it KUBECONFIG, then ~/.kube/config, then the pod's own service account
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// How clusters are read.
#[derive(Debug, Default, Args)]
pub struct Reading {
    /// How long one cluster may take to answer [default: 30s]
    #[arg(long, env = "PREJOIN_TIMEOUT", hide_env_values = true, value_name = "DURATION")]
    pub timeout: Option<Timeout>,
    /// Read the few Secrets with certificates and keys; they are reduced to fingerprints at once
    #[arg(long, env = "PREJOIN_READ_SECRETS", hide_env_values = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub read_secrets: Option<bool>,
}

/// How agents probe, and what is kept of it.
#[derive(Debug, Default, Args)]
pub struct Sending {
    /// Print what would be probed, and what it would cost, and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Packets a second that the whole audit never exceeds, answers included [default: 5000]
    #[arg(long, env = "PREJOIN_RATE", hide_env_values = true, value_name = "PACKETS")]
    pub rate: Option<NonZeroU32>,
    /// Packets a second that one target never gets more of, its answers included [default: 500]
    #[arg(long, env = "PREJOIN_TARGET_RATE", hide_env_values = true, value_name = "PACKETS")]
    pub target_rate: Option<NonZeroU32>,
    /// How long the answer to a packet is waited for [default: 1s]
    #[arg(long, env = "PREJOIN_PROBE_TIMEOUT", hide_env_values = true, value_name = "DURATION")]
    pub probe_timeout: Option<ProbeTimeout>,
    /// Datagrams or echoes of each probe that has samples [default: 10]
    #[arg(long, env = "PREJOIN_SAMPLES", hide_env_values = true, value_name = "COUNT")]
    pub samples: Option<NonZeroU32>,
    /// What the choice of pairs is drawn from: the same seed gives the same pairs
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Write all that the report is made of: `prejoin check FILE` gives the same report
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
}

/// How clusters are judged, and how that is shown.
#[derive(Debug, Default, Args)]
pub struct Judging {
    /// The configuration file
    #[arg(
        short = 'f',
        long = "file",
        env = "PREJOIN_CONFIG",
        hide_env_values = true,
        value_name = "prejoin.yaml"
    )]
    pub config: Option<PathBuf>,
    /// What the clusters are to be joined with (repeatable); without it what they show signs of, else clustermesh
    #[arg(long, env = "PREJOIN_PROFILE", hide_env_values = true, value_delimiter = ',', value_name = "PROFILE", value_parser = profiles())]
    pub profile: Vec<Profile>,
    /// Run only this check (repeatable)
    #[arg(
        long,
        env = "PREJOIN_ONLY",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "CODE"
    )]
    pub only: Vec<String>,
    /// Do not run this check (repeatable)
    #[arg(
        long,
        env = "PREJOIN_SKIP",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "CODE"
    )]
    pub skip: Vec<String>,
    /// How much of the required flows is to be proven [default: cover]
    #[arg(long, env = "PREJOIN_PROBE", hide_env_values = true, value_name = "LEVEL", value_parser = probes())]
    pub probe: Option<Probe>,
    /// Whether the clusters are joined already, so that what only works then is proven too [default: auto]
    #[arg(long, env = "PREJOIN_PHASE", hide_env_values = true, value_name = "PHASE", value_parser = phases())]
    pub phase: Option<Phase>,
    /// The mildest verdict that makes the command fail [default: fail]
    #[arg(
        long,
        value_enum,
        env = "PREJOIN_FAIL_ON",
        hide_env_values = true,
        value_name = "VERDICT"
    )]
    pub fail_on: Option<FailOn>,
    /// What could not be determined leaves the exit code alone
    #[arg(long, env = "PREJOIN_ALLOW_UNKNOWN", hide_env_values = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub allow_unknown: Option<bool>,
    /// Show what changed since this state: a baseline (`prejoin baseline accept`), an audit's bundle or facts; exit code 6 if anything did
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// How the report is written [default: table]
    #[arg(
        short,
        long,
        value_enum,
        env = "PREJOIN_OUTPUT",
        hide_env_values = true,
        value_name = "FORMAT"
    )]
    pub output: Option<Format>,
    /// Show everything, what passed included
    #[arg(short, long)]
    pub verbose: bool,
    /// Columns to write in; the terminal's without it
    #[arg(long, value_name = "COLUMNS", hide = true)]
    pub width: Option<usize>,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How lists and pages are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For a person.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// A document that has a JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// What an audit found (`-o json`).
    Report,
    /// A facts file.
    Facts,
    /// `prejoin.yaml`.
    Config,
    /// The file of `prejoin serve`.
    ServerConfig,
    /// The body of an alert's webhook.
    Alert,
    /// A line to an agent.
    ProtocolRequest,
    /// A line from an agent.
    ProtocolAnswer,
}

fn profiles() -> impl TypedValueParser<Value = Profile> {
    PossibleValuesParser::new(Profile::ALL.map(Profile::name)).try_map(|name| name.parse::<Profile>())
}

fn phases() -> impl TypedValueParser<Value = Phase> {
    const PHASES: [(&str, &str, Phase); 3] = [
        ("auto", "Each pair as its own objects show", Phase::Auto),
        ("before", "As before the join, whatever objects show", Phase::Before),
        (
            "joined",
            "As after the join: a pair that is not joined is a fault",
            Phase::Joined,
        ),
    ];
    let values = PHASES.map(|(name, help, _)| PossibleValue::new(name).help(help));
    PossibleValuesParser::new(values).map(|name| {
        let chosen = PHASES.into_iter().find(|(known, _, _)| *known == name);
        chosen.map(|(_, _, phase)| phase).unwrap_or_default()
    })
}

fn probes() -> impl TypedValueParser<Value = Probe> {
    const LEVELS: [(&str, Probe); 4] = [
        ("none", Probe::None),
        ("smoke", Probe::Smoke),
        ("cover", Probe::Cover),
        ("full", Probe::Full),
    ];
    PossibleValuesParser::new(LEVELS.map(|(name, _)| name)).map(|name| {
        LEVELS
            .into_iter()
            .find_map(|(level, probe)| (level == name).then_some(probe))
            .unwrap_or_default()
    })
}
