//! kube-proxy must be there, in a mode whose packets pass the chains Submariner writes to.

use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::provenance::{Known, Reason, Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::Mesh;
use crate::profile::submariner::discovery::is_ovn_kubernetes;
use crate::report::{Evidence, Severity};

use super::unseen;

pub(super) static CHECKS: &[&Check] = &[&KUBE_PROXY_MODE, &KUBE_PROXY_REPLACEMENT];

declare_check! {
    /// ## What it checks
    /// kube-proxy runs in mode `iptables`.
    ///
    /// ## Why it matters
    /// In mode `ipvs` every ClusterIP is an address of the node, so that packets for Services of other clusters never reach the rules of the
    /// route agent, and Globalnet's exports never become ready. Of mode `nftables` the documentation says nothing: the agent of most releases
    /// speaks iptables only.
    ///
    /// ## How it is determined
    /// `mode` in kube-proxy's ConfigMap, or `--proxy-mode`; empty means `iptables`. K3s, RKE2 and managed clusters may show neither; then it
    /// cannot be told without an agent. Not asked of OVN-Kubernetes, which does without kube-proxy, nor where Cilium replaces it.
    ///
    /// ## How to fix
    /// Set the mode, restart kube-proxy, and delete device `kube-ipvs0` on every node or restart the nodes: `subctl diagnose` takes a left-over
    /// device for the mode.
    ///
    /// ## References
    /// Submariner documentation, known issues; submariner issues 939, 1559, 1611, 3266, 3573 and 3967;
    /// `submariner`, `pkg/routeagent_driver/main.go`.
    pub static KUBE_PROXY_MODE = {
        code: "SM020",
        slug: "kube-proxy-mode",
        title: "kube-proxy runs in a mode Submariner does not work with",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "Services of other clusters are not reached, and Globalnet's exports never become ready",
        rules: ["submariner KP-01", "submariner KP-02", "submariner KIND-14"],
        run: Cluster(kube_proxy_mode),
    };
}

fn kube_proxy_mode(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    if is_ovn_kubernetes(cluster)? {
        return Err(NoVerdict::does_not_apply("OVN-Kubernetes does without kube-proxy"));
    }
    if let Some(replaced) = replaced_by_cilium(cluster)? {
        return Err(NoVerdict::does_not_apply(format!(
            "Cilium replaces kube-proxy: {}",
            replaced.source
        )));
    }
    let proxy = cluster.facts.kube_proxy.known_value();
    let proxy = proxy.map_err(|why| unseen(why, "kube-proxy's mode"))?;
    let source = Source::read(proxy.source.object.clone(), "mode");
    let mode = if proxy.value.mode.is_empty() {
        "iptables"
    } else {
        &proxy.value.mode
    };
    let outcome = match mode {
        "iptables" => Outcome::holds(),
        "ipvs" => Outcome::broken().remedy(
            "set mode iptables, restart kube-proxy, and delete device kube-ipvs0 on every node or restart the nodes",
        ),
        "nftables" => Outcome::broken_as(Severity::Warn)
            .remedy("set mode iptables, or use a Submariner release that is tested with nftables"),
        other => return Err(Unknown::unparsable(&source, other).into()),
    };
    Ok(outcome
        .expected("mode iptables")
        .found(mode)
        .evidence(Evidence::new(cluster.name(), &mode, &source)))
}

declare_check! {
    /// ## What it checks
    /// kube-proxy has not been replaced.
    ///
    /// ## Why it matters
    /// A replacement in eBPF translates Service addresses before the host's tables are asked, where the route agent's rules are. With
    /// Globalnet it must also implement `externalIPs`, or exported Services have no global address. OVN-Kubernetes has no kube-proxy either
    /// and is supported.
    ///
    /// ## How it is determined
    /// `kube-proxy-replacement` of ConfigMap `cilium-config`. That no kube-proxy is visible proves no replacement.
    ///
    /// ## How to fix
    /// Bring kube-proxy back, or try it: `subctl verify` shows whether Services are reached.
    ///
    /// ## References
    /// submariner issues 382, 458 and 3168; `submariner`, `pkg/globalnet/controllers`.
    pub static KUBE_PROXY_REPLACEMENT = {
        code: "SM021",
        slug: "kube-proxy-replacement",
        title: "kube-proxy is replaced",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "Service addresses may be translated before Submariner's rules are asked",
        rules: ["submariner KP-05"],
        run: Cluster(kube_proxy_replacement),
    };
}

fn kube_proxy_replacement(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    if is_ovn_kubernetes(cluster)? {
        return Err(NoVerdict::does_not_apply(
            "OVN-Kubernetes is supported without kube-proxy",
        ));
    }
    let Some(replaced) = replaced_by_cilium(cluster)? else {
        return Ok(Outcome::holds().found("no replacement is seen"));
    };
    let globalnet = Mesh::of(audit).globalnet(cluster).is_ok_and(|known| known.value);
    let remedy = if globalnet {
        "set kube-proxy-replacement to false and run kube-proxy, or see that the replacement serves externalIPs"
    } else {
        "set kube-proxy-replacement to false and run kube-proxy, or prove it with subctl verify"
    };
    Ok(Outcome::broken()
        .expected("kube-proxy")
        .found(format!("Cilium's replacement: {}", replaced.value))
        .evidence(Evidence::of(cluster.name(), &replaced))
        .remedy(remedy))
}

/// Cilium's setting where it replaces kube-proxy. The default of all versions is that it does not.
pub(super) fn replaced_by_cilium(cluster: &Cluster<'_>) -> Result<Option<Known<String>>, Unknown> {
    match cluster.cilium() {
        Ok(settings) => Ok(settings
            .written("kube-proxy-replacement")
            .filter(|known| ["true", "strict"].contains(&known.value.as_str()))),
        Err(why) if matches!(why.reason, Reason::NotInstalled | Reason::NotDeclared) => Ok(None),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use crate::facts::ClusterFacts;
    use crate::facts::cni::PluginKind;
    use crate::facts::provenance::{Fact, Reason};
    use crate::profile::Profile::Submariner;
    use crate::report::Verdict;
    use crate::samples::{cilium, cilium_mut, findings, flannel, report, set_cilium_key, value_mut};

    fn verdict(facts: &ClusterFacts, code: &str) -> Verdict {
        findings(&report(Submariner, std::slice::from_ref(facts)), code)[0].verdict
    }

    #[test]
    fn ipvs_fails_nftables_warns_and_empty_is_iptables() {
        for (mode, expected) in [
            ("", Verdict::Pass),
            ("iptables", Verdict::Pass),
            ("ipvs", Verdict::Fail),
            ("nftables", Verdict::Warn),
            ("userspace", Verdict::Unknown),
        ] {
            let mut facts = flannel("east", 1);
            value_mut(&mut facts.kube_proxy).mode = mode.to_owned();
            assert_eq!(verdict(&facts, "SM020"), expected, "{mode}");
        }
    }

    #[test]
    fn no_visible_kube_proxy_is_unknown_and_no_replacement() {
        for reason in [Reason::NotFound, Reason::NotInstalled, Reason::Forbidden] {
            let mut facts = flannel("east", 1);
            facts.kube_proxy = Fact::unknown(reason, "no kube-proxy is visible");
            assert_eq!(verdict(&facts, "SM020"), Verdict::Unknown);
            assert_eq!(verdict(&facts, "SM021"), Verdict::Pass);
        }
    }

    #[test]
    fn ovn_kubernetes_is_never_blamed_for_having_none() {
        let mut facts = flannel("east", 1);
        value_mut(&mut facts.cni.plugins)[0].kind = PluginKind::OvnKubernetes;
        facts.kube_proxy = Fact::unknown(Reason::NotFound, "no kube-proxy is visible");
        assert_eq!(verdict(&facts, "SM020"), Verdict::Skip);
        assert_eq!(verdict(&facts, "SM021"), Verdict::Skip);
    }

    #[test]
    fn ciliums_replacement_is_warned_of() {
        let mut facts = cilium("east", 1);
        assert_eq!(verdict(&facts, "SM021"), Verdict::Pass);
        set_cilium_key(&mut facts, "kube-proxy-replacement", Some("true"));
        assert_eq!(verdict(&facts, "SM021"), Verdict::Warn);
        assert_eq!(verdict(&facts, "SM020"), Verdict::Skip);
        cilium_mut(&mut facts).config = Fact::unknown(Reason::Forbidden, "list configmaps: forbidden");
        assert_eq!(verdict(&facts, "SM021"), Verdict::Unknown);
    }
}
