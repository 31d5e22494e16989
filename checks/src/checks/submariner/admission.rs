//! What admission must let through for Submariner to run.

use super::unseen;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::provenance::{Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::discovery::openshift;
use crate::profile::submariner::{Mesh, installed};
use crate::report::Evidence;

pub(super) static CHECKS: &[&Check] = &[&PRIVILEGED_NAMESPACE, &EXTERNAL_IPS];

declare_check! {
    /// ## What it checks
    /// Namespace `submariner-operator` admits privileged pods on the host network.
    ///
    /// ## Why it matters
    /// Gateway and route agent need both. Where Pod Security admission refuses them, their DaemonSets stay empty.
    ///
    /// ## How it is determined
    /// `subctl` labels the namespace itself. With Helm or GitOps the label `pod-security.kubernetes.io/enforce` must not be stricter than
    /// `privileged`; without the label the default of the cluster counts, which is `privileged` unless the API server is given an
    /// admission configuration. For a member the label as it is. OpenShift's own constraints (SCC) are not seen.
    ///
    /// ## How to fix
    /// Label the namespace `pod-security.kubernetes.io/enforce=privileged`. On OpenShift, Helm installations also need SCC grants for the
    /// service accounts of gateway, route agent and Globalnet.
    ///
    /// ## References
    /// `subctl`, `pkg/operator/ensure.go`; Submariner documentation, known issues.
    pub static PRIVILEGED_NAMESPACE = {
        code: "SM008",
        slug: "submariner-privileged-namespace",
        title: "Submariner's namespace refuses privileged pods",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "gateway and route agent pods are refused",
        rules: ["submariner PLAT-08"],
        run: Cluster(privileged_namespace),
    };
}

fn privileged_namespace(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const LABEL: &str = "pod-security.kubernetes.io/enforce";
    let member = installed(cluster)?;
    if member.is_none() && Mesh::of(audit).joined_by_subctl() {
        return Ok(Outcome::holds().found("subctl join labels the namespace itself"));
    }
    let name = member.map_or("submariner-operator", |config| &config.value.namespace);
    let namespaces = cluster.facts.namespaces.get()?;
    let namespace = namespaces.iter().find(|namespace| namespace.name == name);
    let expected = format!("namespace {name} labelled {LABEL}=privileged");
    if let Some(level) = namespace.and_then(|namespace| namespace.labels.get(LABEL)) {
        let source = Source::read(format!("Namespace {name}"), LABEL);
        let outcome = if level == "privileged" {
            Outcome::holds()
        } else {
            Outcome::broken().remedy(format!("kubectl label --overwrite namespace {name} {LABEL}=privileged"))
        };
        return Ok(outcome
            .expected(expected)
            .found(format!("enforce={level}"))
            .evidence(Evidence::new(cluster.name(), level, &source)));
    }
    if member.is_some() {
        return Ok(Outcome::holds().found("no Pod Security label, and the pods were admitted"));
    }
    if openshift(cluster)?.is_some() {
        return Err(Unknown::not_found("OpenShift's security context constraints are not read").into());
    }
    let flags = cluster.facts.control_plane.api_server_flags.get();
    let flags = flags.map_err(|why| unseen(why, "the cluster's Pod Security default"))?;
    if flags.contains_key("admission-control-config-file") {
        return Err(Unknown::not_found(
            "the API server has an admission configuration file, which may hold another Pod Security default",
        )
        .into());
    }
    Ok(Outcome::holds().found("no Pod Security label, and the default is privileged"))
}

declare_check! {
    /// ## What it checks
    /// With Globalnet, admission plugin `DenyServiceExternalIPs` is off.
    ///
    /// ## Why it matters
    /// Globalnet makes an internal Service with `externalIPs` for each exported one. The plugin refuses these: exports never get a global address.
    ///
    /// ## How it is determined
    /// `--enable-admission-plugins` of the kube-apiserver pod. Where no such pod is visible it cannot be told; GKE has the plugin on by default.
    ///
    /// ## How to fix
    /// Take the plugin out of the list; on GKE, `gcloud container clusters update --enable-service-externalips`.
    ///
    /// ## References
    /// Submariner documentation, Globalnet and the quickstart for GKE.
    pub static EXTERNAL_IPS = {
        code: "SM009",
        slug: "globalnet-external-ips",
        title: "The API server refuses Globalnet's Services",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "exported Services get no global address",
        rules: ["submariner PLAT-09"],
        run: Cluster(external_ips),
    };
}

fn external_ips(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const FLAG: &str = "enable-admission-plugins";
    if !Mesh::of(audit).globalnet(cluster)?.value {
        return Err(NoVerdict::does_not_apply("Globalnet is off"));
    }
    let flags = cluster.facts.control_plane.api_server_flags.known_value();
    let flags = flags.map_err(|why| unseen(why, "the API server's admission plugins"))?;
    let plugins = flags.value.get(FLAG).map_or("", String::as_str);
    let source = Source::read(flags.source.object.clone(), format!("--{FLAG}"));
    let outcome = if plugins
        .split(',')
        .any(|plugin| plugin.trim() == "DenyServiceExternalIPs")
    {
        Outcome::broken().remedy(format!(
            "take DenyServiceExternalIPs out of --{FLAG} of {}",
            cluster.name()
        ))
    } else {
        Outcome::holds()
    };
    Ok(outcome
        .expected("admission plugin DenyServiceExternalIPs off")
        .found(if plugins.is_empty() {
            "no plugins beyond the defaults"
        } else {
            plugins
        })
        .evidence(Evidence::new(cluster.name(), &plugins, &source)))
}

#[cfg(test)]
mod tests {
    use crate::engine::judge;
    use crate::facts::ClusterFacts;
    use crate::facts::kubernetes::{Namespace, OpenShiftNetwork};
    use crate::facts::provenance::{Fact, Reason, Source};
    use crate::intent::Intent;
    use crate::profile::Profile::Submariner;
    use crate::report::Verdict;
    use crate::samples::{findings, flannel, policy, report, submariner, turn_globalnet_on, value_mut};

    #[test]
    fn helm_needs_a_namespace_that_admits_privileged_pods() {
        let helm = |facts: &ClusterFacts| {
            let mut intent = Intent::default();
            intent.submariner.installer = Some("helm".to_owned());
            let report = judge(std::slice::from_ref(facts), &intent, &policy(Submariner));
            findings(&report, "SM008")[0].verdict
        };
        let mut facts = flannel("east", 1);
        assert_eq!(helm(&facts), Verdict::Pass);
        value_mut(&mut facts.control_plane.api_server_flags).insert(
            "admission-control-config-file".to_owned(),
            "/etc/admission.yaml".to_owned(),
        );
        assert_eq!(helm(&facts), Verdict::Unknown);
        value_mut(&mut facts.namespaces).push(Namespace {
            name: "submariner-operator".to_owned(),
            labels: [("pod-security.kubernetes.io/enforce".to_owned(), "restricted".to_owned())].into(),
            ..Namespace::default()
        });
        assert_eq!(helm(&facts), Verdict::Fail);
        // subctl relabels it.
        assert_eq!(
            findings(&report(Submariner, &[facts]), "SM008")[0].verdict,
            Verdict::Pass
        );
        let mut openshift = flannel("east", 1);
        openshift.control_plane.openshift_network =
            Fact::known(OpenShiftNetwork::default(), Source::read("Network cluster", ""));
        assert_eq!(helm(&openshift), Verdict::Unknown);
    }

    #[test]
    fn a_members_namespace_must_admit_its_pods() {
        let mut facts = submariner(&[("east", 1)]);
        assert_eq!(findings(&report(Submariner, &facts), "SM008")[0].verdict, Verdict::Pass);
        let namespaces = value_mut(&mut facts[0].namespaces);
        namespaces
            .last_mut()
            .unwrap()
            .labels
            .values_mut()
            .for_each(|level| *level = "baseline".to_owned());
        assert_eq!(findings(&report(Submariner, &facts), "SM008")[0].verdict, Verdict::Fail);
    }

    #[test]
    fn globalnet_needs_services_with_external_ips() {
        let mut facts = submariner(&[("east", 1)]);
        assert_eq!(findings(&report(Submariner, &facts), "SM009")[0].verdict, Verdict::Skip);
        turn_globalnet_on(&mut facts);
        assert_eq!(findings(&report(Submariner, &facts), "SM009")[0].verdict, Verdict::Pass);
        value_mut(&mut facts[0].control_plane.api_server_flags).insert(
            "enable-admission-plugins".to_owned(),
            "NodeRestriction,DenyServiceExternalIPs".to_owned(),
        );
        assert_eq!(findings(&report(Submariner, &facts), "SM009")[0].verdict, Verdict::Fail);
        facts[0].control_plane.api_server_flags = Fact::unknown(Reason::NotFound, "no kube-apiserver pod is visible");
        assert_eq!(
            findings(&report(Submariner, &facts), "SM009")[0].verdict,
            Verdict::Unknown
        );
    }
}
