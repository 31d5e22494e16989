//! How packets travel between clusters must be the same everywhere.

use crate::check::{Check, NoVerdict, declare_check};
use crate::compare::Groups;
use crate::fleet::Audit;
use crate::outcome::Outcome;

pub(super) static CHECKS: &[&Check] = &[&TUNNEL_PROTOCOL];

declare_check! {
    /// ## What it checks
    /// All clusters that tunnel use one tunnel protocol, VXLAN or Geneve.
    ///
    /// ## Why it matters
    /// A node that receives the other protocol drops it: pods of the two clusters never reach each other, while the control
    /// plane connects and every status is green.
    ///
    /// ## How it is determined
    /// Key `tunnel-protocol` of ConfigMap `cilium-config`, or the default of the version. Clusters in native routing mode are left out,
    /// as charts write the key there too.
    ///
    /// ## How to fix
    /// Choose one protocol and set it with the chart value `tunnelProtocol`; the Cilium agents restart and running connections break.
    ///
    /// ## References
    /// Cilium, `pkg/datapath/tunnel/tunnel.go`.
    pub static TUNNEL_PROTOCOL = {
        code: "CM302",
        slug: "tunnel-protocol",
        title: "Tunnel protocols differ",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "each side drops the other's encapsulation: pods never reach pods",
        rules: ["clustermesh DP-2"],
        run: Between(tunnel_protocol),
    };
}

fn tunnel_protocol(audit: &Audit<'_>) -> Vec<Outcome> {
    Groups::of(audit, |cluster| {
        let settings = cluster.cilium()?;
        if settings.value("routing-mode")?.value != "tunnel" {
            return Err(NoVerdict::does_not_apply("native routing uses no tunnel protocol"));
        }
        Ok(settings.value("tunnel-protocol")?)
    })
    .expect_equal(audit, |outcome, _| {
        outcome.expected("one tunnel protocol in all clusters").remedy(
            "choose one for all, chart value tunnelProtocol, and restart the Cilium agents there (connections break)",
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::facts::provenance::{Fact, Reason};
    use crate::profile::Profile::Clustermesh;
    use crate::report::{SubjectKind, Verdict};
    use crate::samples::{cilium, cilium_mut, findings, report, set_cilium_key};

    #[test]
    fn one_tunnel_protocol_everywhere_passes() {
        let report = report(Clustermesh, &[cilium("east", 1), cilium("west", 2)]);
        assert_eq!(findings(&report, "CM302")[0].verdict, Verdict::Pass);
    }

    #[test]
    fn geneve_against_vxlan_fails_for_the_pair() {
        let mut west = cilium("west", 2);
        set_cilium_key(&mut west, "tunnel-protocol", Some("geneve"));
        let report = report(Clustermesh, &[cilium("east", 1), west]);
        let finding = findings(&report, "CM302")[0];
        assert_eq!(
            (finding.verdict, finding.subject.kind),
            (Verdict::Fail, SubjectKind::Pair)
        );
        assert_eq!(finding.found, "geneve on west, vxlan on east");
        assert_eq!(finding.evidence.len(), 2);
    }

    #[test]
    fn an_unreadable_configuration_is_unknown() {
        let mut west = cilium("west", 2);
        cilium_mut(&mut west).config = Fact::unknown(Reason::Forbidden, "list configmaps in kube-system: forbidden");
        let report = report(Clustermesh, &[cilium("east", 1), west]);
        assert!(
            findings(&report, "CM302")
                .iter()
                .any(|finding| finding.verdict == Verdict::Unknown && finding.subject.clusters == ["west"])
        );
    }
}
