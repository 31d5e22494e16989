//! What the keys of ConfigMap `cilium-config` mean in each version of Cilium.

use crate::facts::cilium::Cilium;
use crate::facts::provenance::{Known, Source, Unknown};

/// Cilium's settings in one cluster: keys as written, and the defaults of its version for keys that are absent.
#[derive(Debug)]
pub struct Settings<'a> {
    /// The facts they come from.
    pub cilium: &'a Cilium,
}

impl<'a> Settings<'a> {
    /// The settings of this Cilium.
    pub fn of(cilium: &'a Cilium) -> Result<Self, Unknown> {
        cilium.config.get()?;
        Ok(Self { cilium })
    }

    /// The value written under a key; `None` if the key is absent.
    pub fn written(&self, key: &str) -> Option<Known<String>> {
        let config = self.cilium.config.ok()?;
        config
            .get(key)
            .map(|value| Known::new(value.clone(), self.cilium.config_source(key)))
    }

    /// The value in force under a key: as written, or the default of this version.
    pub fn value(&self, key: &str) -> Result<Known<String>, Unknown> {
        self.written(key).ok_or_else(|| {
            let source = Source::read(format!("ConfigMap {}/cilium-config", self.cilium.namespace), key);
            Unknown::not_found(format!("{source} is absent and its default is not known"))
        })
    }

    /// A setting that is on or off.
    pub fn flag(&self, key: &str) -> Result<Known<bool>, Unknown> {
        let known = self.value(key)?;
        match known.value.as_str() {
            "true" => Ok(known.map(|_| true)),
            "false" | "" => Ok(known.map(|_| false)),
            other => Err(Unknown::unparsable(&known.source, other)),
        }
    }
}
