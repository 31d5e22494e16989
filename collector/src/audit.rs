//! `prejoin audit`, `prejoin check` and `prejoin facts`: gather, judge, show, in that order.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prejoin_checks::engine;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::profile::{Profile, signs};

use crate::cli::{self, Color};
use crate::error::{Error, exit_code};
use crate::fleet;
use crate::load::{BUNDLE_SCHEMA, Bundle};
use crate::output;
use crate::report::{self, RenderOptions};
use crate::settings::{self, Cluster, Origin, Settings};
use crate::text;

/// Reads clusters and facts files, judges them and reports.
pub fn audit(args: &cli::Audit, color: Color) -> Result<u8, Error> {
    let settings = Settings::audit(args, Timestamp::now())?;
    judge(settings, &args.judging, color)
}

/// Judges facts files and reports.
pub fn check(args: &cli::Check, color: Color) -> Result<u8, Error> {
    let settings = Settings::check(args, Timestamp::now())?;
    judge(settings, &args.judging, color)
}

fn judge(mut settings: Settings, args: &cli::Judging, color: Color) -> Result<u8, Error> {
    let clusters = gather(&settings.clusters, &settings.declared, settings.reading)?;
    for (place, name) in settings.mentioned() {
        if !clusters.iter().any(|facts| facts.name == name) {
            output::say(&format!(
                "prejoin: {place} names {name}, which is no cluster of this audit"
            ));
        }
    }
    if settings.policy.profiles.is_empty() {
        settings.policy.profiles = profiles_of(&clusters);
    }
    let report = engine::judge(&clusters, &settings.intent, &settings.policy);
    let options = RenderOptions {
        format: settings.format,
        width: output::width(args.width),
        color: output::colors(color),
        verbose: args.verbose,
        fail_on_warn: settings.policy.fail_on_warn,
        command: command_line(),
    };
    output::stdout(|out| report::render(&report, &options, out))?;
    Ok(report.exit_code)
}

/// The profiles that the clusters show signs of, said aloud.
fn profiles_of(clusters: &[ClusterFacts]) -> Vec<Profile> {
    let found = signs::of(clusters);
    if found.is_empty() {
        output::say("prejoin: no --profile given and no sign of a mesh found: judging for clustermesh");
        return vec![Profile::Clustermesh];
    }
    let names: Vec<&str> = found.iter().map(|profile| profile.name()).collect();
    output::say(&format!(
        "prejoin: no --profile given: judging for {}, of which the clusters show signs",
        names.join(" and ")
    ));
    found
}

/// Writes what clusters say, as one document.
pub fn facts(args: &cli::Facts) -> Result<u8, Error> {
    let (clusters, reading) = settings::facts(args)?;
    let facts = gather(&clusters, &BTreeMap::new(), reading)?;
    for facts in &facts {
        remark_on_gaps(facts);
    }
    let unreached = facts.iter().filter(|facts| facts.unreachable().is_some()).count();
    if unreached == facts.len() {
        output::say("prejoin: nothing was read, so nothing is written");
        return Ok(exit_code::INCOMPLETE);
    }
    let write = |out: &mut dyn std::io::Write| {
        if let [one] = facts.as_slice() {
            return text::write_json(one, out);
        }
        let bundle = Bundle {
            schema: BUNDLE_SCHEMA.to_owned(),
            clusters: facts,
        };
        text::write_json(&bundle, out)
    };
    match args.output.as_deref() {
        Some(path) if path.as_os_str() != "-" => output::file(path, write)?,
        _ => output::stdout(write)?,
    }
    Ok(if unreached > 0 {
        exit_code::INCOMPLETE
    } else {
        exit_code::PASS
    })
}

/// Says which requests failed, so that a gap in a facts file does not come as a surprise to who checks it.
fn remark_on_gaps(facts: &ClusterFacts) {
    if let Some(why) = facts.unreachable() {
        output::say(&format!("prejoin: {}: unreachable: {}", facts.name, why.detail));
        return;
    }
    let gap = |unknown: &&Unknown| {
        !matches!(
            unknown.reason,
            Reason::NotAsked | Reason::NotFound | Reason::NotInstalled
        )
    };
    for failure in facts.reads.iter().filter_map(|read| read.failure.as_ref()).filter(gap) {
        output::say(&format!("prejoin: {}: not read: {}", facts.name, failure.detail));
    }
}

/// The facts of all clusters; a runtime is started only if one is to be asked.
fn gather(
    clusters: &[Cluster],
    declared: &BTreeMap<String, Vec<prejoin_checks::facts::DeclaredRange>>,
    reading: settings::Reading,
) -> Result<Vec<ClusterFacts>, Error> {
    let live = clusters
        .iter()
        .any(|cluster| matches!(cluster.origin, Origin::Context { .. }));
    let mut runtime = if live {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|error| Error::Internal(format!("cannot start: {error}")))?;
    let facts = runtime.block_on(fleet::gather(clusters, declared, reading));
    // A credential plugin that hangs must not hold up the report.
    runtime.shutdown_background();
    Ok(facts?)
}

/// The command as typed, for hints how to ask again; none if it is too long to repeat.
fn command_line() -> Option<String> {
    const REPEATABLE: usize = 160;
    let words: Vec<String> = std::iter::once("prejoin".to_owned())
        .chain(
            std::env::args_os()
                .skip(1)
                .map(|word| word.to_string_lossy().into_owned()),
        )
        .map(|word| quoted(&word))
        .collect();
    let line = words.join(" ");
    (line.len() <= REPEATABLE).then_some(line)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_are_quoted_as_a_shell_takes_them() {
        for (word, written) in [
            ("--context=admin@east", "--context=admin@east"),
            ("arn:aws:eks:eu-1:1:cluster/x", "arn:aws:eks:eu-1:1:cluster/x"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("$(rm)", "'$(rm)'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), written);
        }
    }
}
