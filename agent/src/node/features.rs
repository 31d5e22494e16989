//! Which features the kernel has: loaded, built in, in its module tree, or not at all.
//!
//! The kernel loads most modules by itself when they are first needed, so `not loaded` alone says nothing.

use std::collections::BTreeSet;

use prejoin_checks::facts::kernel::{KernelFeature, Presence};
use prejoin_checks::facts::provenance::{Fact, Reason, Source, Unknown};

use crate::node::kernel_config::{self, Built, KernelConfig};
use crate::node::tree::Tree;

/// Something a product may need.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// The names of its module, the usual one first: some were renamed, or have variants for some processors.
    modules: &'static [&'static str],
    /// The kernel's configuration without `CONFIG_`.
    config: &'static str,
}

const fn wanted(modules: &'static [&'static str], config: &'static str) -> Wanted {
    Wanted { modules, config }
}

const WANTED: &[Wanted] = &[
    // Links.
    wanted(&["bridge"], "BRIDGE"),
    wanted(&["br_netfilter"], "BRIDGE_NETFILTER"),
    wanted(&["dummy"], "DUMMY"),
    wanted(&["geneve"], "GENEVE"),
    wanted(&["ip6_tunnel"], "IPV6_TUNNEL"),
    wanted(&["ipip"], "NET_IPIP"),
    wanted(&["ipv6"], "IPV6"),
    wanted(&["tun"], "TUN"),
    wanted(&["veth"], "VETH"),
    wanted(&["vxlan"], "VXLAN"),
    wanted(&["wireguard"], "WIREGUARD"),
    // IPsec.
    wanted(&["af_key"], "NET_KEY"),
    wanted(&["ah4"], "INET_AH"),
    wanted(&["esp4"], "INET_ESP"),
    wanted(&["esp6"], "INET6_ESP"),
    wanted(&["xfrm_interface"], "XFRM_INTERFACE"),
    wanted(&["xfrm_user"], "XFRM_USER"),
    wanted(
        &["aes_generic", "aes", "aesni_intel", "aes_ti", "aes_arm64", "aes_ce_blk"],
        "CRYPTO_AES",
    ),
    wanted(&["authenc"], "CRYPTO_AUTHENC"),
    wanted(&["cbc"], "CRYPTO_CBC"),
    wanted(&["gcm"], "CRYPTO_GCM"),
    wanted(&["hmac"], "CRYPTO_HMAC"),
    wanted(&["seqiv"], "CRYPTO_SEQIV"),
    wanted(
        &[
            "sha256_generic",
            "sha256_generic",
            "sha256_ssse3",
            "sha256_arm64",
            "sha2_ce",
        ],
        "CRYPTO_SHA256",
    ),
    // Packet filters.
    wanted(&["ip_set"], "IP_SET"),
    wanted(&["ip_set_hash_ip"], "IP_SET_HASH_IP"),
    wanted(&["ip_set_hash_net"], "IP_SET_HASH_NET"),
    wanted(&["ip_tables"], "IP_NF_IPTABLES"),
    wanted(&["ip6_tables"], "IP6_NF_IPTABLES"),
    wanted(&["ip_vs"], "IP_VS"),
    wanted(&["iptable_nat"], "IP_NF_NAT"),
    wanted(&["nf_conntrack"], "NF_CONNTRACK"),
    wanted(&["nf_nat"], "NF_NAT"),
    wanted(&["nf_tables"], "NF_TABLES"),
    wanted(&["nfnetlink"], "NETFILTER_NETLINK"),
    wanted(&["nft_compat"], "NFT_COMPAT"),
    wanted(&["nft_ct"], "NFT_CT"),
    wanted(&["nft_chain_nat", "nft_nat"], "NFT_NAT"),
    wanted(&["nft_masq"], "NFT_MASQ"),
    wanted(&["x_tables"], "NETFILTER_XTABLES"),
    wanted(&["xt_CT"], "NETFILTER_XT_TARGET_CT"),
    wanted(&["xt_MASQUERADE", "ipt_MASQUERADE"], "NETFILTER_XT_TARGET_MASQUERADE"),
    wanted(&["xt_TCPMSS"], "NETFILTER_XT_TARGET_TCPMSS"),
    wanted(&["xt_TPROXY"], "NETFILTER_XT_TARGET_TPROXY"),
    wanted(&["xt_addrtype"], "NETFILTER_XT_MATCH_ADDRTYPE"),
    wanted(&["xt_comment"], "NETFILTER_XT_MATCH_COMMENT"),
    wanted(&["xt_conntrack"], "NETFILTER_XT_MATCH_CONNTRACK"),
    // One module since Linux 2.6.39, for the match `mark` and the target `MARK`.
    wanted(&["xt_mark", "xt_MARK"], "NETFILTER_XT_MARK"),
    wanted(&["xt_MARK", "xt_mark"], "NETFILTER_XT_MARK"),
    wanted(&["xt_multiport"], "NETFILTER_XT_MATCH_MULTIPORT"),
    wanted(&["xt_nat"], "NETFILTER_XT_NAT"),
    wanted(&["xt_set"], "NETFILTER_XT_SET"),
    wanted(&["xt_socket"], "NETFILTER_XT_MATCH_SOCKET"),
    wanted(&["xt_statistic"], "NETFILTER_XT_MATCH_STATISTIC"),
    // eBPF.
    wanted(&["cls_bpf"], "NET_CLS_BPF"),
    wanted(&["sch_fq"], "NET_SCH_FQ"),
    wanted(&["sch_ingress"], "NET_SCH_INGRESS"),
];

/// Everything that tells of features, as far as it could be read.
#[derive(Debug)]
struct Sources<'a> {
    /// `/proc/modules`; `not found` where the kernel has no modules.
    loaded: Result<BTreeSet<String>, Unknown>,
    config: Result<KernelConfig, Unknown>,
    tree: Result<ModuleTree, Unknown>,
    /// Parts of the kernel that are in use, and where that is seen.
    in_use: BTreeSet<(&'a str, &'static str)>,
}

/// The module tree of the running kernel, by names of modules.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct ModuleTree {
    loadable: BTreeSet<String>,
    built_in: BTreeSet<String>,
}

/// All features that any product may need, in the order of their names.
pub(super) fn read(tree: &Tree, release: Option<&str>, link_kinds: &BTreeSet<String>) -> Fact<Vec<KernelFeature>> {
    let mut loaded = BTreeSet::new();
    let loaded = tree
        .lines("/proc/modules", |line| loaded.extend(live_module(line)))
        .map(|()| loaded);
    let mut in_use: BTreeSet<(&str, &'static str)> = link_kinds
        .iter()
        .map(|kind| (kind.as_str(), "a link of this kind"))
        .collect();
    for (protocol, module) in [(6, "xfrm_user"), (12, "nfnetlink")] {
        if kernel_listens(tree, protocol) == Ok(true) {
            in_use.insert((module, "/proc/net/netlink"));
        }
    }
    for (path, module) in [
        ("/proc/net/if_inet6", "ipv6"),
        ("/proc/net/pfkey", "af_key"),
        ("/proc/net/ip_vs", "ip_vs"),
    ] {
        if tree.path(path).exists() {
            in_use.insert((module, path));
        }
    }
    let sources = Sources {
        loaded,
        config: kernel_config::read(tree, release),
        tree: module_tree(tree, release),
        in_use,
    };
    if let (Err(loaded), Err(_), Err(_)) = (&sources.loaded, &sources.config, &sources.tree) {
        return Fact::Unknown(loaded.clone());
    }
    let mut features: Vec<KernelFeature> = WANTED.iter().map(|wanted| sources.judge(wanted)).collect();
    features.sort_by(|a, b| a.name.cmp(&b.name));
    Fact::known(
        features,
        Source::read("/proc/modules, the module tree and the kernel's configuration", ""),
    )
}

impl Sources<'_> {
    fn judge(&self, wanted: &Wanted) -> KernelFeature {
        let among = |set: &BTreeSet<String>| wanted.modules.iter().any(|module| set.contains(*module));
        let built = self
            .config
            .as_ref()
            .ok()
            .map(|config| (config.path.as_str(), config.built(wanted.config)));
        let has_modules = !self
            .loaded
            .as_ref()
            .is_err_and(|unknown| unknown.reason == Reason::NotFound);
        let in_use = self.in_use.iter().find(|(module, _)| wanted.modules.contains(module));

        let (presence, seen_in) = if self.loaded.as_ref().is_ok_and(among) {
            (Presence::Loaded, "/proc/modules")
        } else if self.tree.as_ref().is_ok_and(|tree| among(&tree.built_in)) {
            (Presence::BuiltIn, "modules.builtin")
        } else if let Some((path, Some(Built::In))) = built {
            (Presence::BuiltIn, path)
        } else if let Some((_, seen_in)) = in_use {
            (Presence::Loaded, *seen_in)
        } else if self.tree.as_ref().is_ok_and(|tree| among(&tree.loadable)) {
            (Presence::Loadable, "modules.dep")
        } else if self.tree.is_ok() {
            (Presence::Absent, "modules.dep, modules.builtin")
        } else {
            match built {
                // What was not built in cannot be loaded either.
                Some((path, None)) if !has_modules => (Presence::Absent, path),
                Some((path, _)) => (Presence::Unknown, path),
                None => (Presence::Unknown, "/proc/modules"),
            }
        };
        KernelFeature {
            name: wanted.modules[0].to_owned(),
            presence,
            seen_in: seen_in.to_owned(),
        }
    }
}

/// The module in a line of `/proc/modules`: name, size, uses, users, state, address. One that is coming or going does not count.
fn live_module(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let name = words.next()?;
    (words.nth(3)? == "Live").then(|| name.to_owned())
}

/// The module tree of the running kernel, of the node where it is mounted.
fn module_tree(tree: &Tree, release: Option<&str>) -> Result<ModuleTree, Unknown> {
    let release = release.filter(|release| !release.contains('/') && *release != "..");
    let release = release.ok_or_else(|| Unknown::not_found("the kernel's release is not known"))?;
    let mut first = None;
    for tree in [tree.host(), tree.clone()] {
        for directory in [format!("/lib/modules/{release}"), format!("/usr/lib/modules/{release}")] {
            match tree_in(&tree, &directory) {
                Ok(tree) => return Ok(tree),
                Err(unknown) => first = first.or(Some(unknown)),
            }
        }
    }
    Err(first.unwrap_or_else(|| Unknown::not_found("no module tree")))
}

/// Both lists, or none: half of a tree would make what is in the other half absent.
fn tree_in(tree: &Tree, directory: &str) -> Result<ModuleTree, Unknown> {
    let known: BTreeSet<&str> = WANTED.iter().flat_map(|wanted| wanted.modules).copied().collect();
    let names = |file: &str| {
        let path = format!("{directory}/{file}");
        let (mut names, mut lines) = (BTreeSet::new(), 0_u32);
        tree.lines(&path, |line| {
            lines += 1;
            names.extend(module_name(line).filter(|name| known.contains(name.as_str())));
        })?;
        if lines == 0 {
            return Err(Unknown::new(Reason::Unparsable, format!("{path} is empty")));
        }
        Ok(names)
    };
    Ok(ModuleTree {
        loadable: names("modules.dep")?,
        built_in: names("modules.builtin")?,
    })
}

/// The module in `kernel/net/ipv4/esp4.ko.xz: kernel/...`, as the kernel writes it when it is loaded.
fn module_name(line: &str) -> Option<String> {
    let path = line.split_once(':').map_or(line, |(path, _)| path);
    let file = path.trim().rsplit('/').next()?;
    let name = file.split_once(".ko").map(|(name, _)| name)?;
    (!name.is_empty()).then(|| name.replace('-', "_"))
}

/// Whether the kernel itself listens on a netlink protocol in this network namespace: opening one could load a module.
pub(super) fn kernel_listens(tree: &Tree, protocol: u32) -> Result<bool, Unknown> {
    let mut listens = false;
    tree.lines("/proc/net/netlink", |line| {
        listens |= kernel_socket(line) == Some(protocol);
    })?;
    Ok(listens)
}

/// The protocol of a line about a socket of the kernel, whose port is 0.
fn kernel_socket(line: &str) -> Option<u32> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let protocol = words.next()?.parse().ok()?;
    (words.next()? == "0").then_some(protocol)
}

/// For fuzzing: whatever the kernel says, reading it does not panic.
pub(super) fn fuzz(line: &str) {
    let _ = (live_module(line), module_name(line), kernel_socket(line));
}

#[cfg(test)]
mod tests;
