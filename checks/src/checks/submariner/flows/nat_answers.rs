//! What running gateways answer to NAT discovery: who they are, and what lies between.

use crate::check::declare_check;
use crate::checks::flow_verdict::{concerned, probed};
use crate::facts::provenance::Source;
use crate::fleet::Audit;
use crate::observation::NatDiscoveryAnswer;
use crate::outcome::Outcome;
use crate::plan::{PlannedProbe, ProbeKind};
use crate::profile::submariner::gateways::own_endpoint;
use crate::report::{Evidence, Severity};

declare_check! {
    /// ## What it checks
    /// Gateways that run answer NAT discovery as themselves, see no NAT on their private addresses, and see the sender at the public address it publishes.
    ///
    /// ## Why it matters
    /// An answer of another cluster means that a port is forwarded to the wrong place. NAT on the private path makes gateways choose an address that does not
    /// work for the cable. A wrong published public address is what every peer will dial.
    ///
    /// ## How it is determined
    /// A complete request, as a gateway itself would send it, to the private and to the public address of every gateway that runs. Submariner's own code answers.
    /// Where none runs yet there is nothing to ask.
    ///
    /// ## How to fix
    /// Wrong cluster: correct the port forwarding, one UDP port for each gateway behind one address. NAT on the private path: route without masquerading, or
    /// publish public addresses. Wrong public address: annotate `gateway.submariner.io/public-ip`.
    ///
    /// ## References
    /// Submariner, `pkg/natdiscovery` (request_handle.go, response_handle.go); issues 1262, 1264.
    pub(super) static NAT_ANSWERS = {
        code: "SM512",
        slug: "gateway-nat-answers",
        title: "NAT discovery says something else than the gateways",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "gateways choose an address that does not work, or reach the wrong cluster",
        rules: ["submariner NAT-03", "submariner NAT-04", "submariner NAT-05"],
        run: Between(nat_answers),
    };
}

fn nat_answers(audit: &Audit<'_>) -> Vec<Outcome> {
    let failures = match probed(audit) {
        Ok(failures) => failures,
        Err(outcome) => return vec![*outcome],
    };
    let mut asked = 0;
    let mut outcomes = Vec::new();
    for (probe, _) in failures.probes_of("SM502") {
        let ProbeKind::NatDiscovery { cluster_id, .. } = &probe.kind else {
            continue;
        };
        let sent = failures.result(probe).and_then(|result| result.sent.as_ref().ok());
        let Some(answer) = sent.and_then(|sent| sent.nat_discovery.as_ref()) else {
            continue;
        };
        asked += 1;
        let from = failures.agent(probe.from).map_or("", |agent| agent.cluster.as_str());
        let Some((severity, found, remedy)) = wrong(audit, probe, cluster_id, answer, from) else {
            continue;
        };
        let (clusters, pairs) = concerned(audit, failures, std::iter::once(probe));
        let value = format!("{} from {} ({})", answer.result, answer.cluster_id, answer.endpoint_id);
        outcomes.push(
            Outcome::broken_as(severity)
                .expected("the gateway itself answers, and sees what the gateways publish")
                .found(found)
                .remedy(remedy)
                .evidence(Evidence::new(
                    probe.to.cluster.clone(),
                    &value,
                    &Source::read(format!("answer of {}", probe.to.name), "NAT discovery"),
                ))
                .about(clusters)
                .pairs(pairs),
        );
    }
    if outcomes.is_empty() && asked == 0 {
        outcomes
            .push(Outcome::does_not_apply("no gateway that runs was asked, or none answered").about(audit.everyone()));
    } else if outcomes.is_empty() {
        outcomes.push(
            Outcome::holds()
                .found(format!("{asked} answers, all as expected"))
                .about(audit.everyone()),
        );
    }
    outcomes
}

/// What is wrong with an answer, how much it matters, and what to do.
fn wrong(
    audit: &Audit<'_>,
    probe: &PlannedProbe,
    cluster_id: &str,
    answer: &NatDiscoveryAnswer,
    from: &str,
) -> Option<(Severity, String, String)> {
    let place = &probe.to.name;
    if answer.cluster_id != cluster_id {
        return Some((
            Severity::Fail,
            format!("{place} of {cluster_id} answers as {}", answer.cluster_id),
            format!("forward the port at {place} to a gateway of {cluster_id}"),
        ));
    }
    let private = probe.to.agent.is_some() || !place.starts_with("public address");
    if private {
        return (answer.result == "NAT_DETECTED").then(|| {
            (
                Severity::Warn,
                format!("NAT on the way to the private address of {place}"),
                "route between the gateways' private addresses without masquerading, or publish public addresses"
                    .to_owned(),
            )
        });
    }
    let sender = audit.clusters.iter().find(|cluster| cluster.name() == from)?;
    let published = &own_endpoint(sender).ok()??.0.public_ips;
    let seen = answer
        .received_src
        .rsplit_once(':')
        .map_or(answer.received_src.as_str(), |(ip, _)| ip);
    (!published.is_empty() && !seen.is_empty() && !published.iter().any(|ip| ip == seen)).then(|| {
        (
            Severity::Warn,
            format!("{from} publishes {} and is seen as {seen}", published.join(", ")),
            format!("annotate the gateways of {from} with gateway.submariner.io/public-ip=ipv4:{seen}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::facts::ClusterFacts;
    use crate::intent::Intent;
    use crate::observation::{NatDiscoveryAnswer, ProbeResult};
    use crate::profile::Profile::Submariner;
    use crate::report::{Report, Verdict};
    use crate::samples::network::observed_report;
    use crate::samples::{findings, flannel, submariner};

    fn judged(facts: &[ClusterFacts], answer: impl Fn(&str) -> NatDiscoveryAnswer) -> Report {
        observed_report(
            Submariner,
            facts,
            &Intent::default(),
            |_, to, what, result: &mut ProbeResult| {
                if what.starts_with("NAT discovery") {
                    result.sent.as_mut().unwrap().nat_discovery = Some(answer(to));
                }
            },
        )
    }

    fn of(cluster: &str, result: &str) -> NatDiscoveryAnswer {
        NatDiscoveryAnswer {
            result: result.to_owned(),
            cluster_id: cluster.to_owned(),
            ..NatDiscoveryAnswer::default()
        }
    }

    fn joined() -> Vec<ClusterFacts> {
        submariner(&[("east", 1), ("west", 2)])
    }

    fn owner(to: &str) -> &str {
        if to.contains("east") { "east" } else { "west" }
    }

    #[test]
    fn gateways_that_answer_as_themselves_are_as_expected() {
        let report = judged(&joined(), |to| of(owner(to), "OK"));
        assert_eq!(findings(&report, "SM512")[0].verdict, Verdict::Pass);
    }

    #[test]
    fn submariner_1264_an_answer_of_another_cluster_is_a_port_forwarded_wrong() {
        let report = judged(&joined(), |_| of("north", "UNKNOWN_DST_CLUSTER"));
        let finding = findings(&report, "SM512")[0];
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(finding.found.contains("answers as north"), "{}", finding.found);
    }

    #[test]
    fn nat_on_the_private_path_is_a_warning() {
        let report = judged(&joined(), |to| of(owner(to), "NAT_DETECTED"));
        let finding = findings(&report, "SM512")[0];
        assert_eq!(finding.verdict, Verdict::Warn);
        assert!(finding.found.starts_with("NAT on the way"), "{}", finding.found);
    }

    #[test]
    fn before_the_join_there_is_nobody_to_ask() {
        let report = judged(&[flannel("east", 1), flannel("west", 2)], |_| of("", ""));
        assert_eq!(findings(&report, "SM512")[0].verdict, Verdict::Skip);
    }

    #[test]
    fn without_agents_it_is_unknown() {
        let policy = crate::samples::network::probing(Submariner, crate::policy::Probe::Cover);
        let report = crate::engine::judge(&joined(), &Intent::default(), &policy);
        assert_eq!(findings(&report, "SM512")[0].verdict, Verdict::Unknown);
    }
}
