//! Loss, first packets, duplicates, round trips and clocks.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::measured::{Group, Measured, clusters_of, clusters_of_probe, grouped, measured};
use crate::check::declare_check;
use crate::checks::flow_verdict::probed;
use crate::fleet::Audit;
use crate::observation::{Sent, millis};
use crate::outcome::Outcome;
use crate::plan::{PlannedProbe, ProbeKind};
use crate::report::Severity;

/// Loss from which a path is worth a warning, in percent.
const LOSS_WARN_PERCENT: u32 = 1;
/// Loss from which a path is unfit, in percent: TCP stalls for seconds at a time.
const LOSS_FAIL_PERCENT: u32 = 10;
/// Clocks this far apart are worth a warning, in microseconds: etcd warns of peers one second off.
const CLOCK_WARN_MICROS: u64 = 1_000_000;
/// Clocks this far apart make fresh certificates invalid, in microseconds: what certificate managers back-date by.
const CLOCK_FAIL_MICROS: u64 = 120_000_000;

declare_check! {
    /// ## What it checks
    /// Datagrams and echoes between nodes of different clusters are not lost.
    ///
    /// ## Why it matters
    /// A flow that gets through one time in ten passes every test that tries ten times. Control planes reconnect, health flaps, TCP crawls.
    ///
    /// ## How it is determined
    /// Of each probe with several samples that got any answer: how many went unanswered. From 1 % on it warns, from 10 % on it fails; a single lost packet
    /// is no loss. With few samples a small loss is not seen: `--samples 300` sees 1 % in 19 of 20 audits.
    ///
    /// ## How to fix
    /// Look for a saturated or policed link, a faulty line, a full queue or connection table between the nodes named.
    ///
    /// ## References
    /// RFC 2680, RFC 7680.
    pub(super) static PACKET_LOSS = {
        code: "NET302",
        slug: "packet-loss",
        title: "Packets are lost on the way",
        severity: Warn,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "connections stall and health flaps, although everything is open",
        rules: [],
        run: Between(packet_loss),
    };
}

fn lost(sent: &Sent) -> u32 {
    sent.sent.saturating_sub(sent.answered)
}

/// Some source ports got every answer and others none, although both were asked again by turns: whoever spreads flows by port loses some of them
/// altogether. What is lost by chance, or for being too much, is lost on ports that get other answers.
fn depends_on_port(sent: &Sent) -> bool {
    !sent.silent_ports.is_empty() && !sent.answered_ports.is_empty() && sent.lossy_ports.is_empty()
}

/// Nothing but the first packet was lost.
fn only_the_first(sent: &Sent) -> bool {
    sent.first_lost && lost(sent) == 1
}

/// Whether the loss on these paths as a whole is one of whole source ports.
fn ports_decide(all: &[Measured<'_>]) -> bool {
    let lossy: Vec<_> = all.iter().filter(|one| lost(one.sent) > 0).collect();
    let by_port = lossy.iter().filter(|one| depends_on_port(one.sent)).count();
    by_port >= 2 && by_port * 4 >= lossy.len() * 3
}

/// Lost, sent, and the share in percent.
fn loss_of(group: &Group<'_>) -> (u32, u32, u32) {
    let sent: u32 = group.members.iter().map(|one| one.sent.sent).sum();
    let lost: u32 = group.members.iter().map(|one| lost(one.sent)).sum();
    (lost, sent, lost * 100 / sent.max(1))
}

/// The paths that lose datagrams by the fewest causes, or what was lost in all where that is not worth a word.
fn lossy<'o>(audit: &Audit<'o>, all: &[Measured<'o>]) -> ControlFlow<String, Vec<Group<'o>>> {
    let by_port = ports_decide(all);
    let is_good = |one: &Measured<'_>| {
        let sent = one.sent;
        lost(sent) == 0 || only_the_first(sent) || (by_port && depends_on_port(sent))
    };
    let total: u32 = all.iter().filter(|one| !is_good(one)).map(|one| lost(one.sent)).sum();
    let sent: u32 = all.iter().map(|one| one.sent.sent).sum();
    if total < 2 || total * 100 < sent * LOSS_WARN_PERCENT {
        return ControlFlow::Break(format!("{total} of {sent} lost"));
    }
    // Where loss is by chance, some paths lose nothing in a few samples: then it belongs to the way as a whole.
    let groups = grouped(audit, all, true, is_good);
    let scattered = groups.len() > 1 && groups.iter().all(|group| loss_of(group).2 < 60);
    if !scattered {
        return ControlFlow::Continue(groups);
    }
    let lossy: BTreeSet<(String, String)> = all
        .iter()
        .filter(|one| !is_good(one))
        .map(|one| clusters_of(audit, one))
        .collect();
    ControlFlow::Continue(grouped(audit, all, true, |one| {
        !lossy.contains(&clusters_of(audit, one))
    }))
}

fn loss_cause(group: &Group<'_>) -> String {
    format!("packet loss: {}", group.place())
}

/// The cause by which NET302 complains of loss between the clusters of a probe, if it does.
pub(crate) fn loss_beside(audit: &Audit<'_>, probe: &PlannedProbe) -> Option<String> {
    let ends = clusters_of_probe(audit, probe);
    let all = measured(audit);
    let ControlFlow::Continue(groups) = lossy(audit, &all) else {
        return None;
    };
    let between = |group: &&Group<'_>| group.members.iter().any(|one| clusters_of(audit, one) == ends);
    groups.iter().find(between).map(loss_cause)
}

fn packet_loss(audit: &Audit<'_>) -> Vec<Outcome> {
    judged(
        audit,
        |all| lossy(audit, all),
        |group| {
            let (lost, sent, percent) = loss_of(group);
            let severity = if percent >= LOSS_FAIL_PERCENT {
                Severity::Fail
            } else {
                Severity::Warn
            };
            let place = group.place();
            Outcome::broken_as(severity)
                .expected("nothing is lost")
                .found(format!("{lost} of {sent} lost ({percent} %) {place}"))
                .cause(loss_cause(group))
                .remedy(format!("look for a saturated, policed or faulty link {place}"))
        },
        |one| {
            format!(
                "{} of {} answered, at most {} lost in a row",
                one.sent.answered, one.sent.sent, one.sent.longest_loss
            )
        },
    )
}

declare_check! {
    /// ## What it checks
    /// The first packet between two nodes that have not spoken for a while arrives as well.
    ///
    /// ## Why it matters
    /// A firewall or router that learns from the first packet and drops it costs every new connection a retransmission, and every lone datagram (DNS, a
    /// handshake) its answer.
    ///
    /// ## How it is determined
    /// Probes of several samples of which the first alone went unanswered, on most of the paths.
    ///
    /// ## How to fix
    /// Look for a device on the way that resolves addresses or sets up state on the first packet without keeping it.
    ///
    /// ## References
    /// RFC 1122, section 2.3.2.2 (a host should keep at least one packet while it resolves an address).
    pub(super) static FIRST_PACKET = {
        code: "NET303",
        slug: "first-packet",
        title: "The first packet of a flow is lost",
        severity: Warn,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "every new connection waits for a retransmission",
        rules: [],
        run: Between(first_packet),
    };
}

fn first_packet(audit: &Audit<'_>) -> Vec<Outcome> {
    judged(
        audit,
        |all| {
            let first = all.iter().filter(|one| only_the_first(one.sent)).count();
            // One here and there is chance, or a neighbour that was not resolved yet.
            if first < 2 || first * 2 < all.len() {
                return ControlFlow::Break(format!("{first} of {} paths lost the first packet", all.len()));
            }
            let groups = grouped(audit, all, true, |one| !only_the_first(one.sent));
            ControlFlow::Continue(groups)
        },
        |group| {
            let place = group.place();
            Outcome::broken()
                .expected("the first packet arrives")
                .found(format!(
                    "the first packet alone is lost on {} paths {place}",
                    group.members.len()
                ))
                .cause(format!("first packet lost {place}"))
                .remedy(format!(
                    "look for a device that drops the first packet of a flow {place}"
                ))
        },
        |one| format!("{} of {} answered, all but the first", one.sent.answered, one.sent.sent),
    )
}

declare_check! {
    /// ## What it checks
    /// Packets arrive whatever their source port.
    ///
    /// ## Why it matters
    /// Routers and link bundles spread flows over several members by their ports. If one member is dead, a fixed share of all connections never comes about,
    /// and trying again from the same port never helps.
    ///
    /// ## How it is determined
    /// Datagrams are sent from several source ports, and where some stay silent all of them are asked again by turns. Some ports get every answer and
    /// others none, on most of the paths that lose anything; loss that spares no port is packet loss (NET302).
    ///
    /// ## How to fix
    /// Find the member of the link bundle or of the equal-cost routes that takes traffic and does not deliver it.
    ///
    /// ## References
    /// RFC 2992 (equal-cost multipath).
    pub(super) static PORT_SENSITIVE_LOSS = {
        code: "NET304",
        slug: "source-port-loss",
        title: "Some source ports never get through",
        severity: Fail,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "a fixed share of all connections never comes about",
        rules: [],
        run: Between(port_sensitive_loss),
    };
}

fn port_sensitive_loss(audit: &Audit<'_>) -> Vec<Outcome> {
    judged(
        audit,
        |all| {
            if !ports_decide(all) {
                return ControlFlow::Break(
                    "every source port that was tried got answers, or loss is not by port".to_owned(),
                );
            }
            let udp: Vec<Measured<'_>> = all
                .iter()
                .copied()
                .filter(|one| !one.sent.answered_ports.is_empty())
                .collect();
            let groups = grouped(audit, &udp, true, |one| !depends_on_port(one.sent));
            ControlFlow::Continue(groups)
        },
        |group| {
            let silent: usize = group.members.iter().map(|one| one.sent.silent_ports.len()).sum();
            let tried: usize = group
                .members
                .iter()
                .map(|one| one.sent.answered_ports.len())
                .sum::<usize>()
                + silent;
            let place = group.place();
            Outcome::broken()
                .expected("every source port gets through")
                .found(format!("{silent} of {tried} source ports never get an answer {place}"))
                .cause(format!("source ports decide {place}"))
                .remedy(format!(
                    "look for a dead member of a link bundle or of equal-cost routes {place}"
                ))
        },
        |one| {
            format!(
                "silent from ports {:?}, answered from {:?}",
                one.sent.silent_ports, one.sent.answered_ports
            )
        },
    )
}

declare_check! {
    /// ## What it checks
    /// Packets arrive once, and in the order they were sent.
    ///
    /// ## Why it matters
    /// Duplicates and reordering make TCP slow down as if packets were lost, and point to a loop, a mirror or a bundle that spreads packets of one flow.
    ///
    /// ## How it is determined
    /// Answers that came twice, or after the answer to a later datagram of the same source port. Some datagrams leave in pairs for that.
    ///
    /// ## How to fix
    /// Look for a loop, a mirrored port or per-packet balancing on the way.
    ///
    /// ## References
    /// RFC 4737, RFC 5560.
    pub(super) static DUPLICATES = {
        code: "NET305",
        slug: "duplicates-and-reordering",
        title: "Packets arrive twice or out of order",
        severity: Warn,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "TCP takes it for loss and slows down",
        rules: [],
        run: Between(duplicates),
    };
}

fn duplicates(audit: &Audit<'_>) -> Vec<Outcome> {
    judged(
        audit,
        |all| {
            let strange = |one: &Measured<'_>| one.sent.duplicates + one.sent.reordered;
            // Echoes wait for each other in the sender itself when some go unanswered: only datagrams tell.
            let datagrams: Vec<Measured<'_>> = all
                .iter()
                .copied()
                .filter(|one| matches!(one.probe.kind, ProbeKind::Udp { .. }))
                .collect();
            let all = datagrams.as_slice();
            let total: u32 = all.iter().map(strange).sum();
            let sent: u32 = all.iter().map(|one| one.sent.sent).sum();
            if total < 2 || total * 100 < sent {
                return ControlFlow::Break(format!("{total} of {sent} twice or out of order"));
            }
            let groups = grouped(audit, all, true, |one| strange(one) == 0);
            ControlFlow::Continue(groups)
        },
        |group| {
            let twice: u32 = group.members.iter().map(|one| one.sent.duplicates).sum();
            let late: u32 = group.members.iter().map(|one| one.sent.reordered).sum();
            let place = group.place();
            Outcome::broken()
                .expected("every packet once, in order")
                .found(format!("{twice} twice, {late} out of order: {place}"))
                .cause(format!("duplicates and reordering {place}"))
                .remedy(format!(
                    "look for a loop, a mirrored port or per-packet balancing {place}"
                ))
        },
        |one| {
            format!(
                "{} twice, {} out of order of {}",
                one.sent.duplicates, one.sent.reordered, one.sent.sent
            )
        },
    )
}

declare_check! {
    /// ## What it checks
    /// Round trips between the clusters are within the budget that the configuration sets (`roundTripBudget`).
    ///
    /// ## Why it matters
    /// Neither ClusterMesh nor Submariner documents a limit, but what runs across them has one: synchronous replicas, etcd members, user-facing calls.
    ///
    /// ## How it is determined
    /// The median of the round trips of each pair of nodes, over UDP where it was answered, else ICMP. Above the budget it fails, above 80 % of it it warns.
    /// Without a budget the round trips are reported and nothing is judged.
    ///
    /// ## How to fix
    /// Choose regions nearer to each other, or raise the budget if what runs across can live with it.
    ///
    /// ## References
    /// RFC 2681.
    pub(super) static ROUND_TRIP = {
        code: "NET306",
        slug: "round-trip-budget",
        title: "Round trips take longer than the budget allows",
        severity: Fail,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "what runs across the clusters waits longer than it can afford",
        rules: [],
        run: Between(round_trip),
    };
}

fn round_trip(audit: &Audit<'_>) -> Vec<Outcome> {
    let budget = audit
        .intent
        .round_trip_budget_millis
        .map(|millis| u64::from(millis) * 1000);
    let median = |one: &Measured<'_>| one.sent.round_trip.map_or(0, |round_trip| round_trip.median_micros);
    judged(
        audit,
        |all| {
            let most = all.iter().map(median).max().unwrap_or(0);
            let Some(budget) = budget else {
                return ControlFlow::Break(format!("at most {} (no budget set)", millis(most)));
            };
            let limit = budget * 4 / 5;
            if most <= limit {
                return ControlFlow::Break(format!("at most {} of {}", millis(most), millis(budget)));
            }
            let groups = grouped(audit, all, true, |one| median(one) <= limit);
            ControlFlow::Continue(groups)
        },
        |group| {
            let most = group.members.iter().map(median).max().unwrap_or(0);
            // Without one there are no groups.
            let budget = budget.unwrap_or(u64::MAX);
            let severity = if most > budget { Severity::Fail } else { Severity::Warn };
            let place = group.place();
            Outcome::broken_as(severity)
                .expected(format!("within {}", millis(budget)))
                .found(format!("up to {} {place}", millis(most)))
                .cause(format!("round trips {place}"))
                .remedy("choose regions nearer to each other, or raise roundTripBudget")
        },
        |one| {
            one.sent.round_trip.map_or_else(String::new, |round_trip| {
                format!(
                    "round trip min {}, median {}, p95 {}, max {} ({} samples)",
                    millis(round_trip.min_micros),
                    millis(round_trip.median_micros),
                    millis(round_trip.p95_micros),
                    millis(round_trip.max_micros),
                    round_trip.samples
                )
            })
        },
    )
}

declare_check! {
    /// ## What it checks
    /// The clocks of the nodes agree.
    ///
    /// ## Why it matters
    /// Certificates and tokens of one side are not valid yet, or no longer, on the other; leases and heartbeats expire early; logs cannot be put side by side.
    ///
    /// ## How it is determined
    /// Four timestamps in every answered datagram; the exchange with the shortest round trip bounds the error by half of it. Beyond one second it warns,
    /// beyond two minutes (what certificates are usually back-dated by) it fails.
    ///
    /// ## How to fix
    /// Repair time synchronisation (chrony, systemd-timesyncd) on the nodes named.
    ///
    /// ## References
    /// RFC 5905, section 8; etcd, `etcdserver/api/rafthttp/probing_status.go` (one second).
    pub(super) static CLOCK_OFFSET = {
        code: "NET307",
        slug: "clock-offset",
        title: "Clocks do not agree",
        severity: Warn,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "certificates and tokens of one side are invalid on the other",
        rules: ["clustermesh CP-18", "submariner SYS-12"],
        run: Between(clock_offset),
    };
}

fn clock_offset(audit: &Audit<'_>) -> Vec<Outcome> {
    // What is certain: the measured offset less what the round trip leaves open.
    let certain = |one: &Measured<'_>| {
        one.sent.clock.map_or(0, |clock| {
            clock.offset_micros.unsigned_abs().saturating_sub(clock.bound_micros)
        })
    };
    judged(
        audit,
        |all| {
            let timed: Vec<Measured<'_>> = all.iter().copied().filter(|one| one.sent.clock.is_some()).collect();
            let most = timed.iter().map(certain).max().unwrap_or(0);
            if most < CLOCK_WARN_MICROS {
                return ControlFlow::Break(format!("within {} on {} paths", millis(most), timed.len()));
            }
            let groups = grouped(audit, &timed, true, |one| certain(one) < CLOCK_WARN_MICROS);
            ControlFlow::Continue(groups)
        },
        |group| {
            let most = group.members.iter().map(certain).max().unwrap_or(0);
            let severity = if most >= CLOCK_FAIL_MICROS {
                Severity::Fail
            } else {
                Severity::Warn
            };
            let place = group.place();
            Outcome::broken_as(severity)
                .expected("within one second of each other")
                .found(format!("{} apart {place}", millis(most)))
                .cause(format!("clocks {place}"))
                .remedy("repair time synchronisation on the nodes named")
        },
        |one| {
            one.sent.clock.map_or_else(String::new, |clock| {
                format!(
                    "the peer is {} µs ahead, give or take {} µs",
                    clock.offset_micros, clock.bound_micros
                )
            })
        },
    )
}

/// What all these checks share: nothing known, nothing measured, all well (with what was found), or groups of paths that are not as they should be.
/// `broken` says of a group what is wrong with it, `tell` of a path what was measured.
fn judged<'o>(
    audit: &Audit<'o>,
    judge: impl FnOnce(&[Measured<'o>]) -> ControlFlow<String, Vec<Group<'o>>>,
    broken: impl Fn(&Group<'o>) -> Outcome,
    tell: impl Fn(&Measured<'_>) -> String,
) -> Vec<Outcome> {
    let failures = match probed(audit) {
        Ok(failures) => failures,
        Err(outcome) => return vec![*outcome],
    };
    let all = measured(audit);
    if all.is_empty() {
        return vec![Outcome::does_not_apply("no probe of several samples was answered").about(audit.everyone())];
    }
    match judge(&all) {
        ControlFlow::Break(found) => vec![Outcome::holds().found(found).about(audit.everyone())],
        ControlFlow::Continue(groups) => groups
            .into_iter()
            .map(|group| group.outcome(audit, failures, broken(&group), &tell))
            .collect(),
    }
}
