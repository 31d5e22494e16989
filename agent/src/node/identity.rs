//! Who and where the agent is: host name, kernel, capabilities, and whose network namespace it sees.

use prejoin_checks::facts::kernel::{Link, NetworkView};
use prejoin_checks::facts::provenance::{Fact, Reason, Source, Unknown};

use crate::node::tree::Tree;

#[derive(Debug)]
pub(super) struct Identity {
    pub(super) host_name: Fact<String>,
    pub(super) kernel_release: Fact<String>,
    pub(super) capabilities: Fact<Vec<String>>,
}

pub(super) fn read(tree: &Tree) -> Identity {
    let line = |path: &str| super::fact(path, "", tree.text(path).map(|text| text.trim_end().to_owned()));
    let status = tree.text("/proc/self/status").and_then(|status| {
        capabilities(&status).ok_or_else(|| {
            Unknown::new(
                Reason::Unparsable,
                "/proc/self/status has no CapEff in hexadecimal digits",
            )
        })
    });
    Identity {
        host_name: line("/proc/sys/kernel/hostname"),
        kernel_release: line("/proc/sys/kernel/osrelease"),
        capabilities: super::fact("/proc/self/status", "CapEff", status),
    }
}

/// By bit, capabilities(7).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

fn capabilities(status: &str) -> Option<Vec<String>> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let effective = u64::from_str_radix(effective.trim(), 16).ok()?;
    let name = |bit: usize| {
        CAPABILITIES
            .get(bit)
            .map_or_else(|| format!("CAP_{bit}"), |name| format!("CAP_{name}"))
    };
    Some((0..64).filter(|bit| effective >> bit & 1 == 1).map(name).collect())
}

/// A setting of the kernel as a whole, which only its first network namespace shows.
const ONLY_IN_THE_FIRST: &str = "/proc/sys/net/core/netdev_max_backlog";
/// How the kubelet begins the hosts file that it writes for a container.
const HOSTS_OF_POD: &str = "# Kubernetes-managed hosts file.";
const HOSTS_OF_HOST_NETWORK: &str = "# Kubernetes-managed hosts file (host network).";
/// Links that network plugins and kube-proxy make on a node, and never in a pod.
const LINKS_OF_NODES: [&str; 11] = [
    "antrea-gw0",
    "cilium_host",
    "cilium_vxlan",
    "cni0",
    "flannel.1",
    "kube-bridge",
    "kube-ipvs0",
    "ovn-k8s-mp0",
    "vx-submariner",
    "vxlan.calico",
    "weave",
];

/// Whose network namespace this is. A node may itself be a container, so that not being in the machine's first namespace says little.
pub(super) fn network(tree: &Tree, links: &[Link], declared: Option<NetworkView>) -> Fact<NetworkView> {
    if tree.path(ONLY_IN_THE_FIRST).exists() {
        return Fact::known(NetworkView::Host, Source::read(ONLY_IN_THE_FIRST, ""));
    }
    // The hosts file is of the namespace in which the container began, and this may be another one.
    let own = tree.link("/proc/self/ns/net").ok();
    let moved = own.is_some() && tree.link("/proc/1/ns/net").is_ok_and(|first| Some(first) != own);
    let hosts = if moved {
        String::new()
    } else {
        tree.text("/etc/hosts").unwrap_or_default()
    };
    match hosts.lines().next() {
        Some(HOSTS_OF_HOST_NETWORK) => return Fact::known(NetworkView::Host, Source::read("/etc/hosts", "")),
        Some(HOSTS_OF_POD) => return Fact::known(NetworkView::Pod, Source::read("/etc/hosts", "")),
        _ => {}
    }
    if let Some(link) = links.iter().find(|link| LINKS_OF_NODES.contains(&link.name.as_str())) {
        return Fact::known(NetworkView::Host, Source::estimate("link", link.name.clone()));
    }
    if let Some(declared) = declared {
        return Fact::known(declared, Source::declared("network"));
    }
    Fact::unknown(
        Reason::NotFound,
        "not the machine's first network namespace; nothing tells whether it is a pod's or that of a node that is a container",
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;

    fn view(files: &[(&str, &str)], links: &[&str]) -> Fact<NetworkView> {
        view_as(files, links, None)
    }

    fn view_as(files: &[(&str, &str)], links: &[&str], declared: Option<NetworkView>) -> Fact<NetworkView> {
        let root = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("made");
            fs::write(path, text).expect("written");
        }
        let links: Vec<Link> = links
            .iter()
            .map(|name| Link {
                name: (*name).to_owned(),
                ..Link::default()
            })
            .collect();
        let tree = Tree::new(root.path(), Instant::now() + Duration::from_secs(60));
        network(&tree, &links, declared)
    }

    #[test]
    fn effective_capabilities_by_name() {
        let status = "Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000003000\nCapBnd:\t0\n";
        assert_eq!(
            capabilities(status),
            Some(vec!["CAP_NET_ADMIN".to_owned(), "CAP_NET_RAW".to_owned()])
        );
        assert_eq!(
            capabilities("CapEff:\t8000000000000000"),
            Some(vec!["CAP_63".to_owned()])
        );
        assert_eq!(capabilities("CapEff:\t"), None);
        assert_eq!(capabilities(""), None);
    }

    #[test]
    fn the_first_namespace_is_the_nodes() {
        assert_eq!(
            view(&[("proc/sys/net/core/netdev_max_backlog", "1000\n")], &[]).ok(),
            Some(&NetworkView::Host)
        );
    }

    #[test]
    fn the_kubelet_writes_whose_network_a_container_has() {
        assert_eq!(
            view(
                &[("etc/hosts", "# Kubernetes-managed hosts file.\n127.0.0.1 localhost\n")],
                &["eth0"]
            )
            .ok(),
            Some(&NetworkView::Pod)
        );
        assert_eq!(
            view(
                &[("etc/hosts", "# Kubernetes-managed hosts file (host network).\n")],
                &["eth0"]
            )
            .ok(),
            Some(&NetworkView::Host)
        );
    }

    #[test]
    fn a_node_that_is_a_container_shows_by_the_links_of_its_plugin() {
        assert_eq!(
            view(&[("etc/hosts", "127.0.0.1 localhost\n")], &["eth0", "cilium_host"]).ok(),
            Some(&NetworkView::Host)
        );
    }

    #[test]
    fn what_the_user_says_counts_where_the_kernel_does_not_tell_and_only_there() {
        let host = Some(NetworkView::Host);
        assert_eq!(view_as(&[], &["lo", "eth0"], host).ok(), host.as_ref());
        let pod = [("etc/hosts", "# Kubernetes-managed hosts file.\n")];
        assert_eq!(view_as(&pod, &["lo", "eth0"], host).ok(), Some(&NetworkView::Pod));
    }

    #[test]
    fn a_namespace_without_marks_is_not_guessed() {
        assert_eq!(
            view(&[("etc/hosts", "127.0.0.1 localhost\n")], &["lo", "eth0"])
                .why()
                .map(|why| why.reason),
            Some(Reason::NotFound)
        );
    }
}
