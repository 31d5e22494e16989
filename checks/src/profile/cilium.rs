//! What the keys of ConfigMap `cilium-config` mean in each version of Cilium.
//!
//! Three things stand between a key and what the agents do:
//!
//! * an absent key is the default of *that* version: [`keys`], [`version`];
//! * `CiliumNodeConfig` objects override keys on the nodes they select: [`Settings::on_all_nodes`];
//! * a value on which the agent refuses to start cannot be in force, it has not been loaded yet: [`refused`].

pub mod control_plane;
pub mod keys;
pub mod mtu;
pub mod on_nodes;
pub mod refused;
pub mod values;
pub mod version;

use std::collections::BTreeMap;

use crate::cidr::Cidr;
use crate::facts::cilium::{Cilium, NodeConfig};
use crate::facts::provenance::{Known, Reason, Source, Unknown};
use keys::Key;
use refused::Refusal;
use values::{
    Encryption, Families, Family, IdentityMode, KubeProxyReplacement, RoutingMode, StrictEgress, TunnelProtocol,
    TunnelUser,
};
use version::{Version, Versions};

/// Cilium's settings in one cluster, or on those nodes of it that share their overrides.
///
/// [`Settings::value`] and everything named after a setting answer what is in force; [`Settings::shown`] what the objects show.
#[derive(Debug)]
pub struct Settings<'a> {
    /// The facts they come from.
    pub cilium: &'a Cilium,
    /// The versions of the agents, as far as known.
    pub versions: Versions,
    config: &'a BTreeMap<String, String>,
    /// In the order in which they apply: a later one wins.
    overrides: Vec<&'a NodeConfig>,
    refusals: Vec<Refusal>,
}

impl<'a> Settings<'a> {
    /// The settings of this Cilium as its ConfigMap shows them.
    pub fn of(cilium: &'a Cilium) -> Result<Self, Unknown> {
        let config = cilium.config.get()?;
        Ok(Self::with_overrides(cilium, config, Vec::new()))
    }

    fn with_overrides(
        cilium: &'a Cilium,
        config: &'a BTreeMap<String, String>,
        overrides: Vec<&'a NodeConfig>,
    ) -> Self {
        let mut settings = Self {
            cilium,
            versions: Versions::of(cilium),
            config,
            overrides,
            refusals: Vec::new(),
        };
        // A plan says a few keys only, and no agent has refused it.
        if cilium.declared().is_none() {
            settings.refusals = refused::refusals(&settings);
        }
        settings
    }

    /// The value written under a key; `None` if the key is absent.
    pub fn written(&self, key: &str) -> Option<Known<String>> {
        let known = |value: &String, source| Known::new(value.trim().to_owned(), source);
        let overridden = self.overrides.iter().rev().find_map(|object| {
            let value = object.defaults.get(key)?;
            Some(known(value, self.cilium.node_config_source(object, key)))
        });
        overridden.or_else(|| Some(known(self.config.get(key)?, self.cilium.config_source(key))))
    }

    /// The value that the objects show under a key: as written, or the default of this version. The agents need not have loaded it.
    pub fn shown(&self, key: &str) -> Result<Known<String>, Unknown> {
        self.written(key).map_or_else(|| self.default(key), Ok)
    }

    /// What the absence of a key means.
    fn default(&self, key: &str) -> Result<Known<String>, Unknown> {
        let source = self.cilium.config_source(key);
        if self.cilium.declared().is_some() {
            return Err(Unknown::new(Reason::NotDeclared, format!("{source}: nothing is said")));
        }
        let Some(known) = Key::find(key) else {
            return Err(Unknown::not_found(format!(
                "{source} is absent and its default is not known"
            )));
        };
        let default = match key {
            // The agent's own default is the kvstore, and it falls back to custom resources where none is configured.
            "identity-allocation-mode" if self.written("kvstore").is_some_and(|kvstore| !kvstore.value.is_empty()) => {
                Some("kvstore")
            }
            _ => known.default_in(&self.versions),
        };
        let Some(default) = default else {
            let changes: Vec<String> = known
                .changes
                .iter()
                .map(|(since, default)| format!("`{default}` from {since} on"))
                .collect();
            return Err(Unknown::not_found(format!(
                "{source} is absent, which means `{}` and {}; here it is {}",
                known.default,
                changes.join(", "),
                self.versions
            )));
        };
        let source = Source::default_of(source.object, source.field, self.versions.to_string());
        Ok(Known::new(default.to_owned(), source))
    }

    /// The value in force under a key: as shown, unless the agent refuses to start on it.
    pub fn value(&self, key: &str) -> Result<Known<String>, Unknown> {
        match self.refusals.iter().find(|refusal| refusal.keys.contains(&key)) {
            Some(refusal) => Err(Unknown::new(
                Reason::NotInForce,
                format!("{} is not in force: {}", self.cilium.config_source(key), refusal),
            )),
            None => self.shown(key),
        }
    }

    /// The values on which the agent refuses to start.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Why the agent refuses to start, if it is because of one of these keys.
    pub fn refusal(&self, keys: &[&str]) -> Option<&Refusal> {
        self.refusals
            .iter()
            .find(|refusal| refusal.keys.iter().any(|key| keys.contains(key)))
    }

    /// A switch: the spellings are those of the agent's option parser.
    pub fn flag(&self, key: &str) -> Result<Known<bool>, Unknown> {
        parsed(self.value(key)?, values::switch)
    }

    /// A number.
    pub fn number(&self, key: &str) -> Result<Known<u64>, Unknown> {
        parsed(self.value(key)?, |text| text.parse().ok())
    }

    /// Address blocks, separated by commas or white space; none if the key is empty.
    pub fn blocks(&self, key: &str) -> Result<Known<Vec<Cidr>>, Unknown> {
        parsed(self.value(key)?, |text| {
            let blocks = Cidr::split_list(text).into_iter();
            blocks.map(|block| block.ok().map(|(cidr, _)| cidr)).collect()
        })
    }

    /// The cluster's id in the mesh; 0 means that there is no mesh.
    pub fn cluster_id(&self) -> Result<Known<u32>, Unknown> {
        parsed(self.value("cluster-id")?, |text| text.parse().ok())
    }

    /// The cluster's name in the mesh; empty means `default`.
    pub fn cluster_name(&self) -> Result<Known<String>, Unknown> {
        Ok(self.value("cluster-name")?.map(values::name_or_default))
    }

    /// The most clusters a mesh can have: 255 or 511, which also says how many bits an identity has. Before 1.15 there was no choice.
    pub fn max_connected_clusters(&self) -> Result<Known<u32>, Unknown> {
        let known = parsed(self.value("max-connected-clusters")?, |text| text.parse().ok())?;
        let no_choice = self.versions.at_least(Version(1, 15, 0)) == Ok(false);
        Ok(known.map(|max| if no_choice { 255 } else { max }))
    }

    /// Whether packets between nodes are encapsulated. Up to 1.14 key `tunnel` says so where `routing-mode` is absent.
    pub fn routing_mode(&self) -> Result<Known<RoutingMode>, Unknown> {
        let value = self.value("routing-mode")?;
        match self.legacy_tunnel(&value) {
            Some(tunnel) => parsed(tunnel, |text| match text {
                "vxlan" | "geneve" => Some(RoutingMode::Tunnel),
                "disabled" => Some(RoutingMode::Native),
                _ => None,
            }),
            None => parsed(value, RoutingMode::parse),
        }
    }

    /// The encapsulation, whether or not it is used.
    pub fn tunnel_protocol(&self) -> Result<Known<TunnelProtocol>, Unknown> {
        let value = self.value("tunnel-protocol")?;
        match self.legacy_tunnel(&value) {
            Some(tunnel) if tunnel.value != "disabled" => parsed(tunnel, TunnelProtocol::parse),
            _ => parsed(value, TunnelProtocol::parse),
        }
    }

    /// Key `tunnel`, where it stands in for a key that is absent. From 1.15 on nobody reads it.
    fn legacy_tunnel(&self, instead_of: &Known<String>) -> Option<Known<String>> {
        let tunnel = self.written("tunnel").filter(|tunnel| !tunnel.value.is_empty())?;
        let ignored = self.versions.at_least(Version(1, 15, 0)) == Ok(true);
        (!instead_of.source.basis.is_read() && !ignored).then_some(tunnel)
    }

    /// The UDP port of the tunnel: 0 means the protocol's own.
    pub fn tunnel_port(&self) -> Result<Known<u16>, Unknown> {
        let port = parsed(self.value("tunnel-port")?, |text| text.parse().ok())?;
        if port.value != 0 {
            return Ok(port);
        }
        let protocol = self.tunnel_protocol()?.value;
        Ok(port.map(|_| protocol.default_port()))
    }

    /// What puts packets into a tunnel: the routing mode, or a feature that needs one even in native routing. `None` where nothing does.
    pub fn tunnel_user(&self) -> Result<Option<Known<TunnelUser>>, Unknown> {
        let mode = self.routing_mode()?;
        if mode.value == RoutingMode::Tunnel {
            return Ok(Some(mode.map(|_| TunnelUser::Routing)));
        }
        let egress_gateway = self.flag("enable-egress-gateway")?;
        if egress_gateway.value {
            return Ok(Some(egress_gateway.map(|_| TunnelUser::EgressGateway)));
        }
        let dispatch = self.value("bpf-lb-dsr-dispatch")?;
        let direct_return = dispatch.value == "geneve"
            && self.kube_proxy_replacement()?.value == KubeProxyReplacement::On
            && (["dsr", "hybrid"].contains(&self.value("bpf-lb-mode")?.value.as_str())
                || self.flag("bpf-lb-mode-annotation")?.value);
        Ok(direct_return.then(|| dispatch.map(|_| TunnelUser::DirectServerReturn)))
    }

    /// How much of kube-proxy Cilium replaces.
    pub fn kube_proxy_replacement(&self) -> Result<Known<KubeProxyReplacement>, Unknown> {
        parsed(self.value("kube-proxy-replacement")?, KubeProxyReplacement::parse)
    }

    /// Where identities are kept.
    pub fn identity_mode(&self) -> Result<Known<IdentityMode>, Unknown> {
        parsed(self.value("identity-allocation-mode")?, IdentityMode::parse)
    }

    /// The address families of pods.
    pub fn families(&self) -> Result<Known<Families>, Unknown> {
        let ipv4 = self.flag("enable-ipv4")?;
        let ipv6 = self.flag("enable-ipv6")?.value;
        Ok(ipv4.map(|ipv4| Families { ipv4, ipv6 }))
    }

    /// The address family of tunnels. `auto` (and every version before 1.18) takes IPv4 where it is enabled.
    pub fn underlay(&self) -> Result<Known<Family>, Unknown> {
        let families = self.families()?.value;
        let own = if families.ipv4 { Family::Ipv4 } else { Family::Ipv6 };
        parsed(self.value("underlay-protocol")?, |text| match text {
            "ipv4" => Some(Family::Ipv4),
            "ipv6" => Some(Family::Ipv6),
            "auto" | "" => Some(own),
            _ => None,
        })
    }

    /// How traffic between nodes is encrypted.
    pub fn encryption(&self) -> Result<Known<Encryption>, Unknown> {
        let wireguard = self.flag("enable-wireguard")?;
        if wireguard.value {
            return Ok(wireguard.map(|_| Encryption::Wireguard));
        }
        for (key, kind) in [
            ("enable-ipsec", Encryption::Ipsec),
            ("enable-ztunnel", Encryption::Ztunnel),
        ] {
            let flag = self.flag(key)?;
            if flag.value {
                return Ok(flag.map(|_| kind));
            }
        }
        Ok(wireguard.map(|_| Encryption::None))
    }

    /// Whether pods' packets of this family get the node's address when they leave the cluster.
    pub fn masquerades(&self, family: Family) -> Result<Known<bool>, Unknown> {
        let enabled = self.flag(family.enable_key())?;
        if !enabled.value {
            return Ok(enabled);
        }
        self.flag(family.masquerade_key())
    }

    /// The destinations of this family that are never masqueraded in native routing; the key is empty where there is none.
    pub fn native_routing_cidr(&self, family: Family) -> Result<Known<Option<Cidr>>, Unknown> {
        parsed(self.value(family.native_routing_key())?, |text| {
            if text.is_empty() {
                Some(None)
            } else {
                text.parse().ok().map(Some)
            }
        })
    }

    /// Strict encryption of outgoing traffic, by the key names of this version; `None` where it is off.
    pub fn strict_egress(&self) -> Result<Option<StrictEgress>, Unknown> {
        // The new names are unknown before 1.19, the old ones gone from 1.20 on.
        for (switch, cidrs, first, gone) in [
            (
                "enable-encryption-strict-mode-egress",
                "encryption-strict-egress-cidr",
                Version(1, 19, 0),
                None,
            ),
            (
                "enable-encryption-strict-mode",
                "encryption-strict-mode-cidr",
                Version(1, 15, 0),
                Some(Version(1, 20, 0)),
            ),
        ] {
            let enabled = self.flag(switch)?;
            if enabled.value {
                let known = self.versions.at_least(first)?;
                let gone = gone.map_or(Ok(false), |gone| self.versions.at_least(gone))?;
                return Ok(Some(StrictEgress {
                    enabled,
                    cidrs: self.blocks(cidrs)?,
                    ignored: !known || gone,
                }));
            }
        }
        Ok(None)
    }

    /// Whether pods have their addresses from another network plugin, on top of which Cilium is chained.
    pub fn chained_on_another(&self) -> Result<Known<bool>, Unknown> {
        let mode = self.value("cni-chaining-mode")?;
        Ok(mode.map(|mode| !["", "none", "portmap"].contains(&mode.as_str())))
    }
}

fn parsed<T>(known: Known<String>, parse: impl FnOnce(&str) -> Option<T>) -> Result<Known<T>, Unknown> {
    match parse(&known.value) {
        Some(value) => Ok(Known::new(value, known.source)),
        None => Err(Unknown::unparsable(&known.source, &known.value)),
    }
}

#[cfg(test)]
mod tests;
