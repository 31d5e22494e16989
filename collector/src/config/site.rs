//! Sites: clusters and hosts that agents are reached on by other ways than a cluster's API.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::path::PathBuf;

use prejoin_checks::facts::kernel::NetworkView;
use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

/// A site: a cluster of the audit that is known by its nodes, and by a facts file if there is one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Site {
    /// The name it goes by in the report.
    pub name: String,
    /// Its facts file. Without it, nothing is known of it but its nodes.
    #[serde(default)]
    pub facts: Option<PathBuf>,
    /// Its nodes, and how agents on them are reached.
    #[serde(default)]
    pub nodes: Vec<SiteNode>,
}

/// One node of a site: at most one of `ssh`, `exec` and `local`. With none of them there is no agent on it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SiteNode {
    /// Its name, as the facts have it.
    pub name: String,
    /// An agent started over ssh: a destination as `user@host`, or more.
    #[serde(default)]
    pub ssh: Option<SshEntry>,
    /// An agent started in a pod.
    #[serde(default)]
    pub exec: Option<ExecEntry>,
    /// An agent on this machine: `true`, or the command that starts it.
    #[serde(default)]
    pub local: Option<LocalEntry>,
    /// The addresses at which others reach it, the preferred one of each family first. Without them, those that the facts file has.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Whether the agent sees the node's own network or a pod's. Without it: the node's own.
    #[serde(default)]
    pub network: Option<NetworkView>,
    /// The zone it is in.
    #[serde(default)]
    pub zone: Option<String>,
}

/// How an agent is started over ssh: a destination, or more.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum SshEntry {
    /// What `ssh` takes: a host, `user@host`, a name of your ssh configuration.
    Destination(String),
    /// A destination, and how it is to be used.
    Full(SshOptions),
}

/// A destination of ssh, and how it is to be used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SshOptions {
    /// What `ssh` takes: a host, `user@host`, a name of your ssh configuration.
    pub destination: String,
    /// Arguments for `ssh`: `[-p, "2222"]`.
    #[serde(default)]
    pub options: Vec<String>,
    /// Where `prejoin-agent` is over there. Without it: where its shell finds it.
    #[serde(default)]
    pub agent: Option<String>,
    /// Whether it is started by `sudo`, which must not ask for a password.
    #[serde(default)]
    pub sudo: bool,
}

/// An agent on this machine.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum LocalEntry {
    /// The `prejoin-agent` beside `prejoin`, or where the shell would find it.
    Beside(bool),
    /// A command and its arguments.
    Command(Vec<String>),
}

/// An agent in a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExecEntry {
    /// The kubeconfig context of its cluster. Without it: the current one.
    #[serde(default)]
    pub context: Option<String>,
    /// The kubeconfig that has the context. Without it: as kubectl finds it.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container. Without it: the pod's only one.
    #[serde(default)]
    pub container: Option<String>,
    /// Where `prejoin-agent` is in it. Without it: where the container's PATH finds it.
    #[serde(default)]
    pub agent: Option<String>,
}

/// Where the agents of a cluster's own DaemonSet are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ClusterAgents {
    /// Whether they are used. Without it: if they are there.
    pub r#use: Option<bool>,
    /// The namespace they are in. Without it: `prejoin-system`.
    pub namespace: Option<String>,
}

impl Site {
    /// What the types alone do not rule out; `place` is what errors call it.
    pub(super) fn validate(&self, place: &str) -> Result<(), String> {
        if self.nodes.is_empty() && self.facts.is_none() {
            return Err(format!("{place} ({}): it has neither nodes nor facts", self.name));
        }
        let mut seen = HashSet::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let at = format!("{place}.nodes[{number}]");
            if node.name.is_empty() {
                return Err(format!("{at}: name is empty"));
            }
            let at = format!("{at} ({})", node.name);
            if !seen.insert((&node.name, node.network.unwrap_or(NetworkView::Host))) {
                return Err(format!("{at}: a node of this name and network is there already"));
            }
            let ways = [node.ssh.is_some(), node.exec.is_some(), node.local.is_some()];
            if ways.iter().filter(|given| **given).count() > 1 {
                return Err(format!("{at}: only one of ssh, exec and local can be said"));
            }
            if node.addresses.is_empty() && self.facts.is_none() {
                return Err(format!(
                    "{at}: it needs addresses, for there is no facts file that has them"
                ));
            }
            if let Some(unusable) = node
                .addresses
                .iter()
                .find(|ip| ip.is_unspecified() || ip.is_multicast())
            {
                return Err(format!("{at}: {unusable} is no address of a node"));
            }
            let destination = match &node.ssh {
                Some(SshEntry::Destination(destination)) => Some(destination),
                Some(SshEntry::Full(options)) => Some(&options.destination),
                None => None,
            };
            if destination.is_some_and(|destination| destination.is_empty() || destination.starts_with('-')) {
                return Err(format!("{at}: ssh needs a destination, as `user@host`"));
            }
            match &node.local {
                Some(LocalEntry::Beside(false)) => return Err(format!("{at}: local is `true` or a command")),
                Some(LocalEntry::Command(words)) if words.is_empty() => {
                    return Err(format!("{at}: the command of local is empty"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for SshEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either::<Self>(
            "a destination as `user@host`, or an object",
            PhantomData,
        ))
    }
}

impl<'de> Deserialize<'de> for LocalEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either::<Self>(
            "`true`, or a list: a command and its arguments",
            PhantomData,
        ))
    }
}

/// One of several shapes, told apart by the first look, so that an error in one of them is told where it is.
struct Either<T>(&'static str, PhantomData<T>);

impl<'de> Visitor<'de> for Either<SshEntry> {
    type Value = SshEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, destination: &str) -> Result<SshEntry, E> {
        Ok(SshEntry::Destination(destination.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SshEntry, A::Error> {
        SshOptions::deserialize(MapAccessDeserializer::new(map)).map(SshEntry::Full)
    }
}

impl<'de> Visitor<'de> for Either<LocalEntry> {
    type Value = LocalEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_bool<E: de::Error>(self, beside: bool) -> Result<LocalEntry, E> {
        Ok(LocalEntry::Beside(beside))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, words: A) -> Result<LocalEntry, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(words)).map(LocalEntry::Command)
    }
}
