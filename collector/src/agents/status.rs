//! What is installed in a cluster, node by node.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::install::{self, Watched};
use super::objects::{self, Owner, Scope, Which};
use super::rollout::Rollout;
use super::trouble::Trouble;
use crate::text;

/// What is installed in one cluster.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The cluster, as the kubeconfig context calls it.
    pub cluster: String,
    /// The namespace that was looked at.
    pub namespace: String,
    /// The images of agents, by object.
    pub images: BTreeMap<String, String>,
    /// What applied the objects, where it was not this tool.
    pub applied_by: Vec<String>,
    /// Every place for an agent; none where none are installed.
    #[serde(flatten)]
    pub rollout: Rollout,
    /// Why nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl Status {
    /// Reads it.
    pub async fn read(client: &kube::Client, cluster: &str, namespace: &str) -> Result<Self, Trouble> {
        let mut status = Self {
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            ..Self::default()
        };
        let found = objects::labelled(client, Scope::Namespace(namespace), Which::Installed).await?;
        let mut selector = BTreeMap::new();
        for found in &found {
            let pod = &found.object.data["spec"]["template"]["spec"];
            let Some(image) = pod["containers"][0]["image"].as_str() else {
                continue;
            };
            status.images.insert(found.shown(), text::short(image, 300));
            if let Owner::OurManifests(managers) = &found.owner {
                status
                    .applied_by
                    .push(format!("{}: {}", found.shown(), text::short(managers, 100)));
            }
            if found.kind.name == "DaemonSet" {
                let labels = pod["nodeSelector"].as_object().into_iter().flatten();
                selector.extend(labels.filter_map(|(label, value)| Some((label.clone(), value.as_str()?.to_owned()))));
            }
        }
        selector.remove("kubernetes.io/os");
        if status.is_installed() {
            let watched = Watched {
                namespace,
                run: None,
                node_selector: &selector,
                pods: false,
                cluster_agent: found.iter().any(|found| found.kind.name == "Deployment"),
            };
            status.rollout = install::look(client, &watched).await?;
        }
        Ok(status)
    }

    /// A cluster of which nothing is known.
    pub fn unknown(cluster: &str, namespace: &str, trouble: &Trouble) -> Self {
        Self {
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            trouble: Some(trouble.0.clone()),
            ..Self::default()
        }
    }

    /// Whether there are agents.
    pub fn is_installed(&self) -> bool {
        !self.images.is_empty()
    }

    /// Whether every agent that there is to be is ready.
    pub fn is_well(&self) -> bool {
        self.trouble.is_none() && self.is_installed() && self.rollout.is_complete()
    }

    /// Writes it for a person.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut line = |text: String| writeln!(out, "{}", text::sanitise(&text));
        if let Some(trouble) = &self.trouble {
            return line(format!("{}: not known: {trouble}", self.cluster));
        }
        if !self.is_installed() {
            return line(format!("{}: no agents in namespace {}", self.cluster, self.namespace));
        }
        line(format!(
            "{}: {} of {} agents ready in namespace {}",
            self.cluster,
            self.rollout.ready(),
            self.rollout.wanted(),
            self.namespace
        ))?;
        for (object, image) in &self.images {
            line(format!("  {object}: {image}"))?;
        }
        for other in &self.applied_by {
            line(format!("  applied by others: {other}"))?;
        }
        let width = self
            .rollout
            .places
            .iter()
            .map(|place| place.node.chars().count())
            .max()
            .unwrap_or_default();
        for place in &self.rollout.places {
            let node = if place.node.is_empty() { "-" } else { &place.node };
            line(format!("  {node:<width$}  {:<13}  {}", place.agent, place.state))?;
        }
        Ok(())
    }
}
