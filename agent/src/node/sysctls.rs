//! Kernel settings that the rules of the products need, by the names of sysctl(8).

use std::collections::BTreeMap;
use std::ffi::OsStr;

use prejoin_checks::facts::provenance::{Reason, Unknown};

use crate::node::tree::Tree;

/// Settings there is one of. A kernel without a feature, or another network namespace than the first, lacks some.
const SINGLE: &[&str] = &[
    "crypto.fips_enabled",
    "fs.file-max",
    "fs.inotify.max_queued_events",
    "fs.inotify.max_user_instances",
    "fs.inotify.max_user_watches",
    "kernel.apparmor_restrict_unprivileged_userns",
    "kernel.keys.maxkeys",
    "kernel.modules_disabled",
    "kernel.pid_max",
    "kernel.unprivileged_bpf_disabled",
    "kernel.unprivileged_userns_clone",
    "net.bridge.bridge-nf-call-arptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.bridge.bridge-nf-call-iptables",
    "net.core.bpf_jit_enable",
    "net.core.default_qdisc",
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_max",
    "net.core.xfrm_acq_expires",
    "net.ipv4.fib_multipath_hash_policy",
    "net.ipv4.icmp_echo_ignore_all",
    "net.ipv4.icmp_msgs_per_sec",
    "net.ipv4.icmp_ratelimit",
    "net.ipv4.icmp_ratemask",
    "net.ipv4.ip_forward",
    "net.ipv4.ip_forward_use_pmtu",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_no_pmtu_disc",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.neigh.default.gc_thresh1",
    "net.ipv4.neigh.default.gc_thresh2",
    "net.ipv4.neigh.default.gc_thresh3",
    "net.ipv4.nexthop_compat_mode",
    "net.ipv4.ping_group_range",
    "net.ipv4.route.min_pmtu",
    "net.ipv4.route.mtu_expires",
    "net.ipv4.tcp_base_mss",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_mtu_probe_floor",
    "net.ipv4.tcp_mtu_probing",
    "net.ipv4.tcp_probe_interval",
    "net.ipv6.bindv6only",
    "net.ipv6.fib_multipath_hash_policy",
    "net.ipv6.icmp.echo_ignore_all",
    "net.ipv6.icmp.ratelimit",
    "net.ipv6.neigh.default.gc_thresh1",
    "net.ipv6.neigh.default.gc_thresh2",
    "net.ipv6.neigh.default.gc_thresh3",
    "net.ipv6.route.max_size",
    "net.ipv6.route.mtu_expires",
    "net.netfilter.nf_conntrack_buckets",
    "net.netfilter.nf_conntrack_checksum",
    "net.netfilter.nf_conntrack_count",
    "net.netfilter.nf_conntrack_generic_timeout",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
    "net.netfilter.nf_conntrack_tcp_loose",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "net.netfilter.nf_conntrack_tcp_timeout_syn_sent",
    "net.netfilter.nf_conntrack_udp_timeout",
    "net.netfilter.nf_conntrack_udp_timeout_stream",
    "user.max_inotify_instances",
    "user.max_inotify_watches",
    "user.max_net_namespaces",
    "user.max_user_namespaces",
    "vm.max_map_count",
];

/// Settings of each link, and of `all` and `default`.
const OF_LINKS: [(&str, &[&str]); 2] = [
    (
        "ipv4",
        &[
            "accept_redirects",
            "forwarding",
            "rp_filter",
            "send_redirects",
            "src_valid_mark",
        ],
    ),
    ("ipv6", &["accept_ra", "disable_ipv6", "forwarding"]),
];

/// The settings this kernel has, and those it has but does not show.
pub(super) type Settings = (Result<BTreeMap<String, String>, Unknown>, BTreeMap<String, Unknown>);

pub(super) fn read(tree: &Tree) -> Settings {
    let mut unread = BTreeMap::new();
    (settings(tree, &mut unread), unread)
}

fn settings(tree: &Tree, unread: &mut BTreeMap<String, Unknown>) -> Result<BTreeMap<String, String>, Unknown> {
    let mut settings = BTreeMap::new();
    let mut take = |name: String, path: &str| match tree.text(path) {
        Ok(text) => {
            settings.insert(name, value(&text));
        }
        Err(unknown) if unknown.reason == Reason::NotFound => {}
        Err(unknown) => {
            unread.insert(name, unknown);
        }
    };
    // Without this directory nothing could be told from a kernel that has no settings at all.
    tree.names("/proc/sys/net")?;
    for name in SINGLE {
        take((*name).to_owned(), &path(name));
    }
    for (family, names) in OF_LINKS {
        let directory = format!("/proc/sys/net/{family}/conf");
        let links = match tree.names(&directory) {
            Ok(links) => links,
            Err(unknown) if unknown.reason == Reason::NotFound => continue,
            Err(unknown) => return Err(unknown),
        };
        for link in links {
            // A name that is no text cannot be written into facts either.
            let Some(link) = OsStr::to_str(&link) else { continue };
            for name in names {
                take(of_link(family, link, name), &format!("{directory}/{link}/{name}"));
            }
        }
    }
    tree.in_time("read /proc/sys")?;
    Ok(settings)
}

/// Where a setting without a link in its name stands.
fn path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

/// `net.ipv4.conf.eth0/100.rp_filter` for `eth0.100`.
fn of_link(family: &str, link: &str, name: &str) -> String {
    format!("net.{family}.conf.{}.{name}", link.replace('.', "/"))
}

/// The value as sysctl(8) shows it, several numbers with one tabulator between them.
fn value(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;

    fn read_files(files: &[(&str, &str)]) -> Settings {
        let root = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = root.path().join("proc/sys").join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("made");
            fs::write(path, text).expect("written");
        }
        read(&Tree::new(root.path(), Instant::now() + Duration::from_secs(60)))
    }

    #[test]
    fn a_dot_in_a_links_name_is_written_as_a_slash() {
        let (settings, _) = read_files(&[("net/ipv4/conf/eth0.100/rp_filter", "2\n")]);
        assert_eq!(
            settings
                .expect("read")
                .get("net.ipv4.conf.eth0/100.rp_filter")
                .map(String::as_str),
            Some("2")
        );
    }

    #[test]
    fn several_numbers_have_one_tabulator_between_them() {
        let (settings, _) = read_files(&[
            ("net/ipv4/ip_local_port_range", "32768\t60999\n"),
            ("net/ipv4/ip_local_reserved_ports", "\n"),
        ]);
        let settings = settings.expect("read");
        assert_eq!(settings["net.ipv4.ip_local_port_range"], "32768\t60999");
        assert_eq!(settings["net.ipv4.ip_local_reserved_ports"], "");
    }

    #[test]
    fn a_setting_the_kernel_lacks_is_absent_and_one_it_does_not_show_is_named() {
        // A directory in a setting's place stands for one that cannot be read.
        let (settings, unread) = read_files(&[("net/ipv4/ip_forward", "1"), ("net/ipv4/tcp_mtu_probing/x", "")]);
        assert_eq!(settings.expect("read").len(), 1);
        assert_eq!(unread.keys().collect::<Vec<_>>(), ["net.ipv4.tcp_mtu_probing"]);
    }

    #[test]
    fn without_proc_sys_nothing_is_said() {
        assert_eq!(read_files(&[]).0.unwrap_err().reason, Reason::NotFound);
    }
}
