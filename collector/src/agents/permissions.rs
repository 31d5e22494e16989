//! What a user has to be allowed for each thing that can be asked for: one table, rendered as RBAC, and asked of a cluster before anything
//! starts.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use clap::ValueEnum;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use prejoin_agent::cluster::permissions::RESOURCES;

use super::trouble::Trouble;

/// So many questions are under way at once.
const AT_ONCE: usize = 16;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Access {
    /// Read a cluster: an audit without agents.
    Read,
    /// Use agents that are installed.
    Exec,
    /// Install agents that stay, look after them, remove them.
    Install,
    /// Start agents for one audit and remove them.
    Ephemeral,
    /// The same for clusters that are joined already, with a Service to reach through the mesh: what that takes besides.
    Joined,
    /// Install agents that dial out to a collector: what that takes besides.
    Collector,
}

/// Some verbs on some resources of one API group.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    /// Whether a Role in the agents' namespace does.
    namespaced: bool,
    why: &'static str,
}

const fn rule(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    namespaced: bool,
    why: &'static str,
) -> Rule {
    Rule {
        group,
        resources,
        verbs,
        namespaced,
        why,
    }
}

/// Whoever applies, looks at, waits for and removes objects.
const KEEP: &[&str] = &["create", "delete", "get", "list", "patch", "watch"];
const RBAC: &str = "rbac.authorization.k8s.io";

// Rules that several accesses share.
const NODES: Rule = rule(
    "",
    &["nodes"],
    &["list"],
    false,
    "Tells which nodes lack an agent, and why.",
);
const EVENTS: Rule = rule(
    "",
    &["events"],
    &["list", "watch"],
    true,
    "Tells what keeps an agent from its node.",
);
const ACCOUNTS: Rule = rule("", &["serviceaccounts"], KEEP, true, "The agents' accounts.");
const POLICIES: Rule = rule(
    "networking.k8s.io",
    &["networkpolicies"],
    KEEP,
    true,
    "Lets agents be probed and probe.",
);
/// Which of the two verbs a server asks for depends on its version.
const SESSIONS: Rule = rule("", &["pods/exec"], &["create", "get"], true, "Starts sessions in them.");

const EXEC: &[Rule] = &[rule("", &["pods"], &["list"], true, "Finds the agents."), SESSIONS];

const INSTALL: &[Rule] = &[
    rule(
        "",
        &["namespaces"],
        KEEP,
        false,
        "The agents' namespace, where it is not there yet.",
    ),
    NODES,
    rule(
        "scheduling.k8s.io",
        &["priorityclasses"],
        KEEP,
        false,
        "Agents give way to everything else.",
    ),
    rule(
        RBAC,
        &["clusterroles", "clusterrolebindings"],
        KEEP,
        false,
        "The cluster agent reads the cluster. Nobody may give what he has not: whoever installs it needs the rules of clusterrole.yaml as well.",
    ),
    ACCOUNTS,
    rule("apps", &["daemonsets", "deployments"], KEEP, true, "The agents."),
    POLICIES,
    rule(
        "",
        &["pods"],
        &["list", "watch"],
        true,
        "Waits for the agents, and for their end.",
    ),
    EVENTS,
    rule(
        "batch",
        &["jobs"],
        &["list"],
        true,
        "Sees agents of audits that are under way.",
    ),
    rule(RBAC, &["roles", "rolebindings"], &["list"], true, "The same."),
];

const EPHEMERAL: &[Rule] = &[
    rule("", &["namespaces"], KEEP, false, "A namespace for each audit."),
    NODES,
    ACCOUNTS,
    rule("apps", &["daemonsets"], KEEP, true, "The agents on nodes."),
    rule(
        "batch",
        &["jobs"],
        KEEP,
        true,
        "The agent in the pod network, which everything else belongs to.",
    ),
    POLICIES,
    rule(
        RBAC,
        &["roles", "rolebindings"],
        KEEP,
        true,
        "Lets the namespace be removed from inside at the deadline.",
    ),
    rule(
        "",
        &["pods"],
        &["list", "watch"],
        true,
        "Finds the agents, waits for them and for their end.",
    ),
    EVENTS,
    SESSIONS,
];

const JOINED: &[Rule] = &[
    rule(
        "",
        &["services"],
        KEEP,
        true,
        "A Service that the other clusters reach through the mesh.",
    ),
    rule(
        "multicluster.x-k8s.io",
        &["serviceexports"],
        KEEP,
        true,
        "Its export, where clusters are joined with Submariner.",
    ),
];

const COLLECTOR: &[Rule] = &[
    rule(
        "",
        &["secrets"],
        KEEP,
        true,
        "The token for the collector, in a Secret where the agent keeps its credential then.",
    ),
    rule(
        RBAC,
        &["roles", "rolebindings"],
        KEEP,
        true,
        "Lets the cluster agent keep that credential, and reach the agents of the nodes. Nobody may give what he has not: whoever installs it needs the rules of exec.yaml as well.",
    ),
];

impl Access {
    fn rules(self) -> &'static [Rule] {
        match self {
            Self::Read => &[],
            Self::Exec => EXEC,
            Self::Install => INSTALL,
            Self::Ephemeral => EPHEMERAL,
            Self::Joined => JOINED,
            Self::Collector => COLLECTOR,
        }
    }

    /// Every single thing that has to be allowed; what is namespaced, in this namespace (everywhere without one).
    pub fn needs(self, namespace: Option<&str>) -> Vec<Need> {
        if self == Self::Read {
            let of = |resource: &'static prejoin_agent::cluster::permissions::Resource| {
                resource
                    .verbs
                    .iter()
                    .map(|verb| Need::new(resource.group, resource.plural, verb.as_str(), None))
            };
            return RESOURCES.iter().copied().flat_map(of).collect();
        }
        let of = |rule: &'static Rule| {
            let namespace = namespace.filter(|_| rule.namespaced);
            let of_resource = move |resource: &&'static str| {
                let resource = *resource;
                rule.verbs
                    .iter()
                    .map(move |verb| Need::new(rule.group, resource, verb, namespace))
            };
            rule.resources.iter().flat_map(of_resource)
        };
        self.rules().iter().flat_map(of).collect()
    }

    /// The roles that allow it, as YAML; those of reading are made elsewhere from their own table.
    pub fn roles(self) -> String {
        let (name, about) = match self {
            Self::Read => return prejoin_agent::cluster::permissions::cluster_role(),
            Self::Exec => (
                "prejoin-exec",
                "Uses agents that are installed (`prejoin audit`). Bind it with a RoleBinding in their namespace.",
            ),
            Self::Install => (
                "prejoin-install",
                "Installs agents, looks after them and removes them (`prejoin agents`). Bind it with a ClusterRoleBinding.",
            ),
            Self::Ephemeral => (
                "prejoin-ephemeral",
                "Starts agents for one audit and removes them (`prejoin audit --agents ephemeral`). Bind it with a ClusterRoleBinding.",
            ),
            Self::Joined => (
                "prejoin-joined",
                "Tries a Service through a mesh that is there already, besides what prejoin-ephemeral permits. Bind it with a ClusterRoleBinding.",
            ),
            Self::Collector => (
                "prejoin-install-collector",
                "Installs agents that dial out to a collector, besides what prejoin-install permits. Bind it with a RoleBinding in their namespace.",
            ),
        };
        let mut yaml = format!(
            "# {about}\n# Made from the table in collector/src/agents/permissions.rs, and compared with it by a test.\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {name}\n  labels:\n    \
             app.kubernetes.io/part-of: prejoin\nrules:\n"
        );
        for rule in self.rules() {
            let list = |words: &[&str]| {
                words
                    .iter()
                    .map(|word| format!("\"{word}\""))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            // Writing to a String cannot fail.
            let _ = write!(
                yaml,
                "  # {}\n  - apiGroups: [\"{}\"]\n    resources: [{}]\n    verbs: [{}]\n",
                rule.why,
                rule.group,
                list(rule.resources),
                list(rule.verbs)
            );
        }
        yaml
    }
}

/// One verb on one resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    group: &'static str,
    resource: &'static str,
    verb: &'static str,
    namespace: Option<String>,
}

impl Need {
    fn new(group: &'static str, resource: &'static str, verb: &'static str, namespace: Option<&str>) -> Self {
        Self {
            group,
            resource,
            verb,
            namespace: namespace.map(str::to_owned),
        }
    }

    fn review(&self) -> SelfSubjectAccessReview {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (self.resource, None),
        };
        SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some(self.group.to_owned()),
                    resource: Some(resource.to_owned()),
                    subresource,
                    verb: Some(self.verb.to_owned()),
                    namespace: self.namespace.clone(),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in {namespace}"),
            None => Ok(()),
        }
    }
}

/// What of this the user may not, by the cluster's own word.
pub async fn missing(
    client: &kube::Client,
    access: Access,
    namespace: Option<&str>,
) -> Result<BTreeSet<Need>, Trouble> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let asked = stream::iter(access.needs(namespace)).map(|need| {
        let reviews = &reviews;
        async move {
            let answer = reviews.create(&PostParams::default(), &need.review()).await;
            let answer = answer.map_err(|error| Trouble::of("ask what is permitted", &error))?;
            let allowed = answer.status.is_some_and(|status| status.allowed);
            Ok((!allowed).then_some(need))
        }
    });
    let missing: Vec<Option<Need>> = asked.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(missing.into_iter().flatten().collect())
}

/// Fails with what is missing, if anything is. A cluster that does not tell is no reason to fail: what it refuses it refuses later.
pub(super) async fn require(client: &kube::Client, access: Access, namespace: Option<&str>) -> Result<(), Trouble> {
    match missing(client, access, namespace).await {
        Ok(missing) if missing.is_empty() => Ok(()),
        Err(_) => Ok(()),
        Ok(missing) => {
            let listed: Vec<String> = missing.iter().map(ToString::to_string).collect();
            Err(Trouble::new(format!(
                "not permitted, so nothing was started: {}",
                listed.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rbac_manifests_are_what_the_table_says() {
        for (access, file) in [
            (Access::Exec, "exec.yaml"),
            (Access::Install, "install.yaml"),
            (Access::Ephemeral, "ephemeral.yaml"),
            (Access::Joined, "joined.yaml"),
            (Access::Collector, "install-collector.yaml"),
        ] {
            let path = format!("{}/../manifests/rbac/{file}", env!("CARGO_MANIFEST_DIR"));
            let made = access.roles();
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(&path, &made).unwrap();
            }
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                made,
                "{file} is stale: UPDATE=1 cargo test -p prejoin-collector rbac"
            );
        }
    }

    #[test]
    fn a_need_says_verb_resource_and_place() {
        let needs: Vec<String> = Access::Exec
            .needs(Some("tools"))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            needs,
            [
                "list pods in tools",
                "create pods/exec in tools",
                "get pods/exec in tools"
            ]
        );
        let install = Access::Install.needs(Some("tools"));
        assert!(
            install
                .iter()
                .any(|need| need.to_string() == "patch daemonsets.apps in tools")
        );
        assert!(install.iter().any(|need| need.to_string() == "list nodes"));
    }

    #[test]
    fn no_role_reads_a_secret_but_that_for_agents_that_keep_one() {
        for access in [
            Access::Read,
            Access::Exec,
            Access::Install,
            Access::Ephemeral,
            Access::Joined,
        ] {
            assert!(!access.roles().contains("\"secrets\""), "{access:?}");
        }
    }

    #[test]
    fn a_review_asks_for_a_subresource_as_such() {
        let need = Need::new("", "pods/exec", "create", Some("a"));
        let asked = need.review().spec.resource_attributes.unwrap();
        assert_eq!(
            (asked.resource.as_deref(), asked.subresource.as_deref()),
            (Some("pods"), Some("exec"))
        );
    }
}
