//! What the nodes' kernels must have for what the configuration asks for. Source: Cilium documentation, system requirements.

use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::checks::per_node::{Seen, asked, judge, nodes};
use crate::fleet::{Audit, Cluster};
use crate::profile::cilium::Settings;
use crate::profile::cilium::values::{Encryption, Family};

pub(in crate::checks::clustermesh) static CHECKS: &[&Check] =
    &[&TUNNEL_MODULE, &WIREGUARD_MODULE, &IPSEC_MODULES, &NETFILTER_MODULES];

declare_check! {
    /// ## What it checks
    /// The kernel of every node has the tunnel protocol in use, VXLAN or Geneve, and policy routing.
    ///
    /// ## Why it matters
    /// Without its module the agent cannot make the tunnel device, and does not start.
    ///
    /// ## How it is determined
    /// Modules that are loaded, built in, or in the module tree of the running kernel (it loads them on demand: not loaded alone is no failure); a
    /// device of the kind proves it. Routing rules that can be listed prove policy routing.
    ///
    /// ## How to fix
    /// Install the distribution's package of extra modules, or boot a kernel that has it (`CONFIG_VXLAN`, `CONFIG_GENEVE`, `CONFIG_FIB_RULES`).
    ///
    /// ## References
    /// Cilium documentation, system requirements.
    pub static TUNNEL_MODULE = {
        code: "CM921",
        slug: "tunnel-module",
        title: "A kernel lacks the tunnel protocol",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the agent does not start on these nodes",
        rules: ["clustermesh K-2"],
        run: Cluster(tunnel_module),
    };
}

fn tunnel_module(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let settings = cluster.cilium()?;
        if settings.tunnel_user()?.is_none() {
            return Err(NoVerdict::does_not_apply("nothing uses a tunnel"));
        }
        let module = settings.tunnel_protocol()?.value.to_string();
        let expected = format!("{module} and policy routing in the kernel");
        let remedy =
            format!("install the package of extra modules for these nodes' kernel, or boot one that has {module}");
        judge(audit, cluster, nodes(cluster)?, (&expected, &remedy), |on| {
            if on.kernel.rules.get()?.is_empty() {
                return Ok(Seen::fault("no policy routing"));
            }
            on.expect_features(&[&[module.as_str()]])
        })
    })
}

/// What modules have to do with a node that is a container itself.
fn on_kind(cluster: &Cluster<'_>) -> &'static str {
    let is_kind = |cluster: &Cluster<'_>| {
        let nodes = cluster.facts.nodes.ok()?;
        Some(nodes.iter().any(|node| node.provider_id.starts_with("kind://")))
    };
    if is_kind(cluster) == Some(true) {
        "; nodes of kind have their modules from the machine they run on: load them there"
    } else {
        ""
    }
}

declare_check! {
    /// ## What it checks
    /// With WireGuard on, the kernel of every node has it.
    ///
    /// ## Why it matters
    /// There is no way around it in user space any more (since 1.17). The agent does not start without.
    ///
    /// ## How it is determined
    /// Key `enable-wireguard`; the module as loaded, built in, or in the module tree of the running kernel; a device of the kind proves it.
    ///
    /// ## How to fix
    /// Boot a kernel of 5.6 or later with `CONFIG_WIREGUARD`, or install the module. Nodes of kind have their modules from the machine they run on.
    ///
    /// ## References
    /// Cilium documentation, WireGuard transparent encryption, upgrade guide to 1.17.
    pub static WIREGUARD_MODULE = {
        code: "CM922",
        slug: "wireguard-module",
        title: "A kernel lacks WireGuard",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the agent does not start on these nodes",
        rules: ["clustermesh K-3", "clustermesh LAB-6"],
        run: Cluster(wireguard_module),
    };
}

fn wireguard_module(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        if cluster.cilium()?.encryption()?.value != Encryption::Wireguard {
            return Err(NoVerdict::does_not_apply("WireGuard is off"));
        }
        let remedy = format!("install the module, or boot a kernel that has it{}", on_kind(cluster));
        let advice = ("WireGuard in the kernel", remedy.as_str());
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            on.expect_features(&[&["wireguard"]])
        })
    })
}

declare_check! {
    /// ## What it checks
    /// With IPsec on, the kernel of every node has XFRM, ESP and the algorithm of the key.
    ///
    /// ## Why it matters
    /// The agent cannot set up its states and policies: it does not start, or drops what should be encrypted.
    ///
    /// ## How it is determined
    /// Key `enable-ipsec`; modules as loaded, built in, or in the module tree of the running kernel. The algorithm is known where Secrets are read;
    /// else it is taken for AES-GCM, as the documentation has it.
    ///
    /// ## How to fix
    /// Install the distribution's package of extra modules, or boot a kernel that has `CONFIG_XFRM_USER`, `CONFIG_INET_ESP` and the algorithm.
    ///
    /// ## References
    /// Cilium documentation, system requirements, IPsec transparent encryption.
    pub static IPSEC_MODULES = {
        code: "CM923",
        slug: "ipsec-modules",
        title: "A kernel lacks what IPsec needs",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "nothing is encrypted and the agent does not start",
        rules: ["clustermesh K-4", "clustermesh LAB-6"],
        run: Cluster(ipsec_modules),
    };
}

fn ipsec_modules(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let settings = cluster.cilium()?;
        if settings.encryption()?.value != Encryption::Ipsec {
            return Err(NoVerdict::does_not_apply("IPsec is off"));
        }
        let esp: &[&str] = match settings.underlay()?.value {
            Family::Ipv4 => &["esp4"],
            Family::Ipv6 => &["esp6"],
        };
        let key = settings.cilium.secrets.ok().and_then(|secrets| secrets.ipsec.as_ref());
        let is_cbc = key.is_some_and(|key| key.algorithm.contains("cbc"));
        let algorithm: &[&str] = if is_cbc { &["cbc"] } else { &["gcm"] };
        let remedy = format!(
            "install the package of extra modules for these nodes' kernel{}",
            on_kind(cluster)
        );
        let advice = ("XFRM, ESP and the key's algorithm in the kernel", remedy.as_str());
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            on.expect_features(&[&["xfrm_user"], esp, algorithm])
        })
    })
}

declare_check! {
    /// ## What it checks
    /// The kernel has the netfilter modules that Cilium's iptables rules need: sets and comments for masquerading without BPF, and matches and
    /// targets that lead packets to the proxy for policies on layer 7.
    ///
    /// ## Why it matters
    /// Distributions drop these modules (a kernel with nf_tables alone). Rules that cannot be installed mean that nothing is masqueraded, or that
    /// policies on layer 7 stop traffic.
    ///
    /// ## How it is determined
    /// Keys `enable-bpf-masquerade`, `enable-ipv4-masquerade`, `enable-ipv6-masquerade` and `enable-l7-proxy`; modules as loaded, built in, or in the
    /// module tree of the running kernel.
    ///
    /// ## How to fix
    /// Install the package of extra modules, or use chart value `bpf.masquerade=true`, which needs none of the sets.
    ///
    /// ## References
    /// Cilium documentation, system requirements.
    pub static NETFILTER_MODULES = {
        code: "CM924",
        slug: "netfilter-modules",
        title: "A kernel lacks netfilter modules that Cilium's rules use",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "masquerading or policies on layer 7 do not work on these nodes",
        rules: ["clustermesh K-5"],
        run: Cluster(netfilter_modules),
    };
}

/// Whether iptables masquerades pods, and whether proxies see packets.
fn netfilter_users(settings: &Settings<'_>) -> Result<(bool, bool), NoVerdict> {
    let masquerades = settings.masquerades(Family::Ipv4)?.value || settings.masquerades(Family::Ipv6)?.value;
    let by_iptables = masquerades && !settings.flag("enable-bpf-masquerade")?.value;
    Ok((by_iptables, settings.flag("enable-l7-proxy")?.value))
}

fn netfilter_modules(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let (masquerades, proxies) = netfilter_users(cluster.cilium()?)?;
        let mut needed: Vec<&[&str]> = Vec::new();
        if masquerades {
            needed.extend([&["ip_set"][..], &["ip_set_hash_ip"], &["xt_set"], &["xt_comment"]]);
        }
        if proxies {
            needed.extend([&["xt_TPROXY"][..], &["xt_socket"], &["xt_mark", "xt_MARK"], &["xt_CT"]]);
        }
        if needed.is_empty() {
            return Err(NoVerdict::does_not_apply(
                "neither iptables masquerading nor the proxy is on",
            ));
        }
        let advice = (
            "the modules of Cilium's iptables rules",
            "install the package of extra modules for these nodes' kernel; bpf.masquerade=true needs no sets",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            on.expect_features(&needed)
        })
    })
}

#[cfg(test)]
mod tests;
