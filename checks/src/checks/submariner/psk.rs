//! The pre-shared key of the tunnels.

use crate::check::{Check, NoVerdict, declare_check};
use crate::compare::Groups;
use crate::facts::provenance::Known;
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::{Mesh, member};

pub(super) static CHECKS: &[&Check] = &[&PRE_SHARED_KEY];

declare_check! {
    /// ## What it checks
    /// All members have the same pre-shared key.
    ///
    /// ## Why it matters
    /// Gateways authenticate each other by it. A member that joined with the broker file of an earlier broker has another key: its tunnels never
    /// come up, and only the gateway's log says why.
    ///
    /// ## How it is determined
    /// Only with `--read-secrets`. Libreswan: key `psk` of the Secret that `ceIPSecPSKSecret` names, else `ceIPSecPSK`; WireGuard: `ceIPSecPSK`. The key
    /// is reduced at once to the first 8 bytes of PBKDF2 (SHA-256, 600,000 rounds, a constant salt): equal keys have equal fingerprints, and
    /// trying likely keys on a facts file is slow. Keys that `subctl` makes are random and cannot be guessed at all; a facts file of a
    /// cluster with a key that a person thought up is better kept to oneself.
    ///
    /// ## How to fix
    /// Join all members again from one broker file.
    ///
    /// ## References
    /// `submariner`, `pkg/cable/libreswan`, `pkg/cable/wireguard`; `submariner-operator`, `controllers/submariner`.
    pub static PRE_SHARED_KEY = {
        code: "SM914",
        slug: "pre-shared-key",
        title: "Members have different pre-shared keys",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "gateways refuse each other: no tunnel comes up",
        rules: ["submariner CAB-02"],
        run: Between(pre_shared_key),
    };
}

fn pre_shared_key(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    let groups = Groups::of(audit, |cluster| fingerprint(&mesh, cluster));
    groups.expect_equal(audit, |outcome, _| {
        outcome
            .expected("one pre-shared key in all members")
            .remedy("join all members again from one broker file (subctl join)")
    })
}

fn fingerprint(mesh: &Mesh<'_>, cluster: &Cluster<'_>) -> Result<Known<String>, NoVerdict> {
    member(cluster)?;
    if mesh.cable_driver(cluster)?.value == "vxlan" {
        return Err(NoVerdict::does_not_apply("VXLAN cables have no key"));
    }
    let known = cluster.facts.submariner.get()?.psk.known_value()?.clone();
    Ok(known.map(|key| format!("key with fingerprint {}", key.fingerprint)))
}

#[cfg(test)]
mod tests {
    use crate::facts::ClusterFacts;
    use crate::facts::provenance::{Fact, Reason, Source};
    use crate::facts::submariner::PreSharedKey;
    use crate::profile::Profile::Submariner;
    use crate::report::{NOT_ASKED, Verdict};
    use crate::samples::{findings, flannel, report, submariner, submariner_config_mut, submariner_mut};

    fn members(keys: [&str; 2]) -> Vec<ClusterFacts> {
        let mut members = submariner(&[("east", 1), ("west", 2)]);
        for (facts, key) in members.iter_mut().zip(keys) {
            submariner_mut(facts).psk = Fact::known(
                PreSharedKey {
                    fingerprint: key.to_owned(),
                },
                Source::read("Secret submariner-operator/submariner-ipsec-psk", "psk"),
            );
        }
        members
    }

    fn verdict(members: &[ClusterFacts]) -> Verdict {
        findings(&report(Submariner, members), "SM914")[0].verdict
    }

    #[test]
    fn one_key_passes_and_two_fail() {
        assert_eq!(verdict(&members(["a1", "a1"])), Verdict::Pass);
        let report = report(Submariner, &members(["a1", "b2"]));
        let finding = findings(&report, "SM914")[0];
        assert_eq!(finding.verdict, Verdict::Fail);
        assert_eq!(
            finding.found,
            "key with fingerprint a1 on east, key with fingerprint b2 on west"
        );
    }

    #[test]
    fn without_asking_for_secrets_nothing_is_said() {
        let report = report(Submariner, &submariner(&[("east", 1), ("west", 2)]));
        let of_members: Vec<_> = findings(&report, "SM914")
            .iter()
            .map(|finding| (finding.verdict, finding.reason.clone()))
            .collect();
        assert_eq!(of_members, [(Verdict::Skip, NOT_ASKED.to_owned())]);
    }

    #[test]
    fn a_key_that_may_not_be_read_is_unknown() {
        let mut members = members(["a1", "a1"]);
        for facts in &mut members {
            submariner_mut(facts).psk = Fact::unknown(Reason::Forbidden, "get secrets: forbidden");
        }
        assert_eq!(verdict(&members), Verdict::Unknown);
    }

    #[test]
    fn vxlan_cables_and_clusters_that_have_not_joined_have_no_key() {
        let mut members = members(["a1", "b2"]);
        for facts in &mut members {
            submariner_config_mut(facts).cable_driver = "vxlan".to_owned();
        }
        assert_eq!(verdict(&members), Verdict::Skip);
        assert_eq!(verdict(&[flannel("east", 1), flannel("west", 2)]), Verdict::Skip);
    }
}
