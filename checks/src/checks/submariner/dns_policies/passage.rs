//! What NetworkPolicies let through between two sets of pods, as far as that can be told.

use std::collections::BTreeMap;

use crate::facts::network_policy::{NetworkPolicy, PolicyPeer, PolicyPort, PolicyRule, Requirement};

/// The label that every namespace has.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Pods that are made from one template.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pods<'a> {
    pub(super) namespace: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
}

/// One packet's way, seen from the pods it leaves or arrives at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// What policies do to a connection in one direction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passage<'a> {
    /// No policy is in the way, or one allows it.
    Open,
    /// These policies select the pods, and none allows it.
    Closed(Vec<&'a NetworkPolicy>),
    /// It hangs on a rule of this policy that cannot be decided from here.
    Undecided(&'a NetworkPolicy),
}

/// What the policies about `pods` say of connections with `peer` in this direction, on one port.
pub(super) fn passage<'a>(
    policies: &'a [NetworkPolicy],
    pods: Pods<'_>,
    direction: Direction,
    peer: Pods<'_>,
    (protocol, port): (&str, u16),
) -> Passage<'a> {
    let in_force: Vec<(&NetworkPolicy, &[PolicyRule])> = policies
        .iter()
        .filter(|policy| policy.namespace == pods.namespace && selects(&policy.pods, pods))
        .filter_map(|policy| {
            let rules = match direction {
                Direction::In => policy.ingress.as_ref(),
                Direction::Out => policy.egress.as_ref(),
            };
            Some((policy, rules?.as_slice()))
        })
        .collect();
    if in_force.is_empty() {
        return Passage::Open;
    }
    let mut undecided = None;
    for (policy, rules) in &in_force {
        let allows = any(rules
            .iter()
            .map(|rule| both(any_peer(policy, rule, peer), any_port(rule, protocol, port))));
        match allows {
            Some(true) => return Passage::Open,
            Some(false) => {}
            None => undecided = undecided.or(Some(*policy)),
        }
    }
    match undecided {
        Some(policy) => Passage::Undecided(policy),
        None => Passage::Closed(in_force.into_iter().map(|(policy, _)| policy).collect()),
    }
}

fn selects(selector: &[Requirement], pods: Pods<'_>) -> bool {
    selector
        .iter()
        .all(|requirement| requirement.is_met_by(pods.labels.get(&requirement.key).map(String::as_str)))
}

fn any_peer(policy: &NetworkPolicy, rule: &PolicyRule, pods: Pods<'_>) -> Option<bool> {
    if rule.peers.is_empty() {
        return Some(true);
    }
    any(rule.peers.iter().map(|peer| match peer {
        PolicyPeer::Addresses => None,
        PolicyPeer::Pods {
            namespaces,
            pods: selector,
        } => both(
            match namespaces {
                None => Some(policy.namespace == pods.namespace),
                Some(selector) => is_in(selector, pods.namespace),
            },
            Some(selects(selector, pods)),
        ),
    }))
}

/// Of a namespace's labels only its name is known for certain.
fn is_in(selector: &[Requirement], namespace: &str) -> Option<bool> {
    let missed = selector
        .iter()
        .map(|requirement| (requirement.key == NAMESPACE_NAME).then(|| !requirement.is_met_by(Some(namespace))));
    any(missed).map(|missed| !missed)
}

fn any_port(rule: &PolicyRule, protocol: &str, number: u16) -> Option<bool> {
    if rule.ports.is_empty() {
        return Some(true);
    }
    any(rule.ports.iter().map(|port| {
        if port.protocol != protocol {
            return Some(false);
        }
        includes(port, number)
    }))
}

/// A name stands for whatever port the pod gives it.
fn includes(port: &PolicyPort, number: u16) -> Option<bool> {
    let Some(text) = &port.port else { return Some(true) };
    let first: u16 = text.parse().ok()?;
    Some((first..=port.end_port.unwrap_or(first)).contains(&number))
}

/// True if one is, false if all are, undecided otherwise.
fn any(all: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut certain = true;
    for one in all {
        match one {
            Some(true) => return Some(true),
            Some(false) => {}
            None => certain = false,
        }
    }
    certain.then_some(false)
}

/// False if one is, true if both are, undecided otherwise.
fn both(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}
