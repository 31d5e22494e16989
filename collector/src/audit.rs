//! `prejoin audit`, `prejoin check` and `prejoin facts`: gather, probe, judge, show, in that order.

mod dry_run;
mod joined;
mod probing;

use std::collections::BTreeMap;

use jiff::Timestamp;
use prejoin_checks::engine;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::observation::Observations;
use prejoin_checks::policy::Probe;
use prejoin_checks::profile::{Profile, signs};
use prejoin_checks::report::Report;
use tokio::runtime::Runtime;

use crate::agents::ephemeral::{self, Guests};
use crate::baseline;
use crate::cli::{self, Color};
use crate::error::{Error, exit_code};
use crate::fleet::{self, Live};
use crate::load::{Asked, BUNDLE_SCHEMA, Bundle};
use crate::output;
use crate::report::{self, RenderOptions};
use crate::run::{Cancel, Canceller, cancellation};
use crate::settings::{self, Cluster, Origin, Settings};
use crate::text;
use probing::Probed;

/// Reads clusters and facts files, lets agents probe what lies between them, judges and reports.
pub fn audit(args: &cli::Audit, color: Color) -> Result<u8, Error> {
    let mut settings = Settings::audit(args, Timestamp::now())?;
    let agents = settings.policy.probe != Probe::None && !settings.probing.members.is_empty();
    let runtime = runtime(&settings.clusters, agents)?;
    let (canceller, cancel) = cancellation();
    let dry_run = args.sending.dry_run;
    let work = async {
        tokio::spawn(end_when_interrupted(canceller));
        look(&mut settings, dry_run, &cancel).await
    };
    let Looked { facts, probed, guests } = match runtime.block_on(work) {
        Ok(looked) => looked,
        Err(error) => {
            runtime.shutdown_background();
            return Err(error);
        }
    };
    // The verdict need not wait until the agents are gone.
    let removing = runtime.spawn(ephemeral::remove_all(guests));
    let concluded = conclude(args, settings, facts, probed, color);
    let removed = runtime.block_on(removing);
    // A credential plugin that hangs must not hold up the end.
    runtime.shutdown_background();
    removed.map_err(|error| Error::Internal(format!("removing agents: {error}")))?;
    concluded
}

/// What an audit saw, and the agents it started for that.
struct Looked {
    facts: Vec<ClusterFacts>,
    probed: Probed,
    guests: Vec<Guests>,
}

/// Gathers and probes.
async fn look(settings: &mut Settings, dry_run: bool, cancel: &Cancel) -> Result<Looked, Error> {
    let clusters = std::mem::take(&mut settings.clusters);
    let gathered = fleet::gather(clusters, &settings.declared, settings.reading, cancel).await?;
    let (mut facts, live) = (gathered.facts, gathered.live);
    settle(settings, &facts);
    joined::say(&facts, settings);
    let mut guests = Vec::new();
    let probed = if settings.policy.probe == Probe::None {
        Probed::Nothing
    } else {
        guests = start_guests(&facts, &live, settings, dry_run, cancel).await;
        probing::probe(&mut facts, &live, &guests, settings, dry_run, cancel).await
    };
    Ok(Looked { facts, probed, guests })
}

/// A whole audit: gathers, probes and judges as `prejoin audit` does, and gives the bundle with the report that it makes. Agents that it started are
/// gone when it returns. `command` is the hint how to ask again.
pub async fn conduct(
    mut settings: Settings,
    command: Option<String>,
    cancel: &Cancel,
) -> Result<(Bundle, Report), Error> {
    let Looked { facts, probed, guests } = look(&mut settings, false, cancel).await?;
    ephemeral::remove_all(guests).await;
    let observations = match probed {
        Probed::Seen(observations) => Some(observations),
        Probed::Nothing | Probed::Planned(_) => None,
    };
    // Takes seconds where clusters are large, and others wait for this thread.
    let judging = tokio::task::spawn_blocking(move || {
        let bundle = bundle(&mut settings, facts, observations, command);
        let observations = bundle.observations.as_deref();
        let report = engine::judge_observed(&bundle.clusters, observations, &settings.intent, &settings.policy);
        (bundle, report)
    });
    judging
        .await
        .map_err(|error| Error::Internal(format!("judging: {error}")))
}

/// All that the report is made of, as it can be read back, so that it gives the same report.
fn bundle(
    settings: &mut Settings,
    facts: Vec<ClusterFacts>,
    observations: Option<Box<Observations>>,
    command: Option<String>,
) -> Bundle {
    let bundle = Bundle {
        schema: BUNDLE_SCHEMA.to_owned(),
        clusters: facts,
        audit: Some(Box::new(Asked::of(&settings.policy, &settings.intent, command))),
        observations,
    }
    .harmless();
    if let Some(asked) = &bundle.audit {
        settings.command.clone_from(&asked.command);
        settings.intent.clone_from(&asked.intent);
        settings.policy.waivers.clone_from(&asked.waivers);
    }
    bundle
}

/// Saves, judges and reports what an audit found.
fn conclude(
    args: &cli::Audit,
    mut settings: Settings,
    facts: Vec<ClusterFacts>,
    probed: Probed,
    color: Color,
) -> Result<u8, Error> {
    let observations = match probed {
        Probed::Seen(observations) => Some(observations),
        Probed::Nothing if !args.sending.dry_run => None,
        Probed::Nothing => {
            output::stdout(|out| writeln!(out, "There are no agents, so nothing would be sent."))?;
            return Ok(exit_code::PASS);
        }
        Probed::Planned(plan) => {
            output::stdout(|out| dry_run::show(&plan, out))?;
            return Ok(exit_code::PASS);
        }
    };
    let bundle = bundle(&mut settings, facts, observations, command_line());
    if let Some(path) = &args.sending.save {
        output::file(path, |out| text::write_json(&bundle, out))?;
    }
    judge(
        &settings,
        &bundle.clusters,
        bundle.observations.as_deref(),
        &args.judging,
        color,
    )
}

/// Agents for this audit alone, where they were asked for, in the clusters that could be read.
async fn start_guests(
    facts: &[ClusterFacts],
    live: &[Live],
    settings: &Settings,
    dry_run: bool,
    cancel: &Cancel,
) -> Vec<Guests> {
    let Some(wanted) = settings
        .probing
        .ephemeral
        .as_ref()
        .filter(|_| !dry_run && !cancel.is_cancelled())
    else {
        return Vec::new();
    };
    let is_read = |live: &&Live| {
        let mut of_it = facts.iter().filter(|facts| facts.name == live.name);
        of_it.any(|facts| facts.unreachable().is_none())
    };
    let read: Vec<Live> = live.iter().filter(is_read).cloned().collect();
    ephemeral::start(&read, wanted, &joined::wishes(facts, settings), cancel).await
}

/// Judges facts files, or an audit's bundle, and reports.
pub fn check(args: &cli::Check, color: Color) -> Result<u8, Error> {
    let mut settings = Settings::check(args, Timestamp::now())?;
    let facts = offline(&mut settings)?;
    let observations = settings.observations.take();
    settings.command = settings.command.take().or_else(command_line);
    judge(&settings, &facts, observations.as_deref(), &args.judging, color)
}

/// The facts of clusters that are in files, with what depends on them settled.
pub(crate) fn offline(settings: &mut Settings) -> Result<Vec<ClusterFacts>, Error> {
    let runtime = runtime(&settings.clusters, false)?;
    let never = Cancel::never();
    let clusters = std::mem::take(&mut settings.clusters);
    let gathering = fleet::gather(clusters, &settings.declared, settings.reading, &never);
    let facts = runtime.block_on(gathering)?.facts;
    settle(settings, &facts);
    Ok(facts)
}

/// Settles what depends on the clusters themselves, and remarks on names that none of them has.
fn settle(settings: &mut Settings, clusters: &[ClusterFacts]) {
    for (place, name) in settings.mentioned() {
        if !clusters.iter().any(|facts| facts.name == name) {
            output::say(&format!(
                "prejoin: {place} names {name}, which is no cluster of this audit"
            ));
        }
    }
    if settings.policy.profiles.is_empty() {
        settings.policy.profiles = profiles_of(clusters);
    }
}

fn judge(
    settings: &Settings,
    clusters: &[ClusterFacts],
    observations: Option<&Observations>,
    args: &cli::Judging,
    color: Color,
) -> Result<u8, Error> {
    let mut report = engine::judge_observed(clusters, observations, &settings.intent, &settings.policy);
    if let Some(accepted) = &settings.against {
        let drift = baseline::drift(accepted, clusters, &report, observations, settings);
        report = report.with_drift(drift);
    }
    let options = RenderOptions {
        format: settings.format,
        width: output::width(args.width),
        color: output::colors(color),
        verbose: args.verbose,
        fail_on_warn: settings.policy.fail_on_warn,
        command: settings.command.clone(),
    };
    output::stdout(|out| report::render(&report, &options, out))?;
    Ok(report.exit_code)
}

/// The first interrupt ends the audit in order, the second at once.
async fn end_when_interrupted(canceller: Canceller) {
    /// What a shell says of a command that an interrupt ended.
    const INTERRUPTED: i32 = 130;
    if tokio::signal::ctrl_c().await.is_err() {
        // Then an interrupt does what it always does. The audit goes on.
        return std::future::pending().await;
    }
    output::say("prejoin: interrupted: ending, with a report of what is known by now (once more: at once)");
    canceller.cancel();
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(INTERRUPTED);
    }
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
    let runtime = runtime(&clusters, false)?;
    let never = Cancel::never();
    let gathered = runtime.block_on(fleet::gather(clusters, &BTreeMap::new(), reading, &never));
    // A credential plugin that hangs must not hold up the result.
    runtime.shutdown_background();
    let facts = gathered?.facts;
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
        text::write_json(&Bundle::of_facts(facts), out)
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

/// What runs everything that waits: with threads of its own where clusters or agents are asked.
fn runtime(clusters: &[Cluster], agents: bool) -> Result<Runtime, Error> {
    let live = clusters
        .iter()
        .any(|cluster| matches!(cluster.origin, Origin::Context { .. }));
    let mut runtime = if live || agents {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = runtime.enable_all().build();
    runtime.map_err(|error| Error::Internal(format!("cannot start: {error}")))
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
        .map(|word| text::quoted(&word))
        .collect();
    let line = words.join(" ");
    (line.len() <= REPEATABLE).then_some(line)
}
