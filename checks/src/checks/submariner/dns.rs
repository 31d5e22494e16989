//! Names in `clusterset.local`: whether cluster DNS forwards them to Lighthouse.

use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::dns::Corefile;
use crate::facts::provenance::{Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::{Mesh, installed};
use crate::report::Evidence;

pub(super) static CHECKS: &[&Check] = &[&COREFILE, &MANAGED, &KUBE_DNS, &NODE_LOCAL, &FORWARD, &ZONES];

/// The domain of the Multi-Cluster Services API.
const CLUSTERSET: &str = "clusterset.local";

/// The domains that must resolve, or why no rule applies.
fn domains(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Result<Vec<String>, NoVerdict> {
    if !Mesh::of(audit).service_discovery(cluster)?.value {
        return Err(NoVerdict::does_not_apply("service discovery is off"));
    }
    let mut domains = vec![CLUSTERSET.to_owned()];
    match installed(cluster)? {
        Some(config) => domains.extend(config.value.custom_domains.iter().cloned()),
        None => domains.extend(audit.intent.submariner.custom_domains.iter().cloned()),
    }
    Ok(domains)
}

/// The custom ConfigMap that the object or the plan names, as `namespace/name`; empty if none.
fn custom_config(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Result<String, NoVerdict> {
    Ok(match installed(cluster)? {
        Some(config) => config.value.coredns_custom_config.clone(),
        None => Mesh::of(audit)
            .cluster_plan(cluster)
            .and_then(|plan| plan.coredns_custom_config.clone())
            .unwrap_or_default(),
    })
}

/// One server block of a Corefile: its zones and the addresses it forwards to.
#[derive(Debug, PartialEq, Eq)]
struct Stanza {
    zones: Vec<String>,
    forwards: Vec<String>,
    plugins: Vec<String>,
}

/// The server blocks of a Corefile. Enough of its grammar for what is asked here: blocks, plugin lines, comments.
fn stanzas(text: &str) -> Vec<Stanza> {
    let mut found: Vec<Stanza> = Vec::new();
    let mut depth = 0_usize;
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let words: Vec<&str> = line.trim_end_matches('{').split_whitespace().collect();
        if depth == 0 && line.ends_with('{') {
            let zones = words
                .iter()
                .flat_map(|word| word.split(','))
                .map(zone_name)
                .filter(|zone| !zone.is_empty())
                .collect();
            found.push(Stanza {
                zones,
                forwards: Vec::new(),
                plugins: Vec::new(),
            });
        } else if let (1, Some(stanza), Some(plugin)) =
            (depth, found.last_mut(), words.first().filter(|word| **word != "}"))
        {
            if *plugin == "forward" {
                stanza
                    .forwards
                    .extend(words.iter().skip(2).map(|word| (*word).to_owned()));
            }
            stanza.plugins.extend(words.iter().map(|word| (*word).to_owned()));
        }
        depth += line.matches('{').count();
        depth = depth.saturating_sub(line.matches('}').count());
    }
    found
}

/// `dns://clusterset.local.:53` is `clusterset.local`.
fn zone_name(zone: &str) -> String {
    let zone = zone.rsplit("://").next().unwrap_or(zone);
    let zone = zone.split(':').next().unwrap_or(zone);
    if zone == "." {
        ".".to_owned()
    } else {
        zone.trim_end_matches('.').to_ascii_lowercase()
    }
}

fn serves(file: &Corefile, domain: &str) -> bool {
    stanzas(&file.text)
        .iter()
        .any(|stanza| stanza.zones.iter().any(|zone| zone == domain))
}

/// The Corefile that the operator edits.
fn is_edited(file: &Corefile) -> bool {
    file.source.object == "ConfigMap kube-system/coredns"
}

fn is_node_local(file: &Corefile) -> bool {
    ["node-local-dns", "nodelocaldns"]
        .iter()
        .any(|name| file.source.object.contains(name))
}

declare_check! {
    /// ## What it checks
    /// A Corefile is where the operator edits it: ConfigMap kube-system/coredns, OpenShift's DNS operator, or a custom
    /// ConfigMap that the main Corefile imports.
    ///
    /// ## Why it matters
    /// Distributions that call it otherwise (RKE2) get no forward, without an error.
    ///
    /// ## How it is determined
    /// ConfigMaps with a Corefile, OpenShift's DNS objects, and `coreDNSCustomConfig` of the Submariner object or the
    /// plan.
    ///
    /// ## How to fix
    /// Join with `--coredns-custom-configmap`, and let the main Corefile import it.
    ///
    /// ## References
    /// submariner-operator, `controllers/servicediscovery`.
    pub static COREFILE = {
        code: "SM801",
        slug: "corefile",
        title: "The Corefile is not where Submariner looks",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "names of exported services do not resolve",
        rules: ["submariner DNS-01"],
        run: Cluster(corefile),
    };
}

fn corefile(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    domains(audit, cluster)?;
    let known = cluster.facts.dns.known_value()?;
    let dns = &known.value;
    let custom = custom_config(audit, cluster)?;
    if dns.kube_dns_stub_domains.is_some() && dns.corefiles.iter().all(is_node_local) {
        return Err(NoVerdict::does_not_apply("kube-dns serves this cluster"));
    }
    let edited = dns.corefiles.iter().find(|file| is_edited(file));
    let imports = dns
        .corefiles
        .iter()
        .any(|file| file.text.lines().any(|line| line.trim_start().starts_with("import ")));
    let other = dns
        .corefiles
        .iter()
        .find(|file| !is_edited(file) && !is_node_local(file));
    let evidence = |file: Option<&Corefile>| file.map(|file| Evidence::new(cluster.name(), &"Corefile", &file.source));
    Ok(if !custom.is_empty() {
        if imports {
            Outcome::holds()
                .found(format!("custom ConfigMap {custom}, imported"))
                .evidence_all(evidence(edited.or(other)))
        } else {
            Outcome::broken()
                .found(format!(
                    "custom ConfigMap {custom} is named, but no Corefile imports one"
                ))
                .remedy("let the main Corefile import the *.server keys of that ConfigMap")
                .evidence_all(evidence(edited.or(other)))
        }
    } else if let Some(file) = edited {
        Outcome::holds()
            .found(file.source.object.clone())
            .evidence_all(evidence(Some(file)))
    } else if !dns.openshift_servers.is_empty() || cluster.facts.control_plane.openshift_network.ok().is_some() {
        Outcome::holds().found("OpenShift's DNS operator")
    } else {
        Outcome::broken()
            .found(other.map_or_else(|| "no Corefile was found".to_owned(), |file| file.source.object.clone()))
            .remedy("join with --coredns-custom-configmap, and let the main Corefile import it")
            .evidence_all(evidence(other))
    }
    .expected("ConfigMap kube-system/coredns, or a custom one that is named and imported"))
}

declare_check! {
    /// ## What it checks
    /// No add-on manager or GitOps tool owns the ConfigMap that the operator edits.
    ///
    /// ## Why it matters
    /// Helm, cloud add-ons, Argo and Flux put their own text back.
    ///
    /// ## How it is determined
    /// Labels and annotations of the CoreDNS ConfigMap.
    ///
    /// ## How to fix
    /// Make the forward part of the managed configuration, or use a custom ConfigMap.
    ///
    /// ## References
    /// Inferred from how such managers work.
    pub static MANAGED = {
        code: "SM802",
        slug: "managed-corefile",
        title: "Something else manages the Corefile",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the forward is overwritten at the next update",
        rules: ["submariner DNS-02"],
        run: Cluster(managed),
    };
}

fn managed(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    domains(audit, cluster)?;
    let known = cluster.facts.dns.known_value()?;
    let edited = known
        .value
        .corefiles
        .iter()
        .find(|file| is_edited(file))
        .ok_or_else(|| NoVerdict::does_not_apply("the operator edits no Corefile here"))?;
    if !custom_config(audit, cluster)?.is_empty() {
        return Err(NoVerdict::does_not_apply("a custom ConfigMap is used"));
    }
    let marks = &known.value.managed_by;
    Ok(if marks.is_empty() {
        Outcome::holds().found("no manager is known")
    } else {
        Outcome::broken()
            .found(some_of(marks))
            .remedy("make the forward part of what is managed, or join with --coredns-custom-configmap")
    }
    .expected("a Corefile that nobody overwrites")
    .evidence(Evidence::new(
        cluster.name(),
        &some_of(marks),
        &Source {
            field: "metadata".to_owned(),
            ..edited.source.clone()
        },
    )))
}

declare_check! {
    /// ## What it checks
    /// Where kube-dns serves the cluster, it has a stub domain for each domain of the clusterset.
    ///
    /// ## Why it matters
    /// Submariner edits CoreDNS only.
    ///
    /// ## How it is determined
    /// `stubDomains` of ConfigMap kube-system/kube-dns.
    ///
    /// ## How to fix
    /// Add the stub domain with the address of `submariner-lighthouse-coredns`.
    ///
    /// ## References
    /// Submariner documentation, known issues.
    pub static KUBE_DNS = {
        code: "SM803",
        slug: "kube-dns",
        title: "kube-dns does not forward",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "names of exported services do not resolve",
        rules: ["submariner DNS-03", "submariner CNI-15"],
        run: Cluster(kube_dns),
    };
}

fn kube_dns(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let domains = domains(audit, cluster)?;
    let known = cluster.facts.dns.known_value()?;
    let Some(stubs) = &known.value.kube_dns_stub_domains else {
        return Err(NoVerdict::does_not_apply("kube-dns does not run"));
    };
    let missing: Vec<&String> = domains.iter().filter(|domain| !stubs.contains_key(*domain)).collect();
    Ok(if missing.is_empty() {
        Outcome::holds().found("a stub domain for each")
    } else {
        Outcome::broken()
            .found(format!("none for {}", some_of(missing)))
            .remedy(
                "add stubDomains with the ClusterIP of submariner-lighthouse-coredns to ConfigMap kube-system/kube-dns",
            )
    }
    .expected("a stub domain for each domain of the clusterset")
    .evidence(Evidence::new(
        cluster.name(),
        &some_of(stubs.keys()),
        &Source::read("ConfigMap kube-system/kube-dns", "stubDomains"),
    )))
}

declare_check! {
    /// ## What it checks
    /// Where NodeLocal DNSCache runs, its Corefile has a zone for each domain of the clusterset.
    ///
    /// ## Why it matters
    /// It answers before CoreDNS is asked.
    ///
    /// ## How it is determined
    /// The Corefile of node-local-dns.
    ///
    /// ## How to fix
    /// Add the zone there.
    ///
    /// ## References
    /// Submariner issue 1549.
    pub static NODE_LOCAL = {
        code: "SM804",
        slug: "node-local-dns",
        title: "NodeLocal DNSCache does not forward",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "names of exported services do not resolve from pods",
        rules: ["submariner DNS-04"],
        run: Cluster(node_local),
    };
}

fn node_local(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let domains = domains(audit, cluster)?;
    let dns = cluster.facts.dns.get()?;
    if !dns.node_local_cache {
        return Err(NoVerdict::does_not_apply("NodeLocal DNSCache does not run"));
    }
    let Some(file) = dns.corefiles.iter().find(|file| is_node_local(file)) else {
        return Err(Unknown::not_found("the Corefile of node-local-dns was not found").into());
    };
    let missing: Vec<&String> = domains.iter().filter(|domain| !serves(file, domain)).collect();
    Ok(if missing.is_empty() {
        Outcome::holds().found("a zone for each")
    } else {
        Outcome::broken()
            .found(format!("none for {}", some_of(missing)))
            .remedy("add the zone to the Corefile of node-local-dns, forwarding to submariner-lighthouse-coredns")
    }
    .expected("a zone for each domain of the clusterset")
    .evidence(Evidence::new(cluster.name(), &"Corefile", &file.source)))
}

declare_check! {
    /// ## What it checks
    /// The forward in the Corefile goes to the present ClusterIP of `submariner-lighthouse-coredns`.
    ///
    /// ## Why it matters
    /// A ClusterIP pasted into a text survives the Service it belonged to.
    ///
    /// ## How it is determined
    /// The stanza between Submariner's markers (or the zone) against the Service.
    ///
    /// ## How to fix
    /// Restart the operator, or correct the stanza.
    ///
    /// ## References
    /// submariner-operator, `controllers/servicediscovery`.
    pub static FORWARD = {
        code: "SM805",
        slug: "dns-forward",
        title: "The DNS forward points elsewhere",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "names of exported services do not resolve",
        rules: ["submariner DNS-05"],
        run: Cluster(forward),
    };
}

fn forward(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    domains(audit, cluster)?;
    if installed(cluster)?.is_none() {
        return Err(NoVerdict::does_not_apply("Submariner is not installed yet"));
    }
    let services = cluster.facts.services.get()?;
    let Some(address) = services
        .iter()
        .find(|service| service.name == "submariner-lighthouse-coredns")
        .and_then(|service| service.cluster_ips.first())
    else {
        return Ok(Outcome::broken()
            .expected("Service submariner-lighthouse-coredns with a ClusterIP")
            .found("there is none")
            .remedy("look at the operator: service discovery is not deployed"));
    };
    let dns = cluster.facts.dns.get()?;
    let forwards: Vec<(String, &Corefile)> = dns
        .corefiles
        .iter()
        .flat_map(|file| {
            stanzas(&file.text)
                .into_iter()
                .filter(|stanza| stanza.zones.iter().any(|zone| zone == CLUSTERSET))
                .flat_map(|stanza| stanza.forwards)
                .map(move |to| (to, file))
        })
        .chain(
            dns.openshift_servers
                .values()
                .filter(|server| server.zones.iter().any(|zone| zone_name(zone) == CLUSTERSET))
                .flat_map(|server| server.upstreams.iter())
                .filter_map(|to| Some((to.clone(), dns.corefiles.first()?))),
        )
        .collect();
    let wanted = address.to_string();
    let elsewhere: Vec<_> = forwards
        .iter()
        .filter(|(to, _)| {
            to.rsplit_once(':')
                .filter(|(_, port)| port.parse::<u16>().is_ok())
                .map_or(to.as_str(), |(host, _)| host)
                != wanted
        })
        .collect();
    Ok(if forwards.is_empty() && dns.openshift_servers.is_empty() {
        Outcome::broken()
            .found("no stanza forwards clusterset.local")
            .remedy("restart the operator, or add the stanza by hand")
    } else if let Some((to, _)) = elsewhere.first() {
        Outcome::broken()
            .found(format!("forwards to {to}"))
            .remedy("restart the operator, or correct the stanza")
    } else {
        Outcome::holds().found(format!("forwards to {wanted}"))
    }
    .expected(wanted.clone())
    .evidence_all(
        forwards
            .iter()
            .map(|(to, file)| Evidence::new(cluster.name(), to, &file.source)),
    ))
}

declare_check! {
    /// ## What it checks
    /// Every configured domain has one stanza, and nobody else claims `clusterset.local`.
    ///
    /// ## Why it matters
    /// Cilium's MCS and the `multicluster` plugin use the same domain.
    ///
    /// ## How it is determined
    /// Zones of all Corefiles against the domains of the Submariner object and the plan.
    ///
    /// ## How to fix
    /// Choose one implementation; add the missing stanza.
    ///
    /// ## References
    /// submariner-operator; Cilium MCS API.
    pub static ZONES = {
        code: "SM806",
        slug: "dns-zones",
        title: "Domains of the clusterset are not served by one",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "names resolve to nothing, or to someone else's answer",
        rules: ["submariner DNS-06"],
        run: Cluster(zones),
    };
}

fn zones(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let domains = domains(audit, cluster)?;
    let dns = cluster.facts.dns.get()?;
    let other = dns.corefiles.iter().find(|file| {
        stanzas(&file.text)
            .iter()
            .any(|stanza| stanza.plugins.iter().any(|word| word == "multicluster"))
    });
    if let Some(file) = other {
        return Ok(Outcome::broken()
            .expected("Lighthouse alone answers clusterset.local")
            .found("the multicluster plugin claims clusterset.local as well")
            .remedy("use one implementation of the MCS API: switch the other off (Cilium: clustermesh.mcsapi.enabled=false)")
            .evidence(Evidence::new(cluster.name(), &"multicluster", &file.source)));
    }
    if installed(cluster)?.is_none() {
        return Ok(Outcome::holds()
            .expected("nobody claims clusterset.local before the join")
            .found("nobody does"));
    }
    let served = |domain: &String| {
        dns.corefiles.iter().any(|file| serves(file, domain))
            || dns
                .openshift_servers
                .values()
                .any(|server| server.zones.iter().any(|zone| zone_name(zone) == *domain))
    };
    let missing: Vec<&String> = domains.iter().filter(|domain| !served(domain)).collect();
    Ok(if missing.is_empty() {
        Outcome::holds().found(some_of(&domains))
    } else {
        Outcome::broken()
            .found(format!("no stanza for {}", some_of(missing)))
            .remedy("restart the operator, or add the stanza by hand")
    }
    .expected("one stanza for each domain of the clusterset"))
}

#[cfg(test)]
mod tests;
