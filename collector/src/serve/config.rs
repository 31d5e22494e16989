//! [`ServerConfig`]: the file of `prejoin serve`. It says of groups of clusters what `prejoin.yaml` says of one audit, and when each is audited.
//!
//! Unknown keys are refused, and every error names file, line and column. Relative paths are relative to the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use prejoin_checks::intent::SubmarinerPlan;
use prejoin_checks::policy::{Phase, Probe, Waiver};
use prejoin_checks::profile::Profile;
use schemars::JsonSchema;
use serde::Deserialize;

use super::alerts::Target;
use super::schedule::{Cron, Schedule, TimeZone};
use crate::config::{
    AgentsEntry, ApiVersion, ClusterEntry, Config, ConfigError, ExternalNetwork, FailOn, PaceEntry, Site, Timeout,
};
use crate::error::Error;
use crate::load;
use crate::settings::Settings;

/// What `prejoin serve` does: which clusters it audits and when, where it keeps what it finds, and how it is reached.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServerConfig {
    /// The version of this format.
    pub api_version: ApiVersion,
    /// What this document is, for tools that expect every document to say so.
    #[serde(default)]
    pub kind: Option<ServerKind>,
    /// The address that pages, API, metrics and agents are served on.
    #[serde(default = "loopback")]
    pub listen: SocketAddr,
    /// The certificate of the listener.
    #[serde(default)]
    pub tls: Tls,
    /// Where everything is kept: a file (SQLite), or `postgres://…`.
    #[serde(default = "beside")]
    pub store: String,
    /// What is audited together.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// Where it is told what happens to findings.
    #[serde(default)]
    pub alerts: Vec<Target>,
}

/// The kind of a server's configuration: there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ServerKind {
    /// The collector that stays.
    #[default]
    Server,
}

/// The certificate of the listener. Without one of yours, one is made on first start and kept in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Tls {
    /// Your certificate with its chain, PEM; read again when it changes.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// The names and addresses that a certificate made here is for, besides those of this machine.
    pub names: Vec<String>,
    /// No TLS at all: on loopback, or behind a proxy that ends it.
    pub off: bool,
}

/// Clusters that are audited together, because they are joined or are to be.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Group {
    /// What it is called in pages, metrics and alerts.
    pub name: String,
    /// What the clusters are to be joined with. Without it: what they show signs of.
    #[serde(default)]
    pub profiles: Vec<Profile>,
    /// Clusters that are read by kubeconfig context or from facts files, and planned ones.
    #[serde(default)]
    pub clusters: Vec<ClusterEntry>,
    /// Clusters whose agent dials in, by the name they were enrolled with.
    #[serde(default)]
    pub enrolled: Vec<String>,
    /// Sites: clusters and hosts whose agents are reached by ssh, as local processes, or in pods that you name.
    #[serde(default)]
    pub sites: Vec<Site>,
    /// When it is audited. Without it: every hour.
    #[serde(default)]
    pub schedule: ScheduleEntry,
    /// How it is judged.
    #[serde(default)]
    pub policy: PolicyEntry,
    /// Findings that someone answers for.
    #[serde(default)]
    pub waivers: Vec<Waiver>,
    /// How long what was found is kept.
    #[serde(default)]
    pub retention: Retention,
    /// How probes are sent.
    #[serde(default)]
    pub pace: PaceEntry,
    /// Which agents in clusters with a context send them.
    #[serde(default)]
    pub agents: AgentsEntry,
    /// How long one cluster may take to answer, as `30s` or `2m`.
    #[serde(default)]
    pub timeout: Option<Timeout>,
    /// Whether the few Secrets with certificates and keys are read, and reduced to fingerprints.
    #[serde(default)]
    pub read_secrets: Option<bool>,
    /// Networks outside all clusters that must not collide with any: on-premises, VPN.
    #[serde(default)]
    pub external_networks: Vec<ExternalNetwork>,
    /// How Submariner is to be joined; what is not said is what `subctl join` does by default.
    #[serde(default)]
    pub submariner: SubmarinerPlan,
    /// The longest round trip between clusters that what runs across them can afford, as `50ms`.
    #[serde(default)]
    pub round_trip_budget: Option<Timeout>,
}

/// When a group is audited.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ScheduleEntry {
    /// Minute, hour, day of month, month, day of week: `17 * * * *`.
    pub cron: Cron,
    /// The time zone of that, as `Europe/Berlin`.
    pub time_zone: TimeZone,
    /// Each audit begins up to so many seconds later, so that collectors and groups do not all begin at once.
    pub jitter_seconds: u32,
}

/// How a group is judged.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct PolicyEntry {
    /// How much of the required flows is to be probed.
    pub probe: Option<Probe>,
    /// Whether the clusters are joined already: `auto` (as their own objects show), `before` or `joined`.
    pub phase: Option<Phase>,
    /// The checks to run, by code or slug. Without it: all.
    pub only: Vec<String>,
    /// The checks not to run, by code or slug.
    pub skip: Vec<String>,
    /// The mildest verdict that is a failure.
    pub fail_on: Option<FailOn>,
    /// Whether what could not be determined is accepted.
    pub allow_unknown: Option<bool>,
}

/// How long what was found is kept. The last audit and the accepted one stay in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Retention {
    /// Facts, observations and reports, in days.
    pub audits_days: u32,
    /// The lives of findings, and what was measured on paths, in days.
    pub history_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            audits_days: 90,
            history_days: 400,
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            api_version: ApiVersion::default(),
            kind: None,
            listen: loopback(),
            tls: Tls::default(),
            store: beside(),
            groups: Vec::new(),
            alerts: Vec::new(),
        }
    }
}

/// Nobody else reaches it until it is told to be reached.
fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8443))
}

fn beside() -> String {
    "prejoin.db".to_owned()
}

impl ServerConfig {
    /// Reads a configuration.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = load::read(path, crate::config::MAX_BYTES)?;
        Self::parse(&load::shown(path), &text)
    }

    /// Understands a configuration; `file` is what errors call it.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let config: Self = crate::config::from_yaml(file, text)?;
        config.validate(file).map_err(|message| ConfigError::Invalid {
            file: file.to_owned(),
            message,
        })?;
        Ok(config)
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// What the types alone do not rule out.
    fn validate(&self, file: &str) -> Result<(), String> {
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return Err("tls: certificate and key go together".to_owned());
        }
        if self.tls.off && self.tls.certificate.is_some() {
            return Err("tls: it is off, and has a certificate".to_owned());
        }
        for (place, group) in self.groups.iter().enumerate() {
            let at = format!("groups[{place}] ({})", group.name);
            if group.name.is_empty() || group.name.len() > 63 {
                return Err(format!("groups[{place}]: name has 1 to 63 characters"));
            }
            if let Some(twice) = self.groups[..place].iter().position(|other| other.name == group.name) {
                return Err(format!(
                    "groups[{twice}] and groups[{place}] are both called {}",
                    group.name
                ));
            }
            group.validate(file).map_err(|message| format!("{at}: {message}"))?;
        }
        for (place, target) in self.alerts.iter().enumerate() {
            let at = format!("alerts[{place}] ({})", target.name);
            target.validate().map_err(|message| format!("{at}: {message}"))?;
            if self.alerts[..place].iter().any(|other| other.name == target.name) {
                return Err(format!("{at}: another target is called so"));
            }
            if let Some(unknown) = target.groups.iter().find(|name| self.group(name).is_none()) {
                return Err(format!("{at}: there is no group {unknown}"));
            }
        }
        Ok(())
    }
}

impl Group {
    /// When it is audited.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            cron: self.schedule.cron.clone(),
            zone: self.schedule.time_zone,
            jitter: Duration::from_secs(self.schedule.jitter_seconds.into()),
            key: self.name.clone(),
        }
    }

    /// The same as an audit's configuration; enrolled clusters are not part of it.
    pub fn config(&self) -> Config {
        Config {
            clusters: self.clusters.clone(),
            sites: self.sites.clone(),
            profiles: self.profiles.clone(),
            probe: self.policy.probe,
            phase: self.policy.phase,
            pace: self.pace.clone(),
            agents: self.agents.clone(),
            timeout: self.timeout,
            read_secrets: self.read_secrets,
            fail_on: self.policy.fail_on,
            allow_unknown: self.policy.allow_unknown,
            only: self.policy.only.clone(),
            skip: self.policy.skip.clone(),
            waivers: self.waivers.clone(),
            external_networks: self.external_networks.clone(),
            submariner: self.submariner.clone(),
            round_trip_budget: self.round_trip_budget,
            ..Config::default()
        }
    }

    /// What an audit of it at this moment is asked for. `file` is what sources call the configuration.
    pub fn settings(&self, file: &str, directory: &Path, now: Timestamp) -> Result<Settings, Error> {
        Settings::configured(file, directory, self.config(), now)
    }

    /// The names of its clusters and sites.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        let clusters = self.clusters.iter().map(|entry| entry.name.as_str());
        let sites = self.sites.iter().map(|site| site.name.as_str());
        clusters.chain(self.enrolled.iter().map(String::as_str)).chain(sites)
    }

    fn validate(&self, file: &str) -> Result<(), String> {
        let config = self.config();
        config.validate()?;
        if self.members().next().is_none() {
            return Err("it has no cluster".to_owned());
        }
        let others = config.clusters.iter().map(|entry| &entry.name);
        let others: Vec<&String> = others.chain(config.sites.iter().map(|site| &site.name)).collect();
        for (place, name) in self.enrolled.iter().enumerate() {
            if name.is_empty() {
                return Err(format!("enrolled[{place}] is empty"));
            }
            if others.contains(&name) || self.enrolled[..place].contains(name) {
                return Err(format!("enrolled[{place}]: something else is called {name} already"));
            }
        }
        if self.retention.audits_days == 0 || self.retention.history_days == 0 {
            return Err("retention: at least a day".to_owned());
        }
        // Names of checks are known only there.
        Settings::configured(file, Path::new(""), config, Timestamp::UNIX_EPOCH)
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests;
