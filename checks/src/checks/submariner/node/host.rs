//! What else of a host matters: files, services, and the errors that its cards make.

use super::gateways;
use crate::check::{Check, Judged, declare_check};
use crate::checks::per_node::{OnNode, Seen, asked, judge, nodes};
use crate::facts::kernel::FileKind;
use crate::facts::provenance::Unknown;
use crate::fleet::{Audit, Cluster};
use crate::report::Severity;

pub(in crate::checks::submariner) static CHECKS: &[&Check] = &[&XTABLES_LOCK, &NETWORK_MANAGER, &CHECKSUM_ERRORS];

fn file(on: &OnNode<'_>, path: &str) -> Result<FileKind, Unknown> {
    let kind = on.kernel.files.get()?.get(path).copied();
    kind.ok_or_else(|| Unknown::not_found(format!("the agent cannot see {path} of its node")))
}

declare_check! {
    /// ## What it checks
    /// `/run/xtables.lock` is a file on every node.
    ///
    /// ## Why it matters
    /// Route agent and Globalnet mount it from the host without saying that it is a file. Where nothing made it before (no kube-proxy, nobody
    /// who uses iptables) the container runtime makes a directory of that name, and legacy iptables no longer works on that host.
    ///
    /// ## How it is determined
    /// What stands at the path on every node; where it is absent, the first such mount will make a directory.
    ///
    /// ## How to fix
    /// `touch /run/xtables.lock` at boot (a line `f /run/xtables.lock 0600` in `/etc/tmpfiles.d`); remove the directory.
    ///
    /// ## References
    /// `submariner-operator`, `controllers/submariner/route_agent_resources.go`.
    pub static XTABLES_LOCK = {
        code: "SM477",
        slug: "xtables-lock",
        title: "The lock file of iptables is no file",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "legacy iptables stops working on these nodes",
        rules: ["submariner SYS-13"],
        run: Cluster(xtables_lock),
    };
}

fn xtables_lock(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const PATH: &str = "/run/xtables.lock";
    asked(audit, cluster, || {
        let advice = (
            "/run/xtables.lock is a file",
            "make the file at boot (f /run/xtables.lock 0600 in /etc/tmpfiles.d), and remove the directory where there is one",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            Ok(match file(on, PATH)? {
                // In a container the file of the host is mounted by itself.
                FileKind::File | FileKind::Mount | FileKind::Other => Seen::fine("a file"),
                FileKind::Directory => Seen::fault("a directory"),
                FileKind::Absent => Seen::fault("absent: the first mount makes a directory of it"),
            }
            .evidence(on.evidence(&on.kernel.files, PATH, &kind_name(file(on, PATH)?))))
        })
    })
}

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Absent => "absent",
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Mount => "mount",
        FileKind::Other => "other",
    }
}

declare_check! {
    /// ## What it checks
    /// Records nodes that run NetworkManager.
    ///
    /// ## Why it matters
    /// It may take Submariner's devices under its wing, and with them their addresses and settings.
    ///
    /// ## How it is determined
    /// Whether `/run/NetworkManager` is there.
    ///
    /// ## How to fix
    /// Mark the devices unmanaged: `unmanaged-devices=interface-name:vx-submariner;interface-name:vxlan-tunnel;interface-name:submariner` in
    /// `/etc/NetworkManager/conf.d`.
    ///
    /// ## References
    /// NetworkManager.conf, `unmanaged-devices`.
    pub static NETWORK_MANAGER = {
        code: "SM476",
        slug: "network-manager",
        title: "NetworkManager runs on nodes",
        severity: Info,
        profiles: [Submariner],
        since: "0.1.0",
        why: "it may change Submariner's devices",
        rules: ["submariner SYS-11"],
        run: Cluster(network_manager),
    };
}

fn network_manager(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const PATH: &str = "/run/NetworkManager";
    asked(audit, cluster, || {
        let advice = (
            "Submariner's devices unmanaged by NetworkManager",
            "mark vx-submariner, vxlan-tunnel and submariner unmanaged in /etc/NetworkManager/conf.d",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let kind = file(on, PATH)?;
            let seen = if kind == FileKind::Absent {
                Seen::fine("no NetworkManager")
            } else {
                Seen::fault_as(Severity::Info, "NetworkManager runs")
            };
            Ok(seen.evidence(on.evidence(&on.kernel.files, PATH, &kind_name(kind))))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// Gateways do not drop packets for wrong checksums: fewer than one datagram or segment in a thousand.
    ///
    /// ## Why it matters
    /// Some cards and hypervisors fail to compute checksums of packets inside VXLAN. Those packets arrive, and are thrown away: it looks like a loss of large ones.
    ///
    /// ## How it is determined
    /// `InCsumErrors` of UDP and TCP against what came in, since the network namespace began. Offload settings of cards are not read; fewer errors than 100 say nothing.
    ///
    /// ## How to fix
    /// `ethtool -K <link> tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off`, or tx and rx checksums off, on the sending nodes.
    ///
    /// ## References
    /// submariner issue 2875; VMware and Intel notes on VXLAN offload.
    pub static CHECKSUM_ERRORS = {
        code: "SM466",
        slug: "checksum-errors",
        title: "Packets with wrong checksums arrive",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "packets are lost that a card should have made right",
        rules: ["submariner MTU-11"],
        run: Cluster(checksum_errors),
    };
}

fn checksum_errors(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    /// Errors, arrivals.
    const COUNTERS: [(&str, &str); 2] = [
        ("Udp.InCsumErrors", "Udp.InDatagrams"),
        ("Tcp.InCsumErrors", "Tcp.InSegs"),
    ];
    const FEW: u64 = 100;
    asked(audit, cluster, || {
        let advice = (
            "hardly any packets with wrong checksums",
            "turn checksum offload of tunnels off on the sending nodes: ethtool -K <link> tx-udp_tnl-csum-segmentation off, or tx off rx off",
        );
        judge(audit, cluster, gateways(cluster)?, advice, |on| {
            let counters = on.kernel.counters.get()?;
            let read = |name: &str| {
                let count = counters.get(name).copied();
                count.ok_or_else(|| Unknown::not_found(format!("the kernel of {} does not count {name}", on.node.name)))
            };
            let mut faults = Vec::new();
            let mut evidence = Vec::new();
            for (errors, arrivals) in COUNTERS {
                let (wrong, all) = (read(errors)?, read(arrivals)?);
                evidence.push(on.evidence(&on.kernel.counters, errors, &wrong));
                if wrong >= FEW && wrong.saturating_mul(1000) > all {
                    faults.push(format!("{errors} above one in a thousand"));
                }
            }
            Ok(Seen::faults(faults, "hardly any").evidence_all(evidence))
        })
    })
}

#[cfg(test)]
mod tests;
