//! Golden output of every renderer, and what must hold for any report.
//!
//! The recorded output is in `snapshots/`. `INSTA_UPDATE=always cargo test` records anew; read the difference before committing it.

use prejoin_checks::engine::judge;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::provenance::{Fact, Reason};
use prejoin_checks::intent::Intent;
use prejoin_checks::profile::Profile;
use prejoin_checks::report::{Finding, Report, Summary, Verdict};
use prejoin_checks::samples::{cilium, policy, set_cilium_key};
use unicode_width::UnicodeWidthStr;

use super::{Format, RenderOptions, render, samples};
use crate::text::is_hidden;

fn options(format: Format, width: usize) -> RenderOptions {
    RenderOptions {
        format,
        width,
        command: Some("prejoin check east.json west.json".to_owned()),
        ..RenderOptions::default()
    }
}

fn rendered(report: &Report, options: &RenderOptions) -> String {
    let mut out = Vec::new();
    render(report, options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn golden(name: &str, report: &Report, options: &RenderOptions) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("snapshots");
    settings.bind(|| insta::assert_snapshot!(name, rendered(report, options)));
}

#[test]
fn tables() {
    for (name, report) in samples::all() {
        for width in [80, 120] {
            golden(
                &format!("table-{width}-{name}"),
                &report,
                &options(Format::Table, width),
            );
        }
    }
}

#[test]
fn tables_in_full() {
    for name in ["three-causes", "forbidden", "waived"] {
        let options = RenderOptions {
            verbose: true,
            ..options(Format::Table, 80)
        };
        golden(&format!("table-verbose-{name}"), &samples::all()[name], &options);
    }
}

#[test]
fn tables_in_colour() {
    for name in ["three-causes", "five", "forty"] {
        let options = RenderOptions {
            color: true,
            ..options(Format::Table, 80)
        };
        golden(&format!("table-color-{name}"), &samples::all()[name], &options);
    }
}

#[test]
fn documents() {
    for name in ["three-causes", "hostile"] {
        let report = &samples::all()[name];
        golden(&format!("json-{name}"), report, &options(Format::Json, 80));
        golden(&format!("yaml-{name}"), report, &options(Format::Yaml, 80));
    }
}

#[test]
fn junit() {
    for (name, report) in samples::all() {
        golden(&format!("junit-{name}"), &report, &options(Format::Junit, 80));
    }
    let fail_on_warn = RenderOptions {
        fail_on_warn: true,
        ..options(Format::Junit, 80)
    };
    golden("junit-fail-on-warn", &samples::all()["three-causes"], &fail_on_warn);
}

#[test]
fn what_was_not_judged_is_an_error_even_without_a_finding() {
    let mut report = samples::all().remove("clean").unwrap();
    report.findings.retain(Finding::is_not_asked);
    report.summary = Summary::default();
    (report.verdict, report.exit_code) = (Verdict::Unknown, 5);
    let text = rendered(&report, &options(Format::Junit, 80));
    assert!(
        text.contains("errors=\"1\"") && text.contains("nothing was judged"),
        "{text}"
    );
    let table = rendered(&report, &options(Format::Table, 80));
    assert!(table.starts_with("UNKNOWN  not a pass"), "{table}");
}

#[test]
fn markdown() {
    for (name, report) in samples::all() {
        golden(&format!("markdown-{name}"), &report, &options(Format::Markdown, 80));
    }
}

#[test]
fn a_comment_never_grows_beyond_what_is_taken() {
    let text = rendered(&samples::many(511), &options(Format::Markdown, 80));
    assert!(text.chars().count() < 65_536);
    let mut report = samples::many(511);
    for (number, finding) in report.findings.iter_mut().enumerate() {
        finding.code = format!("NET{number}");
    }
    let text = rendered(&report, &options(Format::Markdown, 80));
    assert!(text.chars().count() < 65_536);
    assert!(text.contains("did not fit"), "{text}");
}

#[test]
fn json_and_yaml_are_the_report_itself() {
    for (name, report) in samples::all() {
        let json = rendered(&report, &options(Format::Json, 80));
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report, "{name}");
        if name != "hostile" {
            let yaml = rendered(&report, &options(Format::Yaml, 80));
            assert_eq!(serde_saphyr::from_str::<Report>(&yaml).unwrap(), report, "{name}");
        }
    }
}

#[test]
fn no_table_is_wider_than_the_terminal() {
    let mut reports = samples::all();
    reports.insert("many", samples::many(60));
    for (name, report) in &reports {
        for width in [40, 41, 57, 80, 100, 139, 140, 500] {
            for verbose in [false, true] {
                let options = RenderOptions {
                    verbose,
                    ..options(Format::Table, width)
                };
                for line in rendered(report, &options).lines() {
                    assert!(line.width() <= width.min(140), "{name} at {width}: {line:?}");
                    assert!(!line.ends_with(' '), "{name} at {width}: {line:?}");
                }
            }
        }
    }
}

#[test]
fn colour_changes_nothing_but_colour() {
    for (name, report) in samples::all() {
        let colored = RenderOptions {
            color: true,
            ..options(Format::Table, 80)
        };
        let stripped = without_colour(&rendered(&report, &colored));
        assert_eq!(stripped, rendered(&report, &options(Format::Table, 80)), "{name}");
    }
}

/// The text without the terminal's colours.
fn without_colour(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

#[test]
fn nothing_hidden_is_printed_in_any_format() {
    let report = &samples::all()["hostile"];
    for format in [
        Format::Table,
        Format::Json,
        Format::Yaml,
        Format::Junit,
        Format::Markdown,
    ] {
        for verbose in [false, true] {
            let text = rendered(
                report,
                &RenderOptions {
                    verbose,
                    ..options(format, 80)
                },
            );
            assert!(!text.replace('\n', "").contains(is_hidden), "{format:?}");
        }
    }
}

#[test]
fn hundreds_of_clusters_make_a_page_and_not_a_book() {
    let report = samples::many(511);
    let text = rendered(&report, &options(Format::Table, 80));
    assert!(text.starts_with("FAIL"), "{text}");
    assert!(text.lines().count() < 120, "{text}");
    golden("table-80-many", &report, &options(Format::Table, 80));
}

#[test]
fn every_complaint_of_every_sample_is_named() {
    for (name, report) in samples::all() {
        let text = rendered(&report, &options(Format::Table, 80));
        for finding in report.findings.iter().filter(|finding| finding.counts()) {
            assert!(text.contains(&finding.code), "{name} lacks {}", finding.code);
        }
        assert_eq!(text.starts_with("PASS"), report.verdict == Verdict::Pass, "{name}");
    }
}

/// Clusters as the engine judges them, with several faults at once.
fn judged() -> Report {
    let mut facts: Vec<ClusterFacts> = [("east", 1), ("west", 2), ("north", 3)]
        .map(|(name, number)| cilium(name, number))
        .into();
    set_cilium_key(&mut facts[1], "tunnel-protocol", Some("geneve"));
    set_cilium_key(&mut facts[1], "ipam", Some("cluster-pool"));
    set_cilium_key(&mut facts[1], "cluster-pool-ipv4-cidr", Some("10.0.0.0/8"));
    facts[2].nodes = Fact::unknown(Reason::Forbidden, "list nodes: forbidden for user audit");
    let mut policy = policy(Profile::Clustermesh);
    policy.profiles = Profile::ALL.to_vec();
    judge(&facts, &Intent::default(), &policy)
}

#[test]
fn what_the_engine_finds_is_named_in_every_format_for_people() {
    let report = judged();
    assert!(report.summary.fail > 0 && report.summary.unknown > 0 && report.summary.warn > 0);
    for format in [Format::Table, Format::Markdown, Format::Junit] {
        let text = rendered(&report, &options(format, 80));
        for finding in report.findings.iter().filter(|finding| finding.counts()) {
            assert!(text.contains(&finding.code), "{format:?} lacks {}", finding.code);
        }
    }
    let table = rendered(&report, &options(Format::Table, 80));
    assert!(table.lines().all(|line| line.width() <= 80), "{table}");
}

#[test]
fn a_ci_system_counts_what_the_report_counts() {
    let report = judged();
    let text = rendered(&report, &options(Format::Junit, 80));
    let counted = |element: &str| text.matches(element).count() as u64;
    assert_eq!(counted("<failure"), report.summary.fail);
    assert_eq!(counted("<error"), report.summary.unknown);
    assert_eq!(counted("<skipped"), report.summary.skip + report.summary.waived);
}

#[test]
fn nodes_against_nodes_are_readable_at_two_and_at_forty_a_side() {
    let verbose = RenderOptions {
        verbose: true,
        width: 100,
        ..RenderOptions::default()
    };
    let nodes = |report: &Report| {
        let text = rendered(report, &verbose);
        let from = text.find("Nodes east -> west").unwrap();
        text[from..]
            .lines()
            .take(100)
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let two = nodes(&samples::all()["paths"]);
    assert!(two.contains("east-n1"), "{two}");
    let forty = nodes(&samples::forty_nodes());
    insta::assert_snapshot!("nodes-forty", forty);
    assert!(forty.lines().all(|line| line.chars().count() <= 100));
}
