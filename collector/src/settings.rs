//! [`Settings`]: what flags, environment and configuration file come to. Flags override the environment (both are
//! clap's business), which overrides the file.

mod site;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use prejoin_checks::catalog;
use prejoin_checks::facts::cilium::Cilium;
use prejoin_checks::facts::provenance::{Fact, Source};
use prejoin_checks::facts::{ClusterFacts, DeclaredRange};
use prejoin_checks::intent::{ExternalNetwork, Intent};
use prejoin_checks::observation::Observations;
use prejoin_checks::plan::Pace;
use prejoin_checks::policy::Policy;
use prejoin_checks::profile::Profile;

use crate::agents::Where;
use crate::agents::ephemeral::Ephemeral;
use crate::cli::{self, UseAgents};
use crate::config::{AgentsEntry, ClusterAgents, ClusterEntry, Config, FailOn, Planned, Ranges, Site, Timeout};
use crate::error::Error;
use crate::fleet;
use crate::load::{self, Asked, Bundle};
use crate::report::Format;
use crate::run::Member;

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
    /// How probes are sent, and by whom.
    pub probing: Probing,
    /// What agents saw, where an audit's bundle says so.
    pub observations: Option<Box<Observations>>,
    /// The command as it was typed for the audit whose bundle is judged.
    pub command: Option<String>,
    /// The state that this one is held against.
    pub against: Option<Box<Bundle>>,
}

/// How probes are sent, and by whom.
#[derive(Debug, Default)]
pub struct Probing {
    /// How fast, and how patiently.
    pub pace: Pace,
    /// What the choice of pairs is drawn from; without it, the moment of the audit.
    pub seed: Option<u64>,
    /// The agents of sites.
    pub members: Vec<Member>,
    /// What is said of the agents of clusters with an API, by name.
    pub agents: BTreeMap<String, ClusterAgents>,
    /// What flags say of them all: whether installed ones are used.
    pub use_installed: Option<bool>,
    /// The namespace of installed ones, where flags name it.
    pub namespace: Option<String>,
    /// Agents for this audit alone.
    pub ephemeral: Option<Ephemeral>,
}

impl Probing {
    /// What flags, and then the configuration, say of agents in clusters.
    fn of_clusters(&mut self, args: &cli::AuditAgents, file: &AgentsEntry) {
        let which = args.agents.or(file.which);
        self.namespace = args.namespace.clone().or_else(|| file.namespace.clone());
        self.use_installed = which.map(|which| which == UseAgents::Installed);
        let usual = Ephemeral::default();
        self.ephemeral = (which == Some(UseAgents::Ephemeral)).then(|| {
            let mut image = args.image.clone();
            image.image = image
                .image
                .filter(|image| !image.is_empty())
                .or_else(|| file.image.clone());
            image.image_pull_secret = image.image_pull_secret.or_else(|| file.image_pull_secret.clone());
            if image.node_selector.is_empty() {
                image.node_selector = file.node_selector.clone().into_iter().collect();
            }
            Ephemeral {
                wanted: image.wanted(
                    self.namespace.as_deref().unwrap_or_default(),
                    args.agents_mode.or(file.mode).unwrap_or(usual.wanted.mode),
                ),
                named: self.namespace.is_some(),
                deadline: args
                    .agents_deadline
                    .or(file.deadline)
                    .map_or(usual.deadline, |deadline| deadline.0),
                timeout: args
                    .agents_timeout
                    .or(file.timeout)
                    .map_or(usual.timeout, |timeout| timeout.0),
            }
        });
    }

    /// Where the installed agents of a cluster are looked for; nowhere if they are not to be used.
    pub fn installed(&self, cluster: &str) -> Option<Where> {
        let nothing_said = ClusterAgents::default();
        let said = self.agents.get(cluster).unwrap_or(&nothing_said);
        let place = Where::installed(said, self.use_installed)?;
        Some(Where {
            namespace: self.namespace.clone().unwrap_or(place.namespace),
            ..place
        })
    }
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
    /// A file that is read already.
    Loaded {
        /// The clusters it holds.
        facts: Vec<ClusterFacts>,
        /// The file, as the user named it.
        from: String,
    },
    /// The configuration: the cluster is planned.
    Planned(Box<ClusterFacts>),
    /// The configuration: a site that is known by its nodes.
    Site(Box<ClusterFacts>),
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
        let asked = None;
        let mut settings = Self::new(&file, clusters, &args.judging, file.reading(&args.reading), now, asked)?;
        settings.probing = file.probing(&args.sending, &settings.clusters);
        settings.probing.of_clusters(&args.agents, &file.config.agents);
        Ok(settings)
    }

    /// What `prejoin check` was asked for.
    pub fn check(args: &cli::Check, now: Timestamp) -> Result<Self, Error> {
        let file = File::read(args.judging.config.as_deref())?;
        let mut loaded = Loaded::read(&args.files)?;
        let mut clusters = file.clusters(std::mem::take(&mut loaded.origins), None);
        // What was planned when a bundle was written is in it.
        clusters.retain(|cluster| !matches!((&cluster.origin, &cluster.name), (Origin::Planned(_), Some(name)) if loaded.names.contains(name)));
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
        let asked = loaded.asked.as_deref();
        let mut settings = Self::new(&file, clusters, &args.judging, Reading::default(), now, asked)?;
        settings.observations = loaded.observations;
        Ok(settings)
    }

    /// What a configuration alone asks for, whatever flags and environment say: that of a group of `prejoin serve`. `name` is what sources call
    /// it, and relative paths are relative to `directory`.
    pub fn configured(name: &str, directory: &Path, config: Config, now: Timestamp) -> Result<Self, Error> {
        let file = File {
            name: name.to_owned(),
            directory: directory.to_owned(),
            config,
        };
        let clusters = file.clusters(Vec::new(), None);
        let (judging, reading) = (cli::Judging::default(), file.reading(&cli::Reading::default()));
        let mut settings = Self::new(&file, clusters, &judging, reading, now, None)?;
        settings.probing = file.probing(&cli::Sending::default(), &settings.clusters);
        settings
            .probing
            .of_clusters(&cli::AuditAgents::default(), &file.config.agents);
        Ok(settings)
    }

    fn new(
        file: &File,
        clusters: Vec<Cluster>,
        judging: &cli::Judging,
        reading: Reading,
        now: Timestamp,
        asked: Option<&Asked>,
    ) -> Result<Self, Error> {
        let config = &file.config;
        // What the audit was asked for whose bundle is judged comes last.
        let before = |list: fn(&Asked) -> &Vec<String>| asked.map(list).cloned().unwrap_or_default();
        let choose = |flags: &[String], from_file: &[String], before: Vec<String>| {
            // A variable that is set to nothing gives one empty name.
            let flags: Vec<String> = flags.iter().filter(|name| !name.is_empty()).cloned().collect();
            [flags, from_file.to_vec(), before]
                .into_iter()
                .find(|list| !list.is_empty())
                .unwrap_or_default()
        };
        let profiles = [&judging.profile, &config.profiles];
        let profiles = profiles.into_iter().chain(asked.map(|asked| &asked.profiles));
        let fail_on = judging
            .fail_on
            .or(config.fail_on)
            .map(|fail_on| fail_on == FailOn::Warn);
        let policy = Policy {
            profiles: unique(
                profiles
                    .into_iter()
                    .find(|list| !list.is_empty())
                    .unwrap_or(&Vec::new()),
            ),
            only: choose(&judging.only, &config.only, before(|asked| &asked.only)),
            skip: choose(&judging.skip, &config.skip, before(|asked| &asked.skip)),
            waivers: match asked {
                Some(asked) if config.waivers.is_empty() => asked.waivers.clone(),
                _ => config.waivers.clone(),
            },
            probe: judging
                .probe
                .or(config.probe)
                .or(asked.map(|asked| asked.probe))
                .unwrap_or_default(),
            phase: judging
                .phase
                .or(config.phase)
                .or(asked.map(|asked| asked.phase))
                .unwrap_or_default(),
            allow_unknown: judging
                .allow_unknown
                .or(config.allow_unknown)
                .or(asked.map(|asked| asked.allow_unknown))
                .unwrap_or_default(),
            fail_on_warn: fail_on.or(asked.map(|asked| asked.fail_on_warn)).unwrap_or_default(),
            evaluated_at: asked.map_or(now, |asked| asked.evaluated_at),
        };
        known_checks("--only", &policy.only)?;
        known_checks("--skip", &policy.skip)?;
        known_checks("waivers", policy.waivers.iter().map(|waiver| &waiver.code))?;
        Ok(Self {
            clusters,
            declared: file.declared(),
            intent: match asked {
                Some(asked) if !file.is_given() => asked.intent.clone(),
                _ => file.intent(),
            },
            policy,
            reading,
            format: judging.output.or(config.output).unwrap_or_default(),
            probing: Probing::default(),
            observations: None,
            command: asked.and_then(|asked| asked.command.clone()),
            against: judging
                .against
                .as_deref()
                .map(load::accepted_state)
                .transpose()?
                .map(Box::new),
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

/// Files to judge, read: each as an origin, with what one of them says of the audit that wrote it.
#[derive(Default)]
struct Loaded {
    origins: Vec<Origin>,
    names: Vec<String>,
    asked: Option<Box<Asked>>,
    observations: Option<Box<Observations>>,
}

impl Loaded {
    fn read(files: &[PathBuf]) -> Result<Self, Error> {
        let mut all = Self::default();
        let bundles = fleet::side_by_side(files, |file| load::bundle(file));
        for (file, bundle) in files.iter().zip(bundles) {
            let bundle = bundle?;
            let audited = bundle.audit.is_some() || bundle.observations.is_some();
            if audited && (all.asked.is_some() || all.observations.is_some()) {
                return Err(Error::Usage(format!(
                    "{} is a second audit's bundle: only one can be judged at a time",
                    load::shown(file)
                )));
            }
            if audited {
                all.asked = bundle.audit;
                all.observations = bundle.observations;
            }
            all.names.extend(bundle.clusters.iter().map(|facts| facts.name.clone()));
            all.origins.push(Origin::Loaded {
                facts: bundle.clusters,
                from: load::shown(file),
            });
        }
        Ok(all)
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
        if !from_flags {
            clusters.extend(
                (0..)
                    .zip(&self.config.sites)
                    .map(|(place, site)| self.site(place, site)),
            );
        }
        clusters
    }

    fn site(&self, place: usize, site: &Site) -> Cluster {
        Cluster {
            origin: match &site.facts {
                Some(facts) => Origin::File(self.directory.join(facts)),
                None => Origin::Site(Box::new(site::facts(site, &self.name, &format!("sites[{place}]")))),
            },
            name: Some(site.name.clone()),
        }
    }

    /// How probes are sent, and by whom, where these are the clusters.
    fn probing(&self, args: &cli::Sending, clusters: &[Cluster]) -> Probing {
        let pace = &self.config.pace;
        let number = |flag: Option<NonZeroU32>, file: Option<NonZeroU32>, default| {
            flag.or(file).map_or(default, NonZeroU32::get)
        };
        let usual = Pace::default();
        let is_there = |site: &&Site| clusters.iter().any(|cluster| cluster.name.as_ref() == Some(&site.name));
        let sites = self.config.sites.iter().filter(is_there);
        let entries = self.config.clusters.iter();
        Probing {
            pace: Pace {
                rate: number(args.rate, pace.rate, usual.rate),
                target_rate: number(args.target_rate, pace.target_rate, usual.target_rate),
                timeout_millis: args
                    .probe_timeout
                    .or(pace.timeout)
                    .map_or(usual.timeout_millis, |timeout| timeout.millis),
                samples: number(args.samples, pace.samples, usual.samples),
            },
            seed: args.seed.or(pace.seed),
            members: sites.flat_map(|site| site::members(site, &self.directory)).collect(),
            agents: entries
                .map(|entry| (entry.name.clone(), entry.agents.clone()))
                .collect(),
            ..Probing::default()
        }
    }

    /// Whether there is one.
    fn is_given(&self) -> bool {
        !self.name.is_empty()
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
