//! The clusters that all tests here take in turns: those of a lab, or those that the environment names.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prejoin_tests::kubernetes::{Kubernetes, Outcome, RunningKubernetes, agents_image};
use prejoin_tests::lab;
use serde_json::Value;

use super::cilium;

/// Contexts of clusters to run the suite on, separated by commas; they have Cilium, and the agents' image on every node.
const CONTEXTS: &str = "PREJOIN_E2E_CONTEXTS";
/// The image that agents are run from, as the nodes know it.
pub(super) const IMAGE: &str = "docker.io/prejoin/agent:e2e";
/// Short, so that a session can be silent for longer.
pub(super) const STREAMING_IDLE: Duration = Duration::from_secs(6);
/// Longer than anything takes on a machine that is busy, in seconds.
const PATIENCE: &str = "180";

/// The clusters.
pub(super) struct Suite {
    lab: Option<RunningKubernetes>,
    contexts: Vec<String>,
}

/// The clusters, for one test at a time; none where there can be none, which is said.
pub(super) fn suite() -> Option<MutexGuard<'static, Suite>> {
    static SUITE: OnceLock<Option<Mutex<Suite>>> = OnceLock::new();
    let suite = SUITE.get_or_init(|| Suite::up().map(Mutex::new)).as_ref()?;
    // What a test that failed has left shows in the next one's own comparison.
    Some(suite.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Suite {
    fn up() -> Option<Self> {
        if let Ok(contexts) = std::env::var(CONTEXTS) {
            let contexts = contexts.split(',').map(str::to_owned).collect();
            return Some(Self { lab: None, contexts });
        }
        let kubernetes = Kubernetes::new().cluster("east", 2).cluster("west", 2);
        Self::in_lab(kubernetes.streaming_idle(STREAMING_IDLE))
    }

    /// Two clusters of one node each, of IPv4 and IPv6, for one test alone.
    pub(super) fn of_both_families() -> Option<Self> {
        Self::in_lab(Kubernetes::new().cluster("east", 1).cluster("west", 1).dual_stack())
    }

    fn in_lab(kubernetes: Kubernetes) -> Option<Self> {
        let lab = kubernetes.up().unwrap()?;
        let programs = lab.programs();
        let cilium = lab.folder().join("cilium.tar");
        programs
            .pack(cilium::IMAGE, &[&programs.path("pause")], &cilium)
            .unwrap();
        for archive in [cilium, agents_image(programs, IMAGE).unwrap()] {
            lab.import(&archive).unwrap();
        }
        let suite = Self {
            contexts: lab.contexts().to_vec(),
            lab: Some(lab),
        };
        cilium::install(&suite);
        Some(suite)
    }

    /// The contexts of the clusters: at least two.
    pub(super) fn contexts(&self) -> &[String] {
        &self.contexts
    }

    /// The lab, for what only a lab can do; says it where there is none.
    pub(super) fn lab(&self) -> Option<&RunningKubernetes> {
        if self.lab.is_none() {
            eprintln!("SKIPPED: this needs the lab's own clusters, not those of {CONTEXTS}");
        }
        self.lab.as_ref()
    }

    /// A kubeconfig that leads to the clusters from this process.
    pub(super) fn local_kubeconfig(&self) -> Option<PathBuf> {
        static LEG: OnceLock<Option<PathBuf>> = OnceLock::new();
        LEG.get_or_init(|| self.lab.as_ref().map(|lab| lab.open_leg().unwrap()))
            .clone()
    }

    /// A command as a user gives it: at the lab's desk, or right here.
    pub(super) fn command(&self, program: &str) -> Command {
        match &self.lab {
            Some(lab) => lab.at_desk(program).unwrap(),
            None => Command::new(program),
        }
    }

    /// `prejoin`, given these arguments.
    pub(super) fn prejoin(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.prejoin_command(arguments)).unwrap()
    }

    pub(super) fn prejoin_command(&self, arguments: &[&str]) -> Command {
        let prejoin = lab::program("prejoin").unwrap();
        let mut command = self.command("timeout");
        command.arg(PATIENCE).arg(prejoin).args(arguments);
        command
    }

    /// `prejoin`, given these arguments and every context, in this process's own network, with further variables.
    pub(super) fn prejoin_outside(&self, arguments: &[&str], variables: &[(&str, String)]) -> Outcome {
        let mut command = Command::new("timeout");
        command.arg(PATIENCE).arg(lab::program("prejoin").unwrap());
        command.args(arguments).args(self.context_arguments());
        command.envs(variables.iter().map(|(name, value)| (*name, value)));
        Outcome::of(command).unwrap()
    }

    /// `prejoin`, given these arguments and every context.
    pub(super) fn prejoin_everywhere(&self, arguments: &[&str]) -> Outcome {
        self.prejoin(&[arguments, &self.context_arguments()].concat())
    }

    /// `--context` of every cluster.
    pub(super) fn context_arguments(&self) -> Vec<&str> {
        let contexts = self.contexts.iter();
        contexts.flat_map(|context| ["--context", context.as_str()]).collect()
    }

    /// What `kubectl` comes to.
    pub(super) fn try_kubectl(&self, context: &str, arguments: &[&str]) -> Outcome {
        let mut command = self.command("kubectl");
        command.args(["--context", context]).args(arguments);
        Outcome::of(command).unwrap()
    }

    /// What `kubectl` prints.
    pub(super) fn kubectl(&self, context: &str, arguments: &[&str]) -> String {
        let outcome = self.try_kubectl(context, arguments);
        assert_eq!(outcome.code, 0, "kubectl {arguments:?}: {outcome:#?}");
        outcome.stdout
    }

    /// Has the API server take these objects.
    pub(super) fn apply(&self, context: &str, objects: &[Value]) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("objects.json");
        let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        std::fs::write(&file, list.to_string()).unwrap();
        self.kubectl(context, &["apply", "--server-side", "-f", file.to_str().unwrap()]);
    }

    /// Waits until a new namespace of all clusters has what clusters put into each.
    pub(super) fn until_furnished(&self, namespace: &str) {
        for context in &self.contexts {
            for furniture in ["serviceaccount/default", "configmap/kube-root-ca.crt"] {
                let wait = [
                    "--namespace",
                    namespace,
                    "wait",
                    "--for=create",
                    furniture,
                    "--timeout=60s",
                ];
                self.kubectl(context, &wait);
            }
        }
    }

    /// The names of the objects of a kind.
    pub(super) fn names(&self, context: &str, kind: &str) -> Vec<String> {
        let names = self.kubectl(context, &["get", kind, "--output=jsonpath={.items[*].metadata.name}"]);
        names.split_whitespace().map(str::to_owned).collect()
    }

    /// Installs agents in every cluster until this is dropped.
    pub(super) fn agents(&self, arguments: &[&str]) -> Installed<'_> {
        let installed = Installed { suite: self };
        let install = [&["agents", "install", "--image", IMAGE], arguments].concat();
        let outcome = self.prejoin_everywhere(&install);
        assert_eq!(outcome.code, 0, "{outcome:#?}");
        installed
    }

    /// An object that is there until this is dropped.
    pub(super) fn object(&self, context: &str, object: Value) -> Applied<'_> {
        self.apply(context, std::slice::from_ref(&object));
        Applied {
            suite: self,
            context: context.to_owned(),
            object,
        }
    }
}

/// Agents in every cluster.
pub(super) struct Installed<'a> {
    suite: &'a Suite,
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        let outcome = self.suite.prejoin_everywhere(&["agents", "remove"]);
        if !std::thread::panicking() {
            assert_eq!(outcome.code, 0, "{outcome:#?}");
        }
    }
}

/// An object of a test's own.
pub(super) struct Applied<'a> {
    suite: &'a Suite,
    context: String,
    object: Value,
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, metadata) = (text(&self.object["kind"]), &self.object["metadata"]);
        let mut arguments = vec!["delete".to_owned(), kind, text(&metadata["name"])];
        if let Some(namespace) = metadata["namespace"].as_str() {
            arguments.extend(["--namespace".to_owned(), namespace.to_owned()]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let outcome = self.suite.try_kubectl(&self.context, &arguments);
        if !std::thread::panicking() {
            assert_eq!(outcome.code, 0, "{outcome:#?}");
        }
    }
}
