//! Reports for the renderers' tests: written down, so that they do not change with the catalogue of checks.

mod paths;

use std::collections::BTreeMap;

use prejoin_checks::facts::provenance::Source;
use prejoin_checks::profile::Profile;
use prejoin_checks::report::{
    AffectedPairs, ClusterSummary, Coverage, Evidence, Finding, NOT_ASKED, ONE_CLUSTER, REPORT_SCHEMA, Ratio, Report,
    Severity, Subject, SubjectKind, Summary, Verdict, WaivedBy,
};

pub(super) use paths::forty_nodes;

const CONFIG: &str = "ConfigMap kube-system/cilium-config";

/// All samples by name.
pub(super) fn all() -> BTreeMap<&'static str, Report> {
    BTreeMap::from([
        ("clean", clean()),
        ("three-causes", three_causes()),
        ("forbidden", forbidden()),
        ("five", five()),
        ("forty", forty()),
        ("one", one()),
        ("waived", waived()),
        ("two-profiles", two_profiles()),
        ("hostile", hostile()),
        ("paths", paths::paths()),
    ])
}

fn cluster(name: &str, number: u8) -> ClusterSummary {
    ClusterSummary {
        name: name.to_owned(),
        uid: Some(format!("00000000-0000-0000-0000-{number:012}")),
        mesh_id: number.to_string(),
        kubernetes: "v1.36.3".to_owned(),
        cni: "Cilium 1.20.2".to_owned(),
        pods: vec![format!("10.{number}.0.0/16")],
        services: vec![format!("10.1{number:02}.0.0/16")],
        nodes: Some(2),
        planned: false,
        unreachable: None,
        facts: Ratio { known: 41, wanted: 41 },
        missing: Vec::new(),
        collected_at: Some("2026-11-21T11:58:00Z".parse().unwrap()),
    }
}

fn subject(clusters: &[&str]) -> Subject {
    Subject {
        kind: match clusters.len() {
            1 => SubjectKind::Cluster,
            2 => SubjectKind::Pair,
            _ => SubjectKind::Set,
        },
        clusters: clusters.iter().map(|name| (*name).to_owned()).collect(),
        nodes: Vec::new(),
        pairs: AffectedPairs::default(),
    }
}

fn finding(code: &str, slug: &str, verdict: Verdict, clusters: &[&str]) -> Finding {
    Finding {
        code: code.to_owned(),
        slug: slug.to_owned(),
        title: String::new(),
        severity: if verdict == Verdict::Warn {
            Severity::Warn
        } else {
            Severity::Fail
        },
        verdict,
        profile: Profile::Clustermesh,
        subject: subject(clusters),
        expected: String::new(),
        found: String::new(),
        reason: String::new(),
        why: String::new(),
        evidence: Vec::new(),
        remedy: String::new(),
        cause: format!("{code} {}", clusters.join(" ")),
        waived_by: None,
        waiver_expired: None,
    }
}

fn read(cluster: &str, value: &str, object: &str, field: &str) -> Evidence {
    Evidence::new(cluster, &value, &Source::read(object, field))
}

fn report(clusters: Vec<ClusterSummary>, mut findings: Vec<Finding>) -> Report {
    findings.sort_by(|a, b| b.verdict.cmp(&a.verdict).then_with(|| a.code.cmp(&b.code)));
    let of = |verdict: Verdict| {
        let counted = findings
            .iter()
            .filter(|finding| finding.verdict == verdict && finding.waived_by.is_none());
        counted.count() as u64
    };
    let summary = Summary {
        pass: of(Verdict::Pass),
        warn: of(Verdict::Warn),
        fail: of(Verdict::Fail),
        unknown: of(Verdict::Unknown),
        skip: of(Verdict::Skip),
        waived: findings.iter().filter(|finding| finding.waived_by.is_some()).count() as u64,
    };
    let (verdict, exit_code) = if summary.fail > 0 {
        (Verdict::Fail, 3)
    } else if summary.unknown > 0 {
        (Verdict::Unknown, 5)
    } else if summary.warn > 0 {
        (Verdict::Warn, 0)
    } else {
        (Verdict::Pass, 0)
    };
    let facts = |of: fn(&ClusterSummary) -> u64| clusters.iter().map(of).sum();
    let judged = summary.pass + summary.warn + summary.fail + summary.waived;
    Report {
        paths: Vec::new(),
        drift: None,
        schema: REPORT_SCHEMA.to_owned(),
        generated_at: "2026-11-21T12:00:00Z".parse().unwrap(),
        verdict,
        profiles: vec![Profile::Clustermesh],
        summary,
        coverage: Coverage {
            facts: Ratio {
                known: facts(|cluster| cluster.facts.known),
                wanted: facts(|cluster| cluster.facts.wanted),
            },
            flows: Ratio { known: 0, wanted: 4 },
            checks: Ratio {
                known: judged,
                wanted: judged + summary.unknown,
            },
            not_asked: findings.iter().filter(|finding| finding.is_not_asked()).count() as u64,
        },
        clusters,
        findings,
        exit_code,
    }
}

/// What passes, does not apply or was not asked in every sample.
fn background(clusters: &[&str]) -> Vec<Finding> {
    let name = Finding {
        found: format!("{} are different names", clusters.join(", ")),
        evidence: clusters
            .iter()
            .map(|cluster| read(cluster, cluster, CONFIG, "cluster-name"))
            .collect(),
        ..finding("CM102", "cluster-name-unique", Verdict::Pass, clusters)
    };
    let mode = Finding {
        evidence: clusters
            .iter()
            .map(|cluster| Evidence::new(*cluster, &"tunnel", &Source::default_of(CONFIG, "routing-mode", "1.20")))
            .collect(),
        ..finding("CM301", "routing-mode", Verdict::Pass, clusters)
    };
    let strict = Finding {
        reason: "does not apply".to_owned(),
        found: "encryption is off".to_owned(),
        ..finding("CM405", "strict-encryption", Verdict::Skip, clusters)
    };
    let not_asked = |code: &str, slug: &str, detail: &str| Finding {
        reason: NOT_ASKED.to_owned(),
        found: detail.to_owned(),
        cause: detail.to_owned(),
        ..finding(code, slug, Verdict::Skip, clusters)
    };
    let probes = "flows are not probed with --probe none";
    let secrets = "Secrets are read only with --read-secrets";
    vec![
        name,
        mode,
        strict,
        not_asked("CM503", "ca-shared", secrets),
        not_asked("CM404", "ipsec-key", secrets),
        not_asked("CM801", "flow-vxlan", probes),
        not_asked("CM802", "flow-mesh-api", probes),
        not_asked("CM803", "flow-health", probes),
        not_asked("CM804", "flow-icmp", probes),
    ]
}

fn tunnel_protocol() -> Finding {
    Finding {
        title: "Tunnel protocols differ".to_owned(),
        expected: "one tunnel protocol in all clusters".to_owned(),
        found: "geneve on west, vxlan on east".to_owned(),
        why: "each side drops the other's encapsulation: pods never reach pods".to_owned(),
        evidence: vec![
            Evidence::new("east", &"vxlan", &Source::default_of(CONFIG, "tunnel-protocol", "1.20")),
            read("west", "geneve", CONFIG, "tunnel-protocol"),
        ],
        remedy:
            "choose one for all, chart value tunnelProtocol, and restart the Cilium agents there (connections break)"
                .to_owned(),
        ..finding("CM302", "tunnel-protocol", Verdict::Fail, &["east", "west"])
    }
}

fn wireguard() -> Finding {
    Finding {
        title: "Encryption is not the same everywhere".to_owned(),
        expected: "the same encryption in all clusters".to_owned(),
        found: "none on east, wireguard on west".to_owned(),
        why: "packets that one side encrypts reach nobody who can read them".to_owned(),
        evidence: vec![
            Evidence::new("east", &"none", &Source::default_of(CONFIG, "enable-wireguard", "1.20")),
            read("west", "wireguard", CONFIG, "enable-wireguard"),
        ],
        remedy: "turn WireGuard on in east, or off in west: chart value encryption.enabled".to_owned(),
        ..finding("CM401", "encryption-mode", Verdict::Fail, &["east", "west"])
    }
}

fn supernet() -> Finding {
    Finding {
        title: "Pod ranges overlap".to_owned(),
        expected: "pod ranges that no other cluster uses".to_owned(),
        found: "west's pods 10.0.0.0/8 contain pods and Services of east".to_owned(),
        why: "an address in both ranges is never routed to the other cluster".to_owned(),
        evidence: vec![
            read("west", "10.0.0.0/8 pods", CONFIG, "cluster-pool-ipv4-cidr"),
            read("east", "10.1.0.0/16 pods", CONFIG, "cluster-pool-ipv4-cidr"),
            read("east", "10.101.0.0/16 services", "ServiceCIDR kubernetes", "spec.cidrs"),
        ],
        remedy: "give west a pool of its own, for example 10.11.0.0/16; nodes keep their blocks, so that west's nodes must be replaced: see prejoin explain NET101"
            .to_owned(),
        cause: "overlap 10.0.0.0/8".to_owned(),
        ..finding("NET101", "pod-ranges-overlap", Verdict::Fail, &["east", "west"])
    }
}

fn service_overlap() -> Finding {
    Finding {
        title: "Service ranges overlap pod ranges".to_owned(),
        found: "10.101.0.0/16 of east lies in 10.0.0.0/8 of west".to_owned(),
        why: "works until a global Service gets an address in both".to_owned(),
        cause: "overlap 10.0.0.0/8".to_owned(),
        remedy: "goes with the pool of west".to_owned(),
        ..finding("NET104", "service-ranges-overlap", Verdict::Warn, &["east", "west"])
    }
}

fn clean() -> Report {
    report(
        vec![cluster("east", 1), cluster("west", 2)],
        background(&["east", "west"]),
    )
}

fn three_causes() -> Report {
    let mut findings = background(&["east", "west"]);
    findings.extend([tunnel_protocol(), wireguard(), supernet(), service_overlap()]);
    let mut west = cluster("west", 2);
    west.pods = vec!["10.0.0.0/8".to_owned()];
    report(vec![cluster("east", 1), west], findings)
}

fn forbidden() -> Report {
    let refused = "list configmaps in kube-system: forbidden for user \"system:serviceaccount:audit:reader\"";
    let missing = |code: &str, slug: &str| Finding {
        reason: "forbidden".to_owned(),
        found: refused.to_owned(),
        cause: refused.to_owned(),
        ..finding(code, slug, Verdict::Unknown, &["west"])
    };
    let flow = |code: &str, what: &str| Finding {
        reason: "no agent".to_owned(),
        found: "no agent is there to prove a flow".to_owned(),
        cause: "no agent is there to prove a flow".to_owned(),
        expected: what.to_owned(),
        ..finding(code, "flow", Verdict::Unknown, &["east", "west"])
    };
    let mut findings = background(&["east", "west"]);
    findings.retain(|finding| !finding.code.starts_with("CM8"));
    findings.extend([
        missing("CM302", "tunnel-protocol"),
        missing("CM401", "encryption-mode"),
        missing("CM101", "cluster-id"),
        missing("CM103", "max-connected-clusters"),
        flow(
            "CM801",
            "UDP 8472 on east and west from every node to every node of the other clusters, both ways: VXLAN",
        ),
        flow(
            "CM804",
            "ICMP echo from every node to every node of the other clusters, both ways: health",
        ),
    ]);
    let mut west = cluster("west", 2);
    west.facts.known = 33;
    west.mesh_id.clear();
    west.missing = vec![refused.to_owned(), "list ciliumnodes: forbidden".to_owned()];
    report(vec![cluster("east", 1), west], findings)
}

fn five() -> Report {
    let names = ["aks-1", "eks-1", "gke-1", "lab-a", "lab-b"];
    let mut clusters: Vec<ClusterSummary> = names
        .iter()
        .zip(1..)
        .map(|(name, number)| cluster(name, number))
        .collect();
    clusters[3].pods = vec![
        "10.0.0.0/8".to_owned(),
        "10.64.0.0/12".to_owned(),
        "fd00:10::/48".to_owned(),
    ];
    clusters[4].facts.known = 30;
    clusters[4].missing = vec!["list nodes: forbidden".to_owned()];
    clusters[2].planned = true;
    clusters[2].nodes = None;
    let part = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let overlap = Finding {
        profile: Profile::Submariner,
        found: "lab-a's pods 10.0.0.0/8 contain the ranges of aks-1, eks-1 and gke-1".to_owned(),
        subject: Subject {
            pairs: AffectedPairs {
                within: Vec::new(),
                across: vec![vec![part(&["lab-a"]), part(&["aks-1", "eks-1", "gke-1"])]],
            },
            ..subject(&["aks-1", "eks-1", "gke-1", "lab-a"])
        },
        evidence: ["lab-a", "aks-1", "eks-1", "gke-1"]
            .iter()
            .map(|name| {
                let value = if *name == "lab-a" {
                    "10.0.0.0/8 pods"
                } else {
                    "10.1.0.0/16 pods"
                };
                if *name == "gke-1" {
                    Evidence::new(*name, &"10.3.0.0/16 pods", &Source::declared("clusters[].pods"))
                } else {
                    read(name, value, "IPPool default-ipv4-ippool", "spec.cidr")
                }
            })
            .collect(),
        remedy: "give lab-a a pool of its own, for example 10.11.0.0/16, or deploy Globalnet in all clusters"
            .to_owned(),
        ..supernet()
    };
    let gateway = Finding {
        profile: Profile::Submariner,
        reason: "forbidden".to_owned(),
        found: "list nodes: forbidden".to_owned(),
        cause: "list nodes: forbidden".to_owned(),
        ..finding("SM201", "gateway-node", Verdict::Unknown, &["lab-b"])
    };
    let kernel = Finding {
        profile: Profile::Submariner,
        title: "Nodes have old kernels".to_owned(),
        found: "2 nodes of lab-a have 5.4".to_owned(),
        subject: Subject {
            kind: SubjectKind::Node,
            nodes: part(&["lab-a-n1", "lab-a-n2"]),
            ..subject(&["lab-a"])
        },
        ..finding("NET301", "kernel-version", Verdict::Warn, &["lab-a"])
    };
    let mut findings = background(&names);
    for finding in &mut findings {
        finding.profile = Profile::Submariner;
    }
    findings.extend([overlap, gateway, kernel]);
    let mut report = report(clusters, findings);
    report.profiles = vec![Profile::Submariner];
    report
}

fn forty() -> Report {
    let names: Vec<String> = (1..=40).map(|number| format!("prod-{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut clusters: Vec<ClusterSummary> = names
        .iter()
        .zip(1..)
        .map(|(name, number)| cluster(name, number))
        .collect();
    clusters[16].unreachable = Some("GET https://172.31.17.11:6443/api: connection refused".to_owned());
    clusters[16].facts.known = 0;
    clusters[16].nodes = None;
    clusters[16].cni.clear();
    clusters[16].mesh_id.clear();
    clusters[16].pods.clear();
    clusters[16].services.clear();
    clusters[30].cni = "Cilium 1.19.4".to_owned();
    let part = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let rest: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !["prod-07", "prod-17"].contains(name))
        .collect();
    let tunnel = Finding {
        subject: Subject {
            pairs: AffectedPairs {
                within: Vec::new(),
                across: vec![vec![part(&["prod-07"]), part(&rest)]],
            },
            ..subject(&names)
        },
        found: "geneve on prod-07, vxlan on prod-01, prod-02, prod-03, prod-04 and 34 others".to_owned(),
        evidence: names
            .iter()
            .filter(|name| **name != "prod-17")
            .map(|name| {
                read(
                    name,
                    if *name == "prod-07" { "geneve" } else { "vxlan" },
                    CONFIG,
                    "tunnel-protocol",
                )
            })
            .collect(),
        ..tunnel_protocol()
    };
    let blocks = (0..24).map(|number| {
        read(
            "prod-12",
            &format!("10.11.{number}.0/24 pods"),
            &format!("CiliumNode prod-12-n{number:02}"),
            "spec.ipam.podCIDRs",
        )
    });
    let overlap = Finding {
        subject: subject(&["prod-11", "prod-12"]),
        found: "prod-12's nodes have blocks of prod-11's pool 10.11.0.0/16".to_owned(),
        evidence: [read("prod-11", "10.11.0.0/16 pods", CONFIG, "cluster-pool-ipv4-cidr")]
            .into_iter()
            .chain(blocks)
            .collect(),
        remedy: "replace the nodes of prod-12 that have these blocks".to_owned(),
        cause: "overlap 10.11.0.0/16".to_owned(),
        ..supernet()
    };
    let unreachable = |code: &str, slug: &str| Finding {
        reason: "unreachable".to_owned(),
        found: "GET https://172.31.17.11:6443/api: connection refused".to_owned(),
        cause: "GET https://172.31.17.11:6443/api: connection refused".to_owned(),
        ..finding(code, slug, Verdict::Unknown, &["prod-17"])
    };
    let limit = |name: &str| Finding {
        title: "More clusters than the mesh is set up for".to_owned(),
        found: format!("{name} allows 32 clusters"),
        ..finding("CM103", "max-connected-clusters", Verdict::Warn, &[name])
    };
    let policy = |name: &str| Finding {
        title: "API server is not reachable by nodes of other clusters".to_owned(),
        expected: "a load balancer or node port".to_owned(),
        found: format!("clustermesh-apiserver of {name} is of type ClusterIP"),
        why: "the other clusters' agents cannot connect".to_owned(),
        remedy: format!("in {name}: chart value clustermesh.apiserver.service.type=LoadBalancer"),
        evidence: vec![read(
            name,
            "ClusterIP",
            "Service kube-system/clustermesh-apiserver",
            "spec.type",
        )],
        ..finding("CM501", "mesh-api-exposed", Verdict::Fail, &[name])
    };
    let mut findings = background(&names);
    findings.push(tunnel);
    findings.push(overlap);
    findings.extend(names[20..26].iter().map(|name| policy(name)));
    findings.extend(names[..15].iter().map(|name| limit(name)));
    findings.extend(
        [
            ("CM101", "cluster-id"),
            ("CM103", "max-connected-clusters"),
            ("CM302", "tunnel-protocol"),
        ]
        .map(|(code, slug)| unreachable(code, slug)),
    );
    report(clusters, findings)
}

/// So many clusters that every fourth has a fault of its own, and all differ in what they collide with.
pub(super) fn many(number: usize) -> Report {
    let names: Vec<String> = (0..number).map(|number| format!("edge-{number:03}")).collect();
    let clusters: Vec<ClusterSummary> = names.iter().map(|name| cluster(name, 1)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut findings = background(&names);
    for (place, pair) in names.windows(2).enumerate().filter(|(place, _)| place % 4 != 3) {
        findings.push(Finding {
            subject: subject(pair),
            found: format!("10.{place}.0.0/16 of {} and {}", pair[0], pair[1]),
            evidence: pair
                .iter()
                .map(|name| {
                    read(
                        name,
                        &format!("10.{place}.0.0/16 pods"),
                        CONFIG,
                        "cluster-pool-ipv4-cidr",
                    )
                })
                .collect(),
            cause: format!("overlap {place}"),
            remedy: format!("give {} a pool of its own", pair[1]),
            ..supernet()
        });
    }
    report(clusters, findings)
}

fn one() -> Report {
    let mut findings = vec![Finding {
        found: "1".to_owned(),
        evidence: vec![read("east", "1", CONFIG, "cluster-id")],
        ..finding("CM101", "cluster-id", Verdict::Pass, &["east"])
    }];
    findings.extend(["CM102", "CM302"].map(|code| Finding {
        reason: ONE_CLUSTER.to_owned(),
        found: "nothing was compared".to_owned(),
        ..finding(code, "comparison", Verdict::Skip, &["east"])
    }));
    let mut report = report(vec![cluster("east", 1)], findings);
    report.coverage.flows = Ratio::default();
    report
}

fn waived() -> Report {
    let waiver = |owner: &str, until: &str| WaivedBy {
        owner: owner.to_owned(),
        reason: "west moves to VXLAN in December, ticket NET-431".to_owned(),
        until: until.parse().unwrap(),
    };
    let mut findings = background(&["east", "west"]);
    findings.extend([
        Finding {
            waived_by: Some(waiver("anna@example.com", "2026-12-31")),
            ..tunnel_protocol()
        },
        Finding {
            waiver_expired: Some(waiver("bert@example.com", "2026-10-31")),
            ..wireguard()
        },
        Finding {
            waiver_expired: Some(waiver("bert@example.com", "2026-10-31")),
            ..service_overlap()
        },
    ]);
    report(vec![cluster("east", 1), cluster("west", 2)], findings)
}

fn two_profiles() -> Report {
    let mut findings = background(&["east", "west"]);
    findings.push(service_overlap());
    let globalnet = |mut finding: Finding| {
        finding.profile = Profile::Submariner;
        finding
    };
    findings.push(globalnet(Finding {
        verdict: Verdict::Fail,
        severity: Severity::Fail,
        ..service_overlap()
    }));
    findings.push(globalnet(finding("SM101", "kube-proxy-mode", Verdict::Pass, &["east"])));
    let mut report = report(vec![cluster("east", 1), cluster("west", 2)], findings);
    report.profiles = vec![Profile::Clustermesh, Profile::Submariner];
    report
}

/// Texts as an attacker would choose them.
fn hostile() -> Report {
    let name = "we\u{1b}[2J\u{1b}]0;owned\u{7}st\u{202e}tsae|<script>alert(1)</script>";
    let mut west = cluster(name, 2);
    west.cni = "Cilium\n✓ PASS  all is well\u{9b}31m".to_owned();
    west.missing =
        vec!["x\r\n\r\n`````\n@everyone see https://example.com | #1 <img src=x onerror=alert(1)> ]]>".to_owned()];
    west.facts.known = 40;
    let long = "長".repeat(300);
    let tunnel = Finding {
        subject: subject(&["east", name]),
        found: format!("`@everyone` **bold** [link](javascript:alert(1)) {long}"),
        evidence: vec![
            read("east", "", CONFIG, "tunnel-protocol"),
            read(
                name,
                " gen|eve\u{200b}`` ",
                "ConfigMap x/\u{1b}[31mred",
                "]]></failure>",
            ),
        ],
        ..tunnel_protocol()
    };
    let unknown = Finding {
        reason: "unparsable".to_owned(),
        found: west.missing[0].clone(),
        cause: west.missing[0].clone(),
        ..finding("CM401", "encryption-mode", Verdict::Unknown, &[name])
    };
    let mut findings = background(&["east", name]);
    findings.extend([tunnel, unknown]);
    report(vec![cluster("east", 1), west], findings)
}
