//! Certificates, trust and configured peers: what only Secrets tell. Without `--read-secrets` these are not asked.

pub mod pages;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use pages::CHECKS;

use crate::check::{Judged, NoVerdict};
use crate::facts::cilium::{Certificate, MeshSecrets};
use crate::facts::provenance::{Known, Source};
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::cilium::control_plane::{Addresses, Endpoint, deployment, endpoints, parse_endpoint, served};
use crate::profile::cilium::values::IdentityMode;
use crate::report::{Evidence, Severity};

/// The certificates that a control plane needs; chart and hand-made ones have the same names.
const LEAVES: [&str; 4] = [
    "clustermesh-apiserver-server-cert",
    "clustermesh-apiserver-admin-cert",
    "clustermesh-apiserver-remote-cert",
    "clustermesh-apiserver-local-cert",
];

fn secrets<'a>(cluster: &Cluster<'a>) -> Result<&'a Known<MeshSecrets>, NoVerdict> {
    Ok(cluster.facts.cilium.get()?.secrets.known_value()?)
}

fn source(cluster: &Cluster<'_>, secret: &str) -> Source {
    let namespace = cluster
        .facts
        .cilium
        .ok()
        .map_or("kube-system", |cilium| &cilium.namespace);
    let (name, key) = secret.split_once('/').unwrap_or((secret, ""));
    Source::read(format!("Secret {namespace}/{name}"), key)
}

/// Certificates of all keys that begin so, with their Secret and key.
fn certificates<'s>(secrets: &'s MeshSecrets, start: &str) -> impl Iterator<Item = (&'s String, &'s Certificate)> {
    secrets
        .certificates
        .iter()
        .filter(move |(key, _)| key.starts_with(start))
        .flat_map(|(key, certificates)| certificates.iter().map(move |one| (key, one)))
}

/// The cluster's own CA: `cilium-ca`, or what its certificate towards peers brings along.
fn own_ca(secrets: &MeshSecrets) -> Option<(&String, &Certificate)> {
    certificates(secrets, "cilium-ca/")
        .chain(certificates(secrets, "clustermesh-apiserver-remote-cert/ca.crt"))
        .next()
}

/// Every CA the cluster trusts: its own, and the bundle.
fn trusted(secrets: &MeshSecrets) -> BTreeSet<&str> {
    let bundle = certificates(secrets, "cilium-root-ca.crt");
    let own =
        certificates(secrets, "cilium-ca/").chain(certificates(secrets, "clustermesh-apiserver-remote-cert/ca.crt"));
    own.chain(bundle)
        .map(|(_, certificate)| certificate.fingerprint.as_str())
        .collect()
}

fn trust(audit: &Audit<'_>) -> Vec<Outcome> {
    // Clusters with the same CA and the same trust are alike: groups are compared, not pairs.
    let mut groups: BTreeMap<(String, BTreeSet<String>), Vec<ClusterId>> = BTreeMap::new();
    let mut outcomes = Vec::new();
    for cluster in audit.clusters {
        let read = || -> Result<(String, BTreeSet<String>), NoVerdict> {
            let secrets = &secrets(cluster)?.value;
            let (_, own) = own_ca(secrets).ok_or_else(|| NoVerdict::does_not_apply("there is no CA yet"))?;
            let brings_its_own = secrets.peers.values().any(|peer| peer.own_ca);
            let mut trusted: BTreeSet<String> = trusted(secrets).into_iter().map(str::to_owned).collect();
            if brings_its_own {
                trusted.insert(OWN_CA_PER_PEER.to_owned());
            }
            Ok((own.fingerprint.clone(), trusted))
        };
        match read() {
            Ok(group) => groups.entry(group).or_default().push(cluster.id),
            Err(why) => outcomes.push(Outcome::none(why).about([cluster.id])),
        }
    }
    let evidence = |ids: &[ClusterId]| -> Vec<Evidence> {
        let one = |id: &ClusterId| {
            let cluster = audit.cluster(*id);
            let (key, certificate) = own_ca(&secrets(cluster).ok()?.value)?;
            Some(Evidence::new(
                cluster.name(),
                &format!("{} {}", certificate.common_name, short(&certificate.fingerprint)),
                &source(cluster, key),
            ))
        };
        ids.iter().filter_map(one).collect()
    };
    let all: Vec<ClusterId> = groups.values().flatten().copied().collect();
    let known: Vec<_> = groups.into_iter().collect();
    let mut broken = false;
    for (place, ((ca, trusts), members)) in known.iter().enumerate() {
        for ((other_ca, other_trusts), other_members) in &known[place + 1..] {
            let mutual = ca == other_ca
                || (trusts.contains(other_ca) || trusts.contains(OWN_CA_PER_PEER))
                    && (other_trusts.contains(ca) || other_trusts.contains(OWN_CA_PER_PEER));
            if mutual {
                continue;
            }
            broken = true;
            let both = [members.clone(), other_members.clone()].concat();
            outcomes.push(
                Outcome::broken()
                    .expected("one CA, or each side's bundle holds the other's CA")
                    .found(format!("{} and {} have different CAs and do not trust each other's", audit.names(members), audit.names(other_members)))
                    .evidence_all(evidence(&both))
                    .remedy("share the CA before the mesh is enabled, or add both CAs to `tls.caBundle` on both sides (connect with --allow-mismatching-ca does it); the control plane restarts")
                    .across([members.clone(), other_members.clone()])
                    .about(both),
            );
        }
    }
    if !broken && all.len() >= 2 {
        outcomes.push(
            Outcome::holds()
                .found("every cluster trusts the others' CAs")
                .evidence_all(evidence(&all))
                .about(all),
        );
    }
    outcomes
}

/// Stands for peers whose entries bring the CA along, which Secrets of this shape do not tell apart by name.
const OWN_CA_PER_PEER: &str = "brought along by the peer's entry";

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..16).unwrap_or(fingerprint)
}

fn leaves_chain(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let secrets = &secrets(cluster)?.value;
    let keys: BTreeSet<&str> = secrets
        .certificates
        .values()
        .flatten()
        .filter(|one| one.is_ca && !one.subject_key_id.is_empty())
        .map(|one| one.subject_key_id.as_str())
        .collect();
    let own: BTreeSet<&str> = certificates(secrets, "cilium-ca/")
        .chain(certificates(secrets, "cilium-root-ca.crt"))
        .map(|(_, one)| one.subject_key_id.as_str())
        .filter(|id| !id.is_empty())
        .collect();
    let keys = if own.is_empty() { keys } else { own };
    let leaves: Vec<_> = LEAVES
        .iter()
        .flat_map(|leaf| certificates(secrets, &format!("{leaf}/tls.crt")).collect::<Vec<_>>())
        .filter(|(_, one)| !one.is_ca)
        .collect();
    if leaves.is_empty() || keys.is_empty() {
        return Err(NoVerdict::does_not_apply("no certificates or no CA key ids to compare"));
    }
    let strays: Vec<_> = leaves
        .iter()
        .filter(|(_, one)| !one.authority_key_id.is_empty() && !keys.contains(one.authority_key_id.as_str()))
        .collect();
    let outcome = if strays.is_empty() {
        Outcome::holds().found(format!("{} certificates chain to the CA", leaves.len()))
    } else {
        Outcome::broken()
            .found(format!("{} certificates were signed by another CA", strays.len()))
            .remedy("delete these Secrets and run the chart or certgen again, so that the CA in use signs them; the control plane restarts")
    };
    Ok(outcome
        .expected("certificates signed by the CA now in use")
        .evidence_all(strays.iter().map(|(key, one)| {
            Evidence::new(
                cluster.name(),
                &format!("signed by key {}", short(&one.authority_key_id)),
                &source(cluster, key),
            )
        })))
}

fn intermediate(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let secrets = &secrets(cluster)?.value;
    let (key, ca) = own_ca(secrets).ok_or_else(|| NoVerdict::does_not_apply("there is no CA yet"))?;
    let blocks = certificates(secrets, "cilium-ca/").count();
    let is_root = ca.authority_key_id.is_empty() || ca.authority_key_id == ca.subject_key_id;
    let outcome = if is_root {
        Outcome::holds().found("the CA is a root")
    } else {
        Outcome::broken()
            .found(format!(
                "{} is an intermediate of {}, {blocks} certificates in its Secret",
                ca.common_name, ca.issuer
            ))
            .remedy("put root and intermediates of all clusters into `tls.caBundle` everywhere, or share one CA")
    };
    Ok(outcome
        .expected("one shared root")
        .evidence(Evidence::new(cluster.name(), &ca.issuer, &source(cluster, key))))
}

fn validity(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const DAY_SECONDS: i64 = 86_400;
    const WARN_DAYS: i64 = 30;
    let secrets = &secrets(cluster)?.value;
    let now = audit.policy.evaluated_at.as_second();
    let mut worst: Option<Severity> = None;
    let mut evidence = Vec::new();
    let mut count = 0;
    for (key, certificate) in certificates(secrets, "") {
        count += 1;
        let (start, end) = (certificate.not_before.as_second(), certificate.not_after.as_second());
        let left = end - now;
        let margin = (WARN_DAYS * DAY_SECONDS).min((end - start) / 10);
        let severity = if left < 0 || now < start {
            Some(Severity::Fail)
        } else if left < margin {
            Some(Severity::Warn)
        } else {
            None
        };
        if severity.is_some() {
            let text = if now < start {
                format!("not valid before {}", certificate.not_before)
            } else {
                format!("valid until {} ({} days)", certificate.not_after, left / DAY_SECONDS)
            };
            evidence.push(Evidence::new(cluster.name(), &text, &source(cluster, key)));
        }
        worst = worst.max(severity);
    }
    if count == 0 {
        return Err(NoVerdict::does_not_apply("there are no certificates yet"));
    }
    Ok(match worst {
        None => Outcome::holds().found(format!("{count} certificates are valid, with margin")),
        Some(severity) => Outcome::broken_as(severity)
            .found(format!("{} of {count} certificates", evidence.len()))
            .remedy("run the chart again (method helm never renews by itself), or use tls.auto.method cronJob or certmanager")
            .evidence_all(evidence),
    }
    .expected("valid, with more than 30 days or a tenth of the lifetime left, whichever is less"))
}

fn server_names(audit: &Audit<'_>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for cluster in audit.clusters {
        let judged = || -> Judged {
            let own_name = cluster.cilium()?.cluster_name()?.value;
            let secret = &secrets(cluster)?.value;
            let names: Vec<&String> = certificates(secret, "clustermesh-apiserver-server-cert/tls.crt")
                .flat_map(|(_, one)| &one.names)
                .collect();
            if names.is_empty() {
                return Err(NoVerdict::does_not_apply("there is no server certificate yet"));
            }
            let mut uncovered = Vec::new();
            for peer in audit.clusters.iter().filter(|peer| peer.id != cluster.id) {
                let Some(entry) = peer
                    .facts
                    .cilium
                    .ok()
                    .and_then(|cilium| cilium.secrets.ok()?.peers.get(&own_name))
                else {
                    continue;
                };
                for endpoint in entry.endpoints.iter().filter_map(|url| parse_endpoint(url)) {
                    if !dials_own_cache(&endpoint) && !names.iter().any(|name| covers(name, &endpoint.host)) {
                        uncovered.push((peer, endpoint.host));
                    }
                }
            }
            let outcome = if uncovered.is_empty() {
                Outcome::holds().found("covers every name that peers dial")
            } else {
                Outcome::broken()
                    .found(format!("does not cover {}", uncovered[0].1))
                    .remedy(format!("add the name with clustermesh.apiserver.tls.auto.server.extraDnsNames (before 1.20: tls.server.extraDnsNames) on {} and issue the certificate again", cluster.name()))
            };
            Ok(outcome
                .expected("a server certificate with every name that peers dial")
                .evidence(Evidence::new(
                    cluster.name(),
                    &names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", "),
                    &source(cluster, "clustermesh-apiserver-server-cert/tls.crt"),
                ))
                .evidence_all(
                    uncovered
                        .iter()
                        .map(|(peer, host)| Evidence::new(peer.name(), host, &source(peer, "cilium-kvstoremesh"))),
                ))
        };
        outcomes.push(judged().unwrap_or_else(Outcome::none).about([cluster.id]));
    }
    outcomes
}

/// With KVStoreMesh the agents' own entry for every peer points at the local Service.
fn dials_own_cache(endpoint: &Endpoint) -> bool {
    endpoint.host.starts_with("clustermesh-apiserver.") && endpoint.host.rsplit('.').next() == Some("svc")
}

/// Whether a certificate name covers a host: a wildcard stands for one label.
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(domain) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(domain)),
        None => name.eq_ignore_ascii_case(host),
    }
}

fn users(audit: &Audit<'_>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for cluster in audit.clusters {
        let judged = || -> Judged {
            let secret = &secrets(cluster)?.value;
            let name = cluster.cilium()?.cluster_name()?.value;
            let user = format!("remote-{name}");
            let (key, certificate) = certificates(secret, "clustermesh-apiserver-remote-cert/tls.crt")
                .next()
                .ok_or_else(|| NoVerdict::does_not_apply("there is no certificate towards peers yet"))?;
            if certificate.common_name != user {
                return Ok(
                    Outcome::holds().found(format!("presents {}, which every peer knows", certificate.common_name))
                );
            }
            let mut without = Vec::new();
            for peer in audit.clusters.iter().filter(|peer| peer.id != cluster.id) {
                match peer.facts.cilium.get()?.mesh.remote_users.get() {
                    Ok(users) if users.contains(&user) => {}
                    Ok(_) => without.push(peer.id),
                    Err(why) if why.reason == crate::facts::provenance::Reason::NotFound => without.push(peer.id),
                    Err(why) => return Err(why.into()),
                }
            }
            let evidence = Evidence::new(cluster.name(), &user, &source(cluster, key));
            Ok(if without.is_empty() {
                Outcome::holds().found(format!("every peer knows {user}"))
            } else {
                Outcome::broken()
                    .found(format!("{} do not know {user}", audit.names(&without)))
                    .remedy("put both sides on auth mode migration first, and list the peer under clustermesh.config.clusters there")
                    .across([vec![cluster.id], without])
            }
            .expected("every peer lists the user this cluster presents")
            .evidence(evidence))
        };
        outcomes.push(judged().unwrap_or_else(Outcome::none).about([cluster.id]));
    }
    outcomes
}

fn peer_secrets(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let secret = &secrets(cluster)?.value;
    let Some(workload) = deployment(cluster)? else {
        return Err(NoVerdict::does_not_apply("the mesh is not enabled yet"));
    };
    let mut wanted = vec!["cilium-clustermesh"];
    if workload.container("kvstoremesh").is_some() {
        wanted.push("cilium-kvstoremesh");
    }
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|name| !secret.present.iter().any(|present| present == name))
        .collect();
    let joined = audit.clusters.iter().any(|peer| {
        peer.facts
            .cilium
            .ok()
            .and_then(|cilium| cilium.secrets.ok())
            .is_some_and(|secrets| !secrets.peers.is_empty())
    });
    Ok(if missing.is_empty() {
        Outcome::holds().found(format!("{} peers configured", secret.peers.len()))
    } else {
        Outcome::broken_as(if joined { Severity::Fail } else { Severity::Info })
            .found(format!("{} missing", missing.join(", ")))
            .remedy("set chart value clustermesh.config.enabled=true, or create the Secrets")
            .evidence_all(
                missing
                    .iter()
                    .map(|name| Evidence::new(cluster.name(), &"missing", &source(cluster, name))),
            )
    }
    .expected("the Secrets that name the peers"))
}

fn pinned_node(audit: &Audit<'_>) -> Vec<Outcome> {
    judge_endpoints(
        audit,
        |owner, endpoint| {
            let nodes = owner.facts.nodes.get()?;
            let host: std::net::IpAddr = endpoint
                .host
                .parse()
                .map_err(|_| NoVerdict::does_not_apply("a name, not an address"))?;
            let node = nodes
                .iter()
                .find(|node| node.addresses.iter().any(|address| address.ip == host));
            let is_node_port = crate::profile::cilium::control_plane::service(owner)?
                .is_some_and(|service| service.ports.iter().any(|port| port.node_port == Some(endpoint.port)));
            if !is_node_port {
                return Err(NoVerdict::does_not_apply("not a NodePort"));
            }
            Ok(match node {
                None => Some(format!("{host} is no node of {}", owner.name())),
                Some(node) if !node.ready => Some(format!(
                    "{host} is node {} of {}, which is not ready",
                    node.name,
                    owner.name()
                )),
                Some(_) => None,
            })
        },
        "list several addresses (--destination-endpoint, all with one port), or use a load balancer; connect again",
    )
}

fn own_control_plane(audit: &Audit<'_>) -> Vec<Outcome> {
    let addresses = Addresses::of(audit);
    let mut outcomes = Vec::new();
    for cluster in audit.clusters {
        let judged = || -> Judged {
            let secret = &secrets(cluster)?.value;
            let own_name = cluster.cilium()?.cluster_name()?.value;
            let own: BTreeSet<String> = served(cluster).into_iter().map(|endpoint| endpoint.host).collect();
            let mut worst: Option<Severity> = None;
            let mut evidence = Vec::new();
            for (name, peer) in secret.peers.iter().filter(|(name, _)| **name != own_name) {
                for endpoint in endpoints(cluster, peer)
                    .into_iter()
                    .filter(|endpoint| !dials_own_cache(endpoint))
                {
                    let severity = if addresses.owners(&endpoint).any(|owner| owner == cluster.id) {
                        Some(Severity::Fail)
                    } else {
                        own.contains(&endpoint.host).then_some(Severity::Warn)
                    };
                    if severity.is_some() {
                        evidence.push(Evidence::new(
                            cluster.name(),
                            &format!("{name} at {}:{}", endpoint.host, endpoint.port),
                            &source(cluster, "cilium-kvstoremesh"),
                        ));
                    }
                    worst = worst.max(severity);
                }
            }
            if secret.peers.is_empty() {
                return Err(NoVerdict::does_not_apply("no peer is configured yet"));
            }
            Ok(match worst {
                None => Outcome::holds().found(format!("{} peers are dialled elsewhere", secret.peers.len())),
                Some(severity) => Outcome::broken_as(severity)
                    .found(if severity == Severity::Fail { "a peer's endpoint is the cluster's own control plane" } else { "a peer's endpoint is an address of the cluster's own control plane, on another port" })
                    .remedy("give node ranges, NodePorts and load balancers of the clusters addresses of their own, and connect again")
                    .evidence_all(evidence),
            }
            .expected("endpoints that belong to the peer"))
        };
        outcomes.push(judged().unwrap_or_else(Outcome::none).about([cluster.id]));
    }
    outcomes
}

/// Judges every configured endpoint with the cluster it should belong to; a text is a complaint.
fn judge_endpoints(
    audit: &Audit<'_>,
    judge: impl Fn(&Cluster<'_>, &Endpoint) -> Result<Option<String>, NoVerdict>,
    remedy: &str,
) -> Vec<Outcome> {
    let mut by_name: BTreeMap<String, &Cluster<'_>> = BTreeMap::new();
    for cluster in audit.clusters {
        if let Ok(name) = cluster
            .cilium()
            .and_then(crate::profile::cilium::Settings::cluster_name)
        {
            by_name.insert(name.value, cluster);
        }
    }
    let one = |cluster: &Cluster<'_>| -> Judged {
        let secret = &secrets(cluster)?.value;
        let (mut complaints, mut judged) = (Vec::new(), 0);
        for (name, peer) in &secret.peers {
            let Some(owner) = by_name.get(name) else { continue };
            for endpoint in endpoints(cluster, peer)
                .into_iter()
                .filter(|endpoint| !dials_own_cache(endpoint))
            {
                match judge(owner, &endpoint) {
                    Ok(complaint) => {
                        judged += 1;
                        complaints.extend(complaint.map(|text| (name.clone(), text)));
                    }
                    Err(NoVerdict::DoesNotApply(_)) => {}
                    Err(why) => return Err(why),
                }
            }
        }
        if judged == 0 {
            return Err(NoVerdict::does_not_apply("no endpoint to judge"));
        }
        Ok(if complaints.is_empty() {
            Outcome::holds().found(format!("{judged} endpoints are as they should be"))
        } else {
            Outcome::broken()
                .found(complaints[0].1.clone())
                .remedy(remedy)
                .evidence_all(complaints.iter().map(|(name, text)| {
                    Evidence::new(
                        cluster.name(),
                        &format!("{name}: {text}"),
                        &source(cluster, "cilium-kvstoremesh"),
                    )
                }))
        })
    };
    audit
        .clusters
        .iter()
        .map(|cluster| one(cluster).unwrap_or_else(Outcome::none).about([cluster.id]))
        .collect()
}

fn hand_made(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let secret = &secrets(cluster)?.value;
    let Some(workload) = deployment(cluster)? else {
        return Err(NoVerdict::does_not_apply("the mesh is not enabled yet"));
    };
    if cluster.cilium()?.identity_mode()?.value == IdentityMode::Kvstore {
        return Err(NoVerdict::does_not_apply("mode kvstore has certificates of its own"));
    }
    let local = workload.container("kvstoremesh").is_some();
    let needed = LEAVES
        .iter()
        .filter(|leaf| local || **leaf != "clustermesh-apiserver-local-cert");
    let missing: Vec<&&str> = needed
        .filter(|leaf| {
            !secret
                .certificates
                .keys()
                .any(|key| key.starts_with(&format!("{leaf}/tls.crt")))
        })
        .collect();
    Ok(if missing.is_empty() {
        Outcome::holds().found("all certificates are there")
    } else {
        Outcome::broken()
            .found(format!("{} missing or without tls.crt", missing.iter().map(|leaf| **leaf).collect::<Vec<_>>().join(", ")))
            .remedy("issue them with the names that the chart expects (tls.auto, or by hand), then restart clustermesh-apiserver")
            .evidence_all(missing.iter().map(|leaf| Evidence::new(cluster.name(), &"missing", &source(cluster, leaf))))
    }
    .expected("server, admin, remote and (with KVStoreMesh) local certificate"))
}

#[cfg(test)]
mod tests;
