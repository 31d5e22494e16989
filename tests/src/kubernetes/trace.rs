//! What can be seen on a node from outside of Kubernetes: what pods leave behind would show here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{RunningKubernetes, cgroup};

/// What is on a node: two that are equal, from before and after something, say that nothing was left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// Programs that run in pods' control groups, and their arguments.
    pub processes: BTreeSet<String>,
    /// Places where something is mounted.
    pub mounts: BTreeSet<String>,
    /// Protocol and local address of every socket that listens or takes datagrams or packets.
    pub sockets: BTreeSet<String>,
    /// Links, but for the bridge that the network plugin makes for the first pod of a node and keeps.
    pub links: BTreeSet<String>,
}

/// The bridge of the lab's network plugin.
const BRIDGE: &str = "cni0";

impl RunningKubernetes {
    /// What is on a node.
    ///
    /// # Errors
    /// When there is no such node, or no kubelet on it.
    pub fn trace(&self, node: &str) -> anyhow::Result<Trace> {
        let kubelet = self.kubelet(node)?;
        let mut trace = Trace::default();
        for group in cgroup::folders(&format!("{}/{node}", self.folder.name))? {
            for process in fs::read_to_string(group.join("cgroup.procs"))
                .unwrap_or_default()
                .lines()
            {
                // One that ended meanwhile is nowhere.
                let words = fs::read(Path::new("/proc").join(process).join("cmdline")).unwrap_or_default();
                let words = String::from_utf8_lossy(&words)
                    .trim_end_matches('\0')
                    .replace('\0', " ");
                trace.processes.extend((!words.is_empty()).then_some(words));
            }
        }
        let mounts = fs::read_to_string(kubelet.join("mountinfo"))?;
        trace.mounts = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
            .collect();
        for protocol in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet"] {
            let sockets = fs::read_to_string(kubelet.join("net").join(protocol)).unwrap_or_default();
            for line in sockets.lines().skip(1) {
                let columns: Vec<&str> = line.split_whitespace().collect();
                // Connections come and go; state 0A is a listener.
                let listens = !protocol.starts_with("tcp") || columns.get(3) == Some(&"0A");
                let local = if protocol == "packet" {
                    columns.get(3)
                } else {
                    columns.get(1)
                };
                if let (true, Some(local)) = (listens, local) {
                    trace.sockets.insert(format!("{protocol} {local}"));
                }
            }
        }
        let links = fs::read_to_string(kubelet.join("net/dev"))?;
        trace.links = links
            .lines()
            .skip(2)
            .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
            .filter(|link| link != BRIDGE)
            .collect();
        Ok(trace)
    }

    fn kubelet(&self, node: &str) -> anyhow::Result<PathBuf> {
        let processes = self.lab().processes(node)?;
        let places = processes.iter().map(|id| Path::new("/proc").join(id.to_string()));
        let mut kubelets =
            places.filter(|place| fs::read_to_string(place.join("comm")).is_ok_and(|name| name == "kubelet\n"));
        kubelets.next().with_context(|| format!("no kubelet runs on {node}"))
    }
}
