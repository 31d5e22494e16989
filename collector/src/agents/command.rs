//! `prejoin agents`: the same for every cluster that was named, all at once; one that fails leaves the others alone.

use clap::ValueEnum as _;
use futures::future::join_all;

use super::install::{self, Applied, How, Waited, Watched};
use super::manifest;
use super::permissions::{self, Access};
use super::remove::{self, Removed};
use super::rollout::Rollout;
use super::status::Status;
use super::trouble::Trouble;
use crate::cli::{self, AgentsCommand, ListFormat};
use crate::error::{Error, exit_code};
use crate::fleet::{self, Live};
use crate::output;
use crate::run::{Cancel, cancellation};
use crate::text;

/// Does what was asked for.
pub fn run(command: &AgentsCommand) -> Result<u8, Error> {
    match command {
        AgentsCommand::Install(args) if args.print => print(args),
        AgentsCommand::Install(args) => install(args),
        AgentsCommand::Status(args) => status(args),
        AgentsCommand::Remove(args) => remove(args),
        AgentsCommand::Rbac(args) => rbac(args),
    }
}

fn print(args: &cli::Install) -> Result<u8, Error> {
    let objects = manifest::installed(&args.wanted()?);
    let yaml = serde_saphyr::to_string_multiple(&objects);
    let yaml = yaml.map_err(|error| Error::Internal(format!("cannot write YAML: {error}")))?;
    output::stdout(|out| out.write_all(yaml.as_bytes()))?;
    Ok(exit_code::PASS)
}

fn install(args: &cli::Install) -> Result<u8, Error> {
    let wanted = args.wanted()?;
    let how = How {
        dry_run: args.dry_run.is_some(),
        force_conflicts: args.force_conflicts,
    };
    let codes = in_each(&args.placed.clusters, async |live, client, cancel| {
        let name = live.name.as_str();
        let applied = install::install(&client, &wanted, how).await?;
        say_applied(name, &applied, how);
        if how.dry_run {
            return Ok(if applied.untried.is_empty() {
                exit_code::PASS
            } else {
                exit_code::INCOMPLETE
            });
        }
        let watched = Watched::installed(&wanted);
        let waiting = install::until_ready(&client, &watched, args.timeout.0, &cancel, teller(name));
        let (rollout, waited) = waiting.await?;
        say_rollout(name, &rollout, waited);
        Ok(if waited == Waited::Complete {
            exit_code::PASS
        } else {
            exit_code::INCOMPLETE
        })
    })?;
    Ok(worst(&codes))
}

fn status(args: &cli::Status) -> Result<u8, Error> {
    let namespace = &args.placed.namespace;
    let timeout = args.timeout.0;
    let all = for_each(
        &args.placed.clusters,
        async |live: Live, client: Result<kube::Client, Trouble>, _| {
            let reading = async { Status::read(&client?, &live.name, namespace).await };
            let read = tokio::time::timeout(timeout, reading).await;
            let read =
                read.unwrap_or_else(|_| Err(Trouble::new(format!("no answer within {} s", timeout.as_secs_f32()))));
            read.unwrap_or_else(|trouble| Status::unknown(&live.name, namespace, &trouble))
        },
    )?;
    output::stdout(|out| match args.output {
        ListFormat::Json => text::write_json(&all, out),
        ListFormat::Table => all.iter().try_for_each(|status| status.write(out)),
    })?;
    Ok(if all.iter().all(Status::is_well) {
        exit_code::PASS
    } else {
        exit_code::INCOMPLETE
    })
}

fn remove(args: &cli::Remove) -> Result<u8, Error> {
    let namespace = &args.placed.namespace;
    let dry_run = args.dry_run.is_some();
    let codes = in_each(&args.placed.clusters, async |live, client, _| {
        let removed = remove::remove_installed(&client, namespace, dry_run, args.timeout.0).await?;
        say_removed(&live.name, &removed, dry_run);
        Ok(if removed.is_complete() {
            exit_code::PASS
        } else {
            exit_code::INCOMPLETE
        })
    })?;
    Ok(worst(&codes))
}

fn rbac(args: &cli::Rbac) -> Result<u8, Error> {
    let wanted = if args.access.is_empty() {
        Access::value_variants()
    } else {
        &args.access
    };
    if args.print {
        let roles: Vec<String> = wanted.iter().map(|access| access.roles()).collect();
        output::stdout(|out| out.write_all(roles.join("---\n").as_bytes()))?;
        return Ok(exit_code::PASS);
    }
    let namespace = &args.placed.namespace;
    let all = for_each(
        &args.placed.clusters,
        async |live: Live, client: Result<kube::Client, Trouble>, _| {
            let mut lines = Vec::new();
            let mut code = exit_code::PASS;
            for access in wanted {
                // Only clusters that are joined already need it: who has none lacks nothing.
                let counts = *access != Access::Joined || !args.access.is_empty();
                // Each run has a namespace of its own.
                let place = (!matches!(access, Access::Ephemeral | Access::Joined)).then_some(namespace.as_str());
                let asked = async { permissions::missing(&client.clone()?, *access, place).await };
                let said = match asked.await {
                    Ok(missing) if missing.is_empty() => "permitted".to_owned(),
                    Ok(missing) => {
                        if counts {
                            code = exit_code::INCOMPLETE;
                        }
                        let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
                        format!("not permitted: {}", missing.join(", "))
                    }
                    Err(trouble) => {
                        code = exit_code::INCOMPLETE;
                        format!("not known: {trouble}")
                    }
                };
                let name = access.to_possible_value().map(|value| value.get_name().to_owned());
                lines.push(format!("{}  {:<10} {said}", live.name, name.unwrap_or_default()));
            }
            (lines, code)
        },
    )?;
    output::stdout(|out| {
        let mut lines = all.iter().flat_map(|(lines, _)| lines);
        lines.try_for_each(|line| writeln!(out, "{}", text::sanitise(line)))
    })?;
    let codes: Vec<u8> = all.iter().map(|(_, code)| *code).collect();
    Ok(worst(&codes))
}

/// Does something in every cluster that was named; what fails in one is said, and leaves the others alone.
fn in_each(
    clusters: &cli::Clusters,
    work: impl AsyncFn(Live, kube::Client, Cancel) -> Result<u8, Trouble>,
) -> Result<Vec<u8>, Error> {
    for_each(
        clusters,
        async |live: Live, client: Result<kube::Client, Trouble>, cancel| {
            let name = live.name.clone();
            let doing = async { work(live, client?, cancel).await };
            doing.await.unwrap_or_else(|trouble| {
                output::say(&format!("prejoin: {name}: {trouble}"));
                exit_code::INCOMPLETE
            })
        },
    )
}

fn for_each<T>(
    clusters: &cli::Clusters,
    work: impl AsyncFn(Live, Result<kube::Client, Trouble>, Cancel) -> T,
) -> Result<Vec<T>, Error> {
    let lives = fleet::contexts(&clusters.context, clusters.kubeconfig.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::Internal(format!("cannot start: {error}")))?;
    let all = async {
        let (canceller, cancel) = cancellation();
        tokio::spawn(super::interrupted(canceller));
        let each = lives.into_iter().map(|live| {
            let (work, cancel) = (&work, cancel.clone());
            async move {
                let client = client(&live).await;
                work(live, client, cancel).await
            }
        });
        join_all(each).await
    };
    let done = runtime.block_on(all);
    // A credential plugin that hangs must not hold up the result.
    runtime.shutdown_background();
    Ok(done)
}

/// A client that may watch.
pub(super) async fn client(live: &Live) -> Result<kube::Client, Trouble> {
    let client = fleet::session_client(live.kubeconfig.as_deref(), live.context.as_deref(), super::CONNECTING);
    client.await.map_err(|why| Trouble::new(why.detail))
}

/// The worst of several exit codes: nothing is well where something is not.
fn worst(codes: &[u8]) -> u8 {
    codes.iter().copied().max().unwrap_or(exit_code::PASS)
}

fn say_applied(name: &str, applied: &Applied, how: How) {
    let done = if how.dry_run { "would apply" } else { "applied" };
    output::say(&format!("prejoin: {name}: {done} {}", applied.objects.join(", ")));
    for left in &applied.left {
        output::say(&format!(
            "prejoin: {name}: {left} is there already and is left as it is"
        ));
    }
    if !applied.untried.is_empty() {
        output::say(&format!(
            "prejoin: {name}: not tried, for their namespace is not there yet: {}",
            applied.untried.join(", ")
        ));
    }
    if !applied.removed.is_empty() {
        let done = if how.dry_run { "would remove" } else { "removed" };
        output::say(&format!(
            "prejoin: {name}: {done} what is not wanted any more: {}",
            applied.removed.join(", ")
        ));
    }
}

/// Tells how agents come along, once for each thing that they wait for.
pub(super) fn teller(name: &str) -> impl FnMut(&Rollout) + '_ {
    let mut told = String::new();
    move |rollout| {
        let Some((nodes, why)) = rollout.waiting().into_iter().next() else {
            return;
        };
        if why != told {
            let counts = format!("{} of {} agents ready", rollout.ready(), rollout.wanted());
            output::say(&format!("prejoin: {name}: {counts}; {nodes}: {why}"));
            told = why;
        }
    }
}

pub(super) fn say_rollout(name: &str, rollout: &Rollout, waited: Waited) {
    let how = match waited {
        Waited::Complete => None,
        Waited::Settled => Some("the others will not be by waiting"),
        Waited::TimedOut => Some("the time to wait is over"),
        Waited::Interrupted => Some("interrupted"),
    };
    if let Some(how) = how {
        output::say(&format!(
            "prejoin: {name}: {} of {} agents are ready, and {how}",
            rollout.ready(),
            rollout.wanted()
        ));
        for (nodes, why) in rollout.waiting() {
            output::say(&format!("prejoin: {name}: {nodes}: {why}"));
        }
    }
    for why in rollout.not_covered() {
        output::say(&format!("prejoin: {name}: not covered by agents: {why}"));
    }
}

pub(super) fn say_removed(name: &str, removed: &Removed, dry_run: bool) {
    let say = |text: &str| output::say(&format!("prejoin: {name}: {text}"));
    for left in &removed.left {
        say(&format!("left alone: {left}"));
    }
    if dry_run {
        return say(&format!("would remove {}", listed(&removed.gone)));
    }
    if removed.gone.is_empty() && removed.remains.is_empty() {
        return say("nothing of ours is there");
    }
    say(&format!("gone, as the API server says: {}", listed(&removed.gone)));
    if removed.pods > 0 {
        say(&format!(
            "gone with them: {} pods, whose kubelets said that their containers have ended; an agent's sockets end with it",
            removed.pods
        ));
    }
    for remains in &removed.remains {
        say(remains);
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
