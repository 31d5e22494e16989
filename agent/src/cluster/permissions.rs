//! The one table of what is read and why.
//!
//! Requests can be made for these resources only, and `manifests/rbac` is made from the same table.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What is done with a resource: nothing here writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Reads one object by name.
    Get,
    /// Reads all objects.
    List,
}

impl Verb {
    /// As RBAC writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
        }
    }
}

/// One resource type that is read.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Versions that are understood, the most wanted first.
    pub versions: &'static [&'static str],
    /// Plural name, as in paths.
    pub plural: &'static str,
    /// What is done with it.
    pub verbs: &'static [Verb],
    /// What it is read for, in one line.
    pub why: &'static str,
    /// The facts that come from it, as [`inventory`](prejoin_checks::facts::ClusterFacts::inventory) names them.
    pub facts: &'static [&'static str],
}

impl Resource {
    /// `nodes`, `ciliumnodes.cilium.io`.
    pub fn full_name(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Whether every supported server serves it, so that discovery need not be asked.
    pub(crate) fn is_always_served(&self) -> bool {
        const ALWAYS: [&str; 3] = ["", "apps", "apiextensions.k8s.io"];
        ALWAYS.contains(&self.group)
    }
}

macro_rules! resources {
    ($($name:ident: $group:literal $versions:expr, $plural:literal, $verbs:expr, $why:literal => $facts:expr;)*) => {
        $(
            #[doc = $why]
            pub static $name: Resource = Resource {
                group: $group,
                versions: &$versions,
                plural: $plural,
                verbs: &$verbs,
                why: $why,
                facts: &$facts,
            };
        )*
        /// Every resource that is read.
        pub static RESOURCES: &[&Resource] = &[$(&$name),*];
    };
}

use Verb::{Get, List};

resources! {
    NAMESPACES: "" ["v1"], "namespaces", [Get, List],
        "The cluster's own identity (UID of kube-system) and what namespaces share with the mesh."
        => ["cluster identity", "namespaces"];
    NODES: "" ["v1"], "nodes", [List],
        "Addresses, PodCIDRs, zones, kernels and the labels and annotations of networking products."
        => ["nodes"];
    SERVICES: "" ["v1"], "services", [List],
        "Addresses, ports and annotations of Services, the mesh's own among them."
        => ["services"];
    PODS: "" ["v1"], "pods", [List],
        "Addresses of running pods, reduced to blocks; flags of the control plane's pods; ports taken on nodes."
        => [
            "pods",
            "kube-apiserver flags",
            "kube-controller-manager flags",
            "Cilium agent pods",
            "Submariner pods",
        ];
    DAEMON_SETS: "apps" ["v1"], "daemonsets", [List],
        "Which network plugins run, and their versions."
        => [
            "workloads",
            "network plugins",
            "network plugin settings",
            "Flannel configuration",
            "OVN-Kubernetes configuration",
            "kube-proxy",
            "Cilium",
            "Submariner versions",
            "cluster DNS",
        ];
    DEPLOYMENTS: "apps" ["v1"], "deployments", [List],
        "Operators, control planes of meshes and cluster DNS."
        => ["workloads", "Cilium versions", "mesh host aliases", "Submariner versions", "cluster DNS"];
    CONFIG_MAPS: "" ["v1"], "configmaps", [List],
        "Configuration of network plugins, meshes, kubeadm, kube-proxy and DNS, in their namespaces only."
        => [
            "kubeadm configuration",
            "kube-proxy",
            "Cilium configuration",
            "cluster DNS",
            "Flannel configuration",
            "OVN-Kubernetes configuration",
            "Globalnet ranges",
            "clusterset IP ranges",
        ];
    SERVICE_CIDRS: "networking.k8s.io" ["v1", "v1beta1"], "servicecidrs", [List],
        "The ranges Services get their addresses from."
        => ["ServiceCIDRs"];
    NETWORK_POLICIES: "networking.k8s.io" ["v1"], "networkpolicies", [List],
        "Whether policies keep cluster DNS from the DNS of a mesh, in the namespaces of both only."
        => ["policies of cluster DNS"];
    CILIUM_NODES: "cilium.io" ["v2"], "ciliumnodes", [List],
        "The pod ranges, addresses and public keys of Cilium's nodes."
        => ["CiliumNodes"];
    CILIUM_NODE_CONFIGS: "cilium.io" ["v2", "v2alpha1"], "ciliumnodeconfigs", [List],
        "Settings of Cilium that some nodes override."
        => ["CiliumNodeConfigs"];
    CILIUM_POD_IP_POOLS: "cilium.io" ["v2", "v2alpha1"], "ciliumpodippools", [List],
        "Pod ranges of Cilium's multi-pool IPAM."
        => ["CiliumPodIPPools"];
    CILIUM_IDENTITIES: "cilium.io" ["v2"], "ciliumidentities", [List],
        "Whether identities lie in the range of the cluster's id."
        => ["CiliumIdentities"];
    CILIUM_ENDPOINTS: "cilium.io" ["v2"], "ciliumendpoints", [List],
        "Whether pods really have addresses of the ranges found."
        => ["CiliumEndpoints"];
    CILIUM_ENDPOINT_SLICES: "cilium.io" ["v2alpha1"], "ciliumendpointslices", [List],
        "The same where endpoints are kept in slices."
        => ["CiliumEndpoints"];
    CILIUM_POLICIES: "cilium.io" ["v2"], "ciliumnetworkpolicies", [List],
        "Whether a policy asks for mutual authentication, where that is on."
        => ["Cilium policies"];
    CILIUM_CLUSTERWIDE_POLICIES: "cilium.io" ["v2"], "ciliumclusterwidenetworkpolicies", [List],
        "The same for policies of the whole cluster."
        => ["Cilium policies"];
    CILIUM_LOAD_BALANCER_POOLS: "cilium.io" ["v2", "v2alpha1"], "ciliumloadbalancerippools", [List],
        "Load-balancer addresses that Cilium hands out."
        => ["load-balancer pools"];
    METALLB_POOLS: "metallb.io" ["v1beta1"], "ipaddresspools", [List],
        "Load-balancer addresses that MetalLB hands out."
        => ["load-balancer pools"];
    CALICO_POOLS: "crd.projectcalico.org" ["v1"], "ippools", [List],
        "Pod ranges that Calico hands out, and how it carries and masquerades them."
        => ["Calico pools"];
    CALICO_POOLS_V3: "projectcalico.org" ["v3"], "ippools", [List],
        "The same where Calico keeps them under the name of its API."
        => ["Calico pools"];
    CLUSTER_ROLES: "rbac.authorization.k8s.io" ["v1"], "clusterroles", [Get],
        "Whether CoreDNS may read ServiceImports, where its configuration makes it need them."
        => ["cluster DNS"];
    CUSTOM_RESOURCE_DEFINITIONS: "apiextensions.k8s.io" ["v1"], "customresourcedefinitions", [Get],
        "Who brought the Multi-Cluster Services API, and in which versions its objects are stored."
        => ["MCS CRDs"];
    SERVICE_EXPORTS: "multicluster.x-k8s.io" ["v1alpha1", "v1beta1"], "serviceexports", [List],
        "Services that are offered to other clusters, and what came of it."
        => ["ServiceExports"];
    SERVICE_IMPORTS: "multicluster.x-k8s.io" ["v1alpha1", "v1beta1"], "serviceimports", [List],
        "Services that other clusters offer."
        => ["ServiceImports"];
    ENDPOINT_SLICES: "discovery.k8s.io" ["v1"], "endpointslices", [List],
        "Endpoints in other clusters, told by the label of their source cluster."
        => ["imported EndpointSlices"];
    SUBMARINERS: "submariner.io" ["v1alpha1"], "submariners", [List],
        "How Submariner was installed and what it found; the IPsec key and the broker's token beside it are skipped."
        => ["Submariner", "Submariner pre-shared key"];
    SERVICE_DISCOVERIES: "submariner.io" ["v1alpha1"], "servicediscoveries", [List],
        "Which domains Submariner answers for; the broker's token beside them is skipped."
        => ["ServiceDiscovery"];
    SUBMARINER_BROKERS: "submariner.io" ["v1alpha1"], "brokers", [List],
        "What the broker gives to those who join."
        => ["Broker", "Globalnet ranges", "clusterset IP ranges"];
    SUBMARINER_CLUSTERS: "submariner.io" ["v1"], "clusters", [List],
        "Who has joined, with which ranges."
        => ["Submariner Clusters", "Globalnet ranges", "clusterset IP ranges"];
    SUBMARINER_ENDPOINTS: "submariner.io" ["v1"], "endpoints", [List],
        "Where gateways can be reached and what lies behind them."
        => ["Submariner Endpoints"];
    SUBMARINER_GATEWAYS: "submariner.io" ["v1"], "gateways", [List],
        "Which gateways are active, and their connections."
        => ["Submariner Gateways"];
    SUBMARINER_ROUTE_AGENTS: "submariner.io" ["v1"], "routeagents", [List],
        "Which nodes reach the other clusters."
        => ["Submariner RouteAgents"];
    CLUSTER_GLOBAL_EGRESS_IPS: "submariner.io" ["v1"], "clusterglobalegressips", [List],
        "Global addresses of the cluster's own traffic."
        => ["ClusterGlobalEgressIPs"];
    GLOBAL_INGRESS_IPS: "submariner.io" ["v1"], "globalingressips", [List],
        "Global addresses of exported Services."
        => ["GlobalIngressIPs"];
    LEASES: "coordination.k8s.io" ["v1"], "leases", [Get],
        "Which gateway leads."
        => ["gateway lease"];
    OPENSHIFT_DNS: "operator.openshift.io" ["v1"], "dnses", [Get],
        "Zones that OpenShift's DNS forwards elsewhere."
        => ["cluster DNS"];
    OPENSHIFT_NETWORKS: "config.openshift.io" ["v1"], "networks", [Get],
        "OpenShift's own statement of pod and Service ranges."
        => ["OpenShift network"];
}

/// Secrets, by name and only with `--read-secrets`: so they are no part of [`RESOURCES`].
pub static SECRETS: Resource = Resource {
    group: "",
    versions: &["v1"],
    plural: "secrets",
    verbs: &[Get],
    why: "Fingerprints of certificates and ids of keys.",
    facts: &["mesh Secrets", "Submariner pre-shared key"],
};

/// The Secret of Submariner's pre-shared key, as `subctl` calls it; the `Submariner` object may name another.
pub const PSK_SECRET_NAME: &str = "submariner-ipsec-psk";

/// The names of Cilium's Secrets that are read with `--read-secrets`, and only then.
pub const SECRET_NAMES: &[&str] = &[
    "cilium-ca",
    "cilium-clustermesh",
    "cilium-ipsec-keys",
    "cilium-kvstoremesh",
    "cilium-root-ca.crt",
    "clustermesh-apiserver-admin-cert",
    "clustermesh-apiserver-local-cert",
    "clustermesh-apiserver-remote-cert",
    "clustermesh-apiserver-server-cert",
];

/// The resources whose facts are lost when `resource` may not be read: used to say what a refusal costs.
pub fn facts_of(group: &str, plural: &str) -> &'static [&'static str] {
    RESOURCES
        .iter()
        .copied()
        .chain([&SECRETS])
        .find(|resource| resource.group == group && resource.plural == plural)
        .map_or(&[], |resource| resource.facts)
}

/// The ClusterRole that reading needs, Secrets excepted.
pub fn cluster_role() -> String {
    let mut rules: BTreeMap<(&str, Vec<&str>), Vec<&Resource>> = BTreeMap::new();
    for resource in RESOURCES {
        let mut verbs: Vec<&str> = resource.verbs.iter().map(|verb| verb.as_str()).collect();
        verbs.sort_unstable();
        rules.entry((resource.group, verbs)).or_default().push(resource);
    }
    let mut yaml = String::from(
        "# Everything that prejoin reads, and nothing that writes. Secrets are not in it: see read-secrets.yaml.\n\
         # Bind it with a ClusterRoleBinding to whoever runs prejoin, or to its agent's service account.\n\
         # Made from the table in agent/src/cluster/permissions.rs, and compared with it by a test.\n\
         apiVersion: rbac.authorization.k8s.io/v1\n\
         kind: ClusterRole\n\
         metadata:\n  name: prejoin-reader\n  labels:\n    app.kubernetes.io/part-of: prejoin\n\
         rules:\n\
         \x20 # Which APIs are served.\n\
         \x20 - nonResourceURLs: [\"/version\", \"/apis\", \"/apis/*\"]\n    verbs: [\"get\"]\n",
    );
    for ((group, verbs), mut resources) in rules {
        resources.sort_by_key(|resource| resource.plural);
        for resource in &resources {
            let _ = writeln!(yaml, "  # {}: {}", resource.plural, resource.why);
        }
        let names: Vec<String> = resources
            .iter()
            .map(|resource| format!("\"{}\"", resource.plural))
            .collect();
        let verbs: Vec<String> = verbs.iter().map(|verb| format!("\"{verb}\"")).collect();
        let _ = write!(
            yaml,
            "  - apiGroups: [\"{group}\"]\n    resources: [{}]\n    verbs: [{}]\n",
            names.join(", "),
            verbs.join(", ")
        );
    }
    yaml
}

/// The ClusterRole that `--read-secrets` needs besides.
pub fn secrets_role() -> String {
    let mut yaml = String::from(
        "# Optional: what `prejoin --read-secrets` reads besides, by name, to compare certificates and IPsec key ids.\n\
         # RBAC cannot grant a Secret without its private keys: prejoin reduces them to fingerprints at once and keeps\n\
         # nothing else. Bind it with a RoleBinding in the namespaces of Cilium and\n\
         # of Submariner's operator rather than cluster-wide.\n\
         # Made from the table in agent/src/cluster/permissions.rs, and compared with it by a test.\n\
         apiVersion: rbac.authorization.k8s.io/v1\n\
         kind: ClusterRole\n\
         metadata:\n  name: prejoin-secrets-reader\n  labels:\n    app.kubernetes.io/part-of: prejoin\n\
         rules:\n\
         \x20 - apiGroups: [\"\"]\n    resources: [\"secrets\"]\n    verbs: [\"get\"]\n    resourceNames:\n",
    );
    for name in SECRET_NAMES.iter().chain([&PSK_SECRET_NAME]) {
        let _ = writeln!(yaml, "      - {name}");
    }
    yaml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_current(file: &str, made: &str) {
        let path = format!("{}/../manifests/rbac/{file}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, made).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            made,
            "{file} is stale: UPDATE=1 cargo test -p prejoin-agent rbac"
        );
    }

    #[test]
    fn rbac_manifests_are_what_the_table_says() {
        assert_current("clusterrole.yaml", &cluster_role());
        assert_current("read-secrets.yaml", &secrets_role());
    }

    #[test]
    fn the_cluster_role_reads_no_secret_and_writes_nothing() {
        let role = cluster_role();
        assert!(!role.contains("\"secrets\""));
        for verb in ["create", "update", "patch", "delete", "watch", "\"*\""] {
            assert!(!role.contains(verb), "{verb}");
        }
    }

    #[test]
    fn a_resource_is_listed_once() {
        let mut names: Vec<String> = RESOURCES.iter().map(|resource| resource.full_name()).collect();
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
