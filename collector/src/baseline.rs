//! `prejoin baseline`: a state that someone accepted; and what changed since.

use std::io::{self, Write};

use jiff::Timestamp;
use prejoin_checks::engine;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::history::drift::{self, Drift, Judging, Side};
use prejoin_checks::observation::Observations;
use prejoin_checks::report::Report;
use serde_json::json;

use crate::audit;
use crate::cli::{self, BaselineCommand, ListFormat};
use crate::error::{Error, exit_code};
use crate::load::{self, Accepted, Asked, BASELINE_SCHEMA, BUNDLE_SCHEMA, Baseline, Bundle, Document};
use crate::output;
use crate::settings::Settings;
use crate::text;

/// Does what was asked for.
pub(crate) fn run(command: &BaselineCommand) -> Result<u8, Error> {
    match command {
        BaselineCommand::Accept(args) => accept(args),
        BaselineCommand::Show(args) => show(args),
    }
}

/// What changed between an accepted state and the present one.
pub(crate) fn drift(
    accepted: &Bundle,
    clusters: &[ClusterFacts],
    report: &Report,
    observations: Option<&Observations>,
    settings: &Settings,
) -> Drift {
    let before = accepted.report(&settings.intent, &settings.policy);
    drift::drift(
        Side {
            clusters: &accepted.clusters,
            report: &before,
        },
        Side { clusters, report },
        Judging {
            observations,
            intent: &settings.intent,
            policy: &settings.policy,
        },
    )
}

/// Writes a state as one that is accepted.
fn accept(args: &cli::Accept) -> Result<u8, Error> {
    let now = Timestamp::now();
    let check = cli::Check {
        files: args.files.clone(),
        judging: cli::Judging {
            config: args.config.clone(),
            profile: args.profile.clone(),
            ..cli::Judging::default()
        },
    };
    let mut settings = Settings::check(&check, now)?;
    let clusters = audit::offline(&mut settings)?;
    let observations = settings.observations.take();
    let report = engine::judge_observed(&clusters, observations.as_deref(), &settings.intent, &settings.policy);
    let bundle = Bundle {
        schema: BUNDLE_SCHEMA.to_owned(),
        clusters,
        audit: Some(Box::new(Asked::of(
            &settings.policy,
            &settings.intent,
            settings.command,
        ))),
        observations,
    };
    let baseline = Baseline {
        schema: BASELINE_SCHEMA.to_owned(),
        accepted: Accepted {
            at: now,
            by: text::sanitise(&args.by).into_owned(),
            note: text::sanitise(&args.note).into_owned(),
        },
        bundle: bundle.harmless(),
    };
    let write = |out: &mut dyn Write| text::write_json(&baseline, out);
    match args.output.as_deref() {
        Some(path) if path.as_os_str() != "-" => output::file(path, write)?,
        _ => output::stdout(write)?,
    }
    output::say(&format!("prejoin: accepted: {}", counts(&report)));
    Ok(exit_code::PASS)
}

/// Shows what was accepted.
fn show(args: &cli::ShowBaseline) -> Result<u8, Error> {
    let Document::Baseline(baseline) = load::document(&args.file)? else {
        return Err(Error::Usage(format!(
            "{} is no baseline: `prejoin baseline accept` makes one",
            load::shown(&args.file)
        )));
    };
    let Some(asked) = &baseline.bundle.audit else {
        return Err(Error::Usage(format!(
            "{} does not say what was judged",
            load::shown(&args.file)
        )));
    };
    let report = baseline.bundle.report(&asked.intent, &asked.policy());
    match args.output {
        ListFormat::Json => {
            let document = json!({
                "accepted": baseline.accepted,
                "judged": report.generated_at,
                "profiles": report.profiles,
                "clusters": report.clusters,
                "verdict": report.verdict,
                "summary": report.summary,
                "coverage": report.coverage,
            });
            output::stdout(|out| text::write_json(&document, out))?;
        }
        ListFormat::Table => output::stdout(|out| lines(&baseline, &report, out))?,
    }
    Ok(exit_code::PASS)
}

fn lines(baseline: &Baseline, report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let Accepted { at, by, note } = &baseline.accepted;
    let by = if by.is_empty() {
        String::new()
    } else {
        format!(" by {by}")
    };
    writeln!(out, "accepted {at}{by}")?;
    if !note.is_empty() {
        writeln!(out, "because  {note}")?;
    }
    writeln!(out, "judged   {}: {}", report.generated_at, counts(report))?;
    for cluster in &report.clusters {
        let read = match cluster.collected_at {
            Some(at) => format!("read {at}"),
            None if cluster.planned => "planned".to_owned(),
            None => "read at an unknown time".to_owned(),
        };
        writeln!(
            out,
            "cluster  {}, {read}, facts {}",
            text::sanitise(&cluster.name),
            cluster.facts
        )?;
    }
    Ok(())
}

/// `2 clusters for clustermesh: pass, with 210 pass, 1 warn, 0 fail, 0 unknown, 12 waived`.
fn counts(report: &Report) -> String {
    let profiles: Vec<&str> = report.profiles.iter().map(|profile| profile.name()).collect();
    let summary = &report.summary;
    let clusters = match report.clusters.len() {
        1 => "1 cluster".to_owned(),
        count => format!("{count} clusters"),
    };
    format!(
        "{clusters} for {}: {} ({} pass, {} warn, {} fail, {} unknown, {} waived)",
        profiles.join(" and "),
        report.verdict,
        summary.pass,
        summary.warn,
        summary.fail,
        summary.unknown,
        summary.waived
    )
}
