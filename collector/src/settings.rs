//! [`Settings`]: what flags, environment and configuration file come to. Flags override the environment (both are
//! clap's business), which overrides the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use prejoin_checks::catalog;
use prejoin_checks::facts::cilium::Cilium;
use prejoin_checks::facts::provenance::{Fact, Source};
use prejoin_checks::facts::{ClusterFacts, DeclaredRange};
use prejoin_checks::intent::{ExternalNetwork, Intent};
use prejoin_checks::policy::Policy;
use prejoin_checks::profile::Profile;

use crate::cli;
use crate::config::{ClusterEntry, Config, FailOn, Planned, Ranges, Timeout};
use crate::error::Error;
use crate::report::Format;

/// Everything that was asked for.
#[derive(Debug)]
pub struct Settings {
    /// The clusters, in the order of the report.
    pub clusters: Vec<Cluster>,
    /// What the configuration file declares for clusters that exist, by name, wherever their facts come from.
    pub declared: BTreeMap<String, Vec<DeclaredRange>>,
    /// What the user plans.
    pub intent: Intent,
    /// Which checks run and what their findings do. Without profiles, those the clusters show signs of are to be taken.
    pub policy: Policy,
    /// How clusters are read.
    pub reading: Reading,
    /// How the report is written.
    pub format: Format,
}

/// One cluster and where its facts come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Where its facts come from.
    pub origin: Origin,
    /// The name it is to go by; without it, the one that its origin gives.
    pub name: Option<String>,
}

/// Where a cluster's facts come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// Its API.
    Context {
        /// The kubeconfig context; without it, the current one.
        context: Option<String>,
        /// The kubeconfig that has it; without it, as kubectl finds it.
        kubeconfig: Option<PathBuf>,
    },
    /// A facts file, which may hold several clusters.
    File(PathBuf),
    /// The configuration: the cluster is planned.
    Planned(Box<ClusterFacts>),
}

/// How clusters are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// How long one cluster may take to answer.
    pub timeout: Timeout,
    /// Whether Secrets are read.
    pub read_secrets: bool,
}

impl Settings {
    /// What `prejoin audit` was asked for.
    pub fn audit(args: &cli::Audit, now: Timestamp) -> Result<Self, Error> {
        let file = File::read(args.judging.config.as_deref())?;
        let contexts = args.clusters.context.iter().map(|context| Origin::Context {
            context: Some(context.clone()),
            kubeconfig: args.clusters.kubeconfig.clone(),
        });
        let files = args.facts.iter().cloned().map(Origin::File);
        let mut clusters = file.clusters(contexts.chain(files).collect(), args.clusters.kubeconfig.as_deref());
        if clusters.is_empty() {
            clusters.push(Cluster::of(current_context(args.clusters.kubeconfig.as_deref())));
        }
        Self::new(&file, clusters, &args.judging, file.reading(&args.reading), now)
    }

    /// What `prejoin check` was asked for.
    pub fn check(args: &cli::Check, now: Timestamp) -> Result<Self, Error> {
        let file = File::read(args.judging.config.as_deref())?;
        let files = args.files.iter().cloned().map(Origin::File);
        let clusters = file.clusters(files.collect(), None);
        if let Some(live) = clusters
            .iter()
            .find(|cluster| matches!(cluster.origin, Origin::Context { .. }))
        {
            return Err(Error::Usage(format!(
                "`prejoin check` asks no cluster, and {} says no facts file for {}: use `prejoin audit`, or name facts files",
                file.name,
                live.name.as_deref().unwrap_or("a cluster"),
            )));
        }
        if clusters.is_empty() {
            return Err(Error::Usage(
                "name the facts files to check (`prejoin facts` writes them)".to_owned(),
            ));
        }
        Self::new(&file, clusters, &args.judging, Reading::default(), now)
    }

    fn new(
        file: &File,
        clusters: Vec<Cluster>,
        judging: &cli::Judging,
        reading: Reading,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let config = &file.config;
        let choose = |flags: &[String], from_file: &[String]| {
            // A variable that is set to nothing gives one empty name.
            let flags: Vec<String> = flags.iter().filter(|name| !name.is_empty()).cloned().collect();
            if flags.is_empty() { from_file.to_vec() } else { flags }
        };
        let policy = Policy {
            profiles: unique(if judging.profile.is_empty() {
                &config.profiles
            } else {
                &judging.profile
            }),
            only: choose(&judging.only, &config.only),
            skip: choose(&judging.skip, &config.skip),
            waivers: config.waivers.clone(),
            probe: judging.probe.or(config.probe).unwrap_or_default(),
            allow_unknown: judging.allow_unknown.or(config.allow_unknown).unwrap_or_default(),
            fail_on_warn: judging.fail_on.or(config.fail_on).unwrap_or_default() == FailOn::Warn,
            evaluated_at: now,
        };
        known_checks("--only", &policy.only)?;
        known_checks("--skip", &policy.skip)?;
        known_checks("waivers", policy.waivers.iter().map(|waiver| &waiver.code))?;
        Ok(Self {
            clusters,
            declared: file.declared(),
            intent: file.intent(),
            policy,
            reading,
            format: judging.output.or(config.output).unwrap_or_default(),
        })
    }
}

impl Settings {
    /// Every cluster that waivers and plans name, with where they do so.
    pub fn mentioned(&self) -> impl Iterator<Item = (String, &str)> {
        let waivers = self.policy.waivers.iter().enumerate().flat_map(|(place, waiver)| {
            let names = waiver.clusters.iter();
            names.map(move |name| (format!("waivers[{place}].clusters"), name.as_str()))
        });
        let plan = &self.intent.submariner;
        let planned = plan
            .clusters
            .keys()
            .map(|name| ("submariner.clusters".to_owned(), name.as_str()));
        let broker = plan.broker_cluster.iter();
        let broker = broker.map(|name| ("submariner.brokerCluster".to_owned(), name.as_str()));
        waivers.chain(planned).chain(broker)
    }
}

/// The clusters that `prejoin facts` was asked for, and how they are read.
pub fn facts(args: &cli::Facts) -> Result<(Vec<Cluster>, Reading), Error> {
    let file = File::read(args.config.as_deref())?;
    let kubeconfig = args.clusters.kubeconfig.as_deref();
    let contexts = args.clusters.context.iter().map(|context| Origin::Context {
        context: Some(context.clone()),
        kubeconfig: kubeconfig.map(Path::to_owned),
    });
    let mut clusters = file.clusters(contexts.collect(), kubeconfig);
    clusters.retain(|cluster| matches!(cluster.origin, Origin::Context { .. }));
    if clusters.is_empty() {
        clusters.push(Cluster::of(current_context(kubeconfig)));
    }
    Ok((clusters, file.reading(&args.reading)))
}

fn current_context(kubeconfig: Option<&Path>) -> Origin {
    Origin::Context {
        context: None,
        kubeconfig: kubeconfig.map(Path::to_owned),
    }
}

impl Cluster {
    fn of(origin: Origin) -> Self {
        Self { origin, name: None }
    }
}

/// The configuration file, or what stands for it where there is none.
struct File {
    /// As errors and sources call it.
    name: String,
    /// What relative paths are relative to.
    directory: PathBuf,
    config: Config,
}

impl File {
    fn read(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else {
            return Ok(Self {
                name: String::new(),
                directory: PathBuf::new(),
                config: Config::default(),
            });
        };
        Ok(Self {
            name: path
                .file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy()
                .into_owned(),
            directory: path.parent().map(Path::to_owned).unwrap_or_default(),
            config: Config::read(path)?,
        })
    }

    /// The clusters: `given` by flags instead of the file's existing ones if there are any, and the file's planned ones.
    fn clusters(&self, given: Vec<Origin>, kubeconfig: Option<&Path>) -> Vec<Cluster> {
        let from_flags = !given.is_empty();
        let mut clusters: Vec<Cluster> = given.into_iter().map(Cluster::of).collect();
        for (place, entry) in self.config.clusters.iter().enumerate() {
            if from_flags && entry.planned.is_none() {
                continue;
            }
            clusters.push(self.cluster(place, entry, kubeconfig));
        }
        clusters
    }

    fn cluster(&self, place: usize, entry: &ClusterEntry, kubeconfig: Option<&Path>) -> Cluster {
        let origin = if let Some(planned) = &entry.planned {
            Origin::Planned(Box::new(self.planned(place, &entry.name, planned)))
        } else if let Some(facts) = &entry.facts {
            Origin::File(self.directory.join(facts))
        } else {
            Origin::Context {
                context: Some(entry.context.clone().unwrap_or_else(|| entry.name.clone())),
                kubeconfig: kubeconfig
                    .map(Path::to_owned)
                    .or_else(|| entry.kubeconfig.as_ref().map(|path| self.directory.join(path))),
            }
        };
        Cluster {
            origin,
            name: Some(entry.name.clone()),
        }
    }

    fn declared(&self) -> BTreeMap<String, Vec<DeclaredRange>> {
        let entries = self.config.clusters.iter().enumerate();
        entries
            .map(|(place, entry)| {
                let ranges = self.ranges(&format!("clusters[{place}].ranges"), &entry.ranges);
                (entry.name.clone(), ranges)
            })
            .collect()
    }

    fn planned(&self, place: usize, name: &str, planned: &Planned) -> ClusterFacts {
        let key = format!("clusters[{place}].planned");
        let mut facts = ClusterFacts::planned(name, self.ranges(&key, &planned.ranges()));
        let mesh = [
            ("cluster-id", planned.cluster_id.map(|id| id.to_string())),
            ("cluster-name", planned.cluster_name.clone()),
        ];
        let config: BTreeMap<String, String> = mesh
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect();
        if let (false, Fact::Unknown(unknown)) = (config.is_empty(), &facts.cilium) {
            let source = Source::declared(format!("{} {key}", self.name));
            let cilium = Cilium::planned(config, &source, unknown);
            facts.cilium = Fact::known(cilium, source);
        }
        facts
    }

    fn ranges(&self, key: &str, ranges: &Ranges) -> Vec<DeclaredRange> {
        ranges
            .by_kind()
            .into_iter()
            .flat_map(|(kind, name, cidrs)| {
                cidrs.iter().map(move |cidr| DeclaredRange {
                    kind,
                    cidr: *cidr,
                    source: Source::declared(format!("{} {key}.{name}", self.name)),
                })
            })
            .collect()
    }

    fn intent(&self) -> Intent {
        let mut submariner = self.config.submariner.clone();
        for entry in &self.config.clusters {
            if let Some(name) = entry.planned.as_ref().and_then(|planned| planned.cluster_name.clone()) {
                let plan = submariner.clusters.entry(entry.name.clone()).or_default();
                plan.cluster_id.get_or_insert(name);
            }
        }
        let networks = self.config.external_networks.iter().enumerate();
        Intent {
            external_networks: networks
                .map(|(place, network)| ExternalNetwork {
                    name: network.name.clone(),
                    cidr: network.cidr,
                    source: Source::declared(format!("{} externalNetworks[{place}].cidr", self.name)),
                })
                .collect(),
            submariner,
            round_trip_budget_millis: self
                .config
                .round_trip_budget
                .and_then(|budget| u32::try_from(budget.0.as_millis()).ok()),
        }
    }

    fn reading(&self, args: &cli::Reading) -> Reading {
        Reading {
            timeout: args.timeout.or(self.config.timeout).unwrap_or_default(),
            read_secrets: args.read_secrets.or(self.config.read_secrets).unwrap_or_default(),
        }
    }
}

/// Each profile once, in the order given.
fn unique(profiles: &[Profile]) -> Vec<Profile> {
    let mut once = Vec::new();
    for profile in profiles {
        if !once.contains(profile) {
            once.push(*profile);
        }
    }
    once
}

fn known_checks<'a>(place: &str, names: impl IntoIterator<Item = &'a String>) -> Result<(), Error> {
    match names.into_iter().find(|name| catalog::find(name).is_none()) {
        None => Ok(()),
        Some(name) => Err(no_such_check(place, name)),
    }
}

/// The error for a name that no check has, with the one that was probably meant.
pub fn no_such_check(place: &str, name: &str) -> Error {
    let wanted = name.to_ascii_lowercase();
    let close = catalog::checks()
        .flat_map(|check| [check.code, check.slug])
        .map(|candidate| {
            (
                strsim::jaro_winkler(&candidate.to_ascii_lowercase(), &wanted),
                candidate,
            )
        })
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = close.map_or_else(String::new, |(_, candidate)| format!("; did you mean {candidate}?"));
    Error::Usage(format!(
        "{place}: there is no check `{name}`{hint} (`prejoin checks` lists them)"
    ))
}
