//! [`Config`]: `prejoin.yaml`, which can say everything that flags can, and what is planned besides.
//!
//! Unknown keys are refused, and every error names file, line and column. Relative paths are relative to the file.

mod agents;
mod site;

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use prejoin_checks::cidr::Cidr;
use prejoin_checks::facts::RangeKind;
use prejoin_checks::intent::SubmarinerPlan;
use prejoin_checks::policy::{Phase, Probe, Waiver};
use prejoin_checks::profile::Profile;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::load::{self, LoadError};
use crate::report::Format;
pub use agents::AgentsEntry;
pub use site::{ClusterAgents, ExecEntry, LocalEntry, Site, SiteNode, SshEntry, SshOptions};

/// The version of the configuration format.
pub const CONFIG_API_VERSION: &str = "prejoin.dev/v1alpha1";

/// The largest configuration that is read.
pub(crate) const MAX_BYTES: u64 = 4 << 20;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] LoadError),
    /// It is no configuration.
    #[error("{error}\n{excerpt}")]
    Parse {
        /// What is wrong, and where.
        error: LoadError,
        /// The lines around it, with a mark below.
        excerpt: String,
    },
    /// It is one, but says something that cannot be.
    #[error("{file}: {message}")]
    Invalid {
        /// The file, as the user named it.
        file: String,
        /// What cannot be, with the key that says it.
        message: String,
    },
}

/// What an audit is about and how it is done. Flags override the environment, which overrides this.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// The version of this format.
    pub api_version: ApiVersion,
    /// What this document is, for tools that expect every document to say so.
    #[serde(default)]
    pub kind: Option<Kind>,
    /// The clusters: those that exist, to be read from their API or from facts files, and those that are planned.
    /// `--context`, `--facts` and files named on the command line replace those that exist.
    #[serde(default)]
    pub clusters: Vec<ClusterEntry>,
    /// The sites: clusters and hosts that agents are reached on by ssh, as local processes, or in pods that you name.
    /// They count among the clusters that exist.
    #[serde(default)]
    pub sites: Vec<Site>,
    /// What the clusters are to be joined with. Without it: what they show signs of.
    #[serde(default)]
    pub profiles: Vec<Profile>,
    /// How much of the required flows is to be probed.
    #[serde(default)]
    pub probe: Option<Probe>,
    /// Whether the clusters are joined already: `auto` (as their own objects show), `before` or `joined`.
    #[serde(default)]
    pub phase: Option<Phase>,
    /// How probes are sent.
    #[serde(default)]
    pub pace: PaceEntry,
    /// Which agents in clusters send them.
    #[serde(default)]
    pub agents: AgentsEntry,
    /// How long one cluster may take to answer, as `30s` or `2m`.
    #[serde(default)]
    pub timeout: Option<Timeout>,
    /// Whether the few Secrets with certificates and keys are read, and reduced to fingerprints.
    #[serde(default)]
    pub read_secrets: Option<bool>,
    /// The mildest verdict that makes the command fail.
    #[serde(default)]
    pub fail_on: Option<FailOn>,
    /// Whether what could not be determined leaves the exit code alone.
    #[serde(default)]
    pub allow_unknown: Option<bool>,
    /// The checks to run, by code or slug. Without it: all.
    #[serde(default)]
    pub only: Vec<String>,
    /// The checks not to run, by code or slug.
    #[serde(default)]
    pub skip: Vec<String>,
    /// Findings that someone answers for.
    #[serde(default)]
    pub waivers: Vec<Waiver>,
    /// Networks outside all clusters that must not collide with any: on-premises, VPN.
    #[serde(default)]
    pub external_networks: Vec<ExternalNetwork>,
    /// How Submariner is to be joined; what is not said is what `subctl join` does by default.
    #[serde(default)]
    pub submariner: SubmarinerPlan,
    /// The longest round trip between clusters that what runs across them can afford, as `50ms`. Without it round trips are measured and not judged.
    #[serde(default)]
    pub round_trip_budget: Option<Timeout>,
    /// How the report is written.
    #[serde(default)]
    pub output: Option<Format>,
}

/// The version of the configuration format: there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first.
    #[default]
    #[serde(rename = "prejoin.dev/v1alpha1")]
    V1Alpha1,
}

/// The kind of a configuration: there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Kind {
    /// An audit.
    #[default]
    Audit,
}

/// One cluster: at most one of `context`, `facts` and `planned`. With none of them it is read from the kubeconfig
/// context of its own name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClusterEntry {
    /// The name it goes by in the report.
    pub name: String,
    /// The kubeconfig context to read it through.
    #[serde(default)]
    pub context: Option<String>,
    /// The kubeconfig that has the context. Without it: as kubectl finds it.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// A facts file to take instead of asking the cluster.
    #[serde(default)]
    pub facts: Option<PathBuf>,
    /// A cluster that does not exist yet: all that is known of it.
    #[serde(default)]
    pub planned: Option<Planned>,
    /// Ranges of an existing cluster that no API shows.
    #[serde(default)]
    pub ranges: Ranges,
    /// The agents of its own DaemonSet, reached through its API. Without it: those that are there are used.
    #[serde(default)]
    pub agents: ClusterAgents,
}

/// How probes are sent; what is not said is as gentle as it comes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct PaceEntry {
    /// Packets a second on the wire that the whole audit never exceeds, answers included.
    pub rate: Option<NonZeroU32>,
    /// Packets a second that one target never gets more of, its answers included.
    pub target_rate: Option<NonZeroU32>,
    /// How long an answer is waited for, as `1s` or `500ms`; at most a minute.
    pub timeout: Option<ProbeTimeout>,
    /// Datagrams or echoes of each probe that has samples.
    pub samples: Option<NonZeroU32>,
    /// What the choice of pairs is drawn from: the same seed gives the same pairs. Without it: the moment of the audit.
    pub seed: Option<u64>,
}

/// What is known of a cluster that does not exist yet.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Planned {
    /// Cilium's `cluster.id`.
    pub cluster_id: Option<u32>,
    /// The cluster's name in its mesh: Cilium's `cluster.name`, Submariner's cluster ID.
    pub cluster_name: Option<String>,
    /// PodCIDRs.
    pub pods: Vec<Cidr>,
    /// Service CIDRs.
    pub services: Vec<Cidr>,
    /// The networks of its nodes.
    pub nodes: Vec<Cidr>,
    /// Addresses that load balancers hand out.
    pub load_balancers: Vec<Cidr>,
    /// Its part of Submariner's Globalnet.
    pub globalnet: Vec<Cidr>,
    /// Its range of clusterset IPs.
    pub clusterset: Vec<Cidr>,
}

/// Ranges by use.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Ranges {
    /// PodCIDRs.
    pub pods: Vec<Cidr>,
    /// Service CIDRs.
    pub services: Vec<Cidr>,
    /// The networks of its nodes.
    pub nodes: Vec<Cidr>,
    /// Addresses that load balancers hand out.
    pub load_balancers: Vec<Cidr>,
    /// Its part of Submariner's Globalnet.
    pub globalnet: Vec<Cidr>,
    /// Its range of clusterset IPs.
    pub clusterset: Vec<Cidr>,
}

/// A network outside all clusters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExternalNetwork {
    /// What you call it.
    pub name: String,
    /// Its range.
    pub cidr: Cidr,
}

/// The mildest verdict that makes a command fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FailOn {
    /// A broken rule: warnings do not change the exit code.
    #[default]
    Fail,
    /// A warning: exit code 4 if there is nothing worse.
    Warn,
}

/// How long one cluster may take to answer: more than nothing, at most an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Timeout(pub Duration);

impl Default for Timeout {
    fn default() -> Self {
        Self(Duration::from_secs(30))
    }
}

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no time to wait: write `30s` or `2m`, at most an hour");
        let duration: jiff::SignedDuration = text.trim().parse().map_err(|_| wrong())?;
        let duration = Duration::try_from(duration).map_err(|_| wrong())?;
        if duration.is_zero() || duration > Duration::from_secs(3600) {
            return Err(wrong());
        }
        Ok(Self(duration))
    }
}

impl TryFrom<String> for Timeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// How long the answer to a packet is waited for: at least a millisecond, at most a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct ProbeTimeout {
    /// In milliseconds.
    pub millis: u32,
}

impl FromStr for ProbeTimeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let duration: Option<jiff::SignedDuration> = text.trim().parse().ok();
        let millis = duration.and_then(|duration| u32::try_from(duration.as_millis()).ok());
        match millis {
            Some(millis @ 1..=60_000) => Ok(Self { millis }),
            _ => Err(format!(
                "`{text}` is no time to wait for a packet: write `1s` or `500ms`, at most a minute"
            )),
        }
    }
}

impl TryFrom<String> for ProbeTimeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs_f64())
    }
}

impl Planned {
    /// Its ranges.
    pub fn ranges(&self) -> Ranges {
        Ranges {
            pods: self.pods.clone(),
            services: self.services.clone(),
            nodes: self.nodes.clone(),
            load_balancers: self.load_balancers.clone(),
            globalnet: self.globalnet.clone(),
            clusterset: self.clusterset.clone(),
        }
    }
}

impl Ranges {
    /// The ranges with what they are used for and the key they stand under.
    pub fn by_kind(&self) -> [(RangeKind, &'static str, &[Cidr]); 6] {
        [
            (RangeKind::Pods, "pods", &self.pods),
            (RangeKind::Services, "services", &self.services),
            (RangeKind::Nodes, "nodes", &self.nodes),
            (RangeKind::LoadBalancers, "loadBalancers", &self.load_balancers),
            (RangeKind::Globalnet, "globalnet", &self.globalnet),
            (RangeKind::Clusterset, "clusterset", &self.clusterset),
        ]
    }
}

impl Config {
    /// Reads a configuration. `-` is standard input.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = load::read(path, MAX_BYTES)?;
        Self::parse(&load::shown(path), &text)
    }

    /// Understands a configuration; `file` is what errors call it.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let config: Self = from_yaml(file, text)?;
        config.validate().map_err(|message| ConfigError::Invalid {
            file: file.to_owned(),
            message,
        })?;
        Ok(config)
    }

    /// What the types alone do not rule out.
    pub(crate) fn validate(&self) -> Result<(), String> {
        for (place, entry) in self.clusters.iter().enumerate() {
            let of = [entry.context.is_some(), entry.facts.is_some(), entry.planned.is_some()];
            if of.iter().filter(|given| **given).count() > 1 {
                return Err(format!(
                    "clusters[{place}] ({}): only one of context, facts and planned can be said",
                    entry.name
                ));
            }
            if entry.name.is_empty() {
                return Err(format!("clusters[{place}]: name is empty"));
            }
            if let Some(twice) = self.clusters[..place].iter().position(|other| other.name == entry.name) {
                return Err(format!(
                    "clusters[{twice}] and clusters[{place}] are both called {}",
                    entry.name
                ));
            }
            if entry.planned.is_some() && entry.ranges != Ranges::default() {
                return Err(format!(
                    "clusters[{place}] ({}): the ranges of a planned cluster stand under planned",
                    entry.name
                ));
            }
            let exists_in_an_api = entry.facts.is_none() && entry.planned.is_none();
            if entry.agents != ClusterAgents::default() && !exists_in_an_api {
                return Err(format!(
                    "clusters[{place}] ({}): agents are reached through a context, and it has none (see sites)",
                    entry.name
                ));
            }
        }
        for (place, site) in self.sites.iter().enumerate() {
            let at = format!("sites[{place}]");
            if site.name.is_empty() {
                return Err(format!("{at}: name is empty"));
            }
            let clusters = self.clusters.iter().map(|entry| &entry.name);
            let before = self.sites[..place].iter().map(|site| &site.name);
            if clusters.chain(before).any(|name| *name == site.name) {
                return Err(format!("{at}: something else is called {} already", site.name));
            }
            site.validate(&at)?;
        }
        Ok(())
    }
}

/// Understands a configuration of any kind; `file` is what errors call it.
pub(crate) fn from_yaml<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, ConfigError> {
    serde_saphyr::from_str(text).map_err(|error| ConfigError::Parse {
        excerpt: excerpt(&error),
        error: load::yaml_error(file, &error),
    })
}

/// The lines around an error with a mark below, without the message that the parser writes beside the mark.
fn excerpt(error: &serde_saphyr::Error) -> String {
    let rendered = error.render();
    let lines = rendered
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("-->"))
        .skip(1);
    let lines = lines.map(|line| match line.trim_start().strip_prefix('|') {
        Some(mark) if mark.trim_start().starts_with('^') => line.rfind('^').map_or(line, |end| &line[..=end]),
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
