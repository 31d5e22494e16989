//! What a kernel has of what a product needs.

use super::{OnNode, Seen, SeenOn};
use crate::facts::kernel::Presence;
use crate::facts::provenance::{Source, Unknown};

impl OnNode<'_> {
    /// In what form the kernel has a feature. A link of that kind proves it; what was not loaded and could not be looked up is not known.
    pub fn feature(&self, name: &str) -> Result<Presence, Unknown> {
        let in_use = self
            .kernel
            .links
            .ok()
            .is_some_and(|links| links.iter().any(|link| link.kind == name));
        if in_use {
            return Ok(Presence::Loaded);
        }
        let known = self.kernel.features.known_value()?;
        let feature = known.value.iter().find(|feature| feature.name == name);
        match feature.map(|feature| feature.presence) {
            Some(Presence::Unknown) => Err(Unknown::not_found(format!(
                "whether the kernel can load {name} is not known: its module tree could not be read"
            ))),
            Some(presence) => Ok(presence),
            None => Err(Unknown::not_found(format!(
                "nobody looked whether the kernel has {name}"
            ))),
        }
    }

    /// Whether one of these features is there: the first that is. A refusal counts only where no other answer is a yes.
    pub fn has_one_of(&self, names: &[&str]) -> Result<bool, Unknown> {
        let mut open = None;
        for name in names {
            match self.feature(name) {
                Ok(Presence::Absent) => {}
                Ok(_) => return Ok(true),
                Err(why) => open = open.or(Some(why)),
            }
        }
        open.map_or(Ok(false), Err)
    }

    /// Whether a rule's features are all there: each entry is a feature with what may stand in for it.
    pub fn expect_features(&self, needed: &[&[&str]]) -> SeenOn {
        let mut lacking = Vec::new();
        let mut open = None;
        for names in needed {
            match self.has_one_of(names) {
                Ok(true) => {}
                Ok(false) => lacking.push(names.join(" or ")),
                Err(why) => open = open.or(Some(why)),
            }
        }
        if lacking.is_empty() {
            return match open {
                Some(why) => Err(why.into()),
                None => Ok(Seen::fine("all there or loadable")),
            };
        }
        let evidence = needed.iter().flat_map(|names| names.iter()).filter_map(|name| {
            let known = self.kernel.features.known_value().ok()?;
            let feature = known.value.iter().find(|feature| feature.name == *name)?;
            (feature.presence == Presence::Absent).then(|| {
                let object = known.source.object.clone();
                let source = Source::read(object, format!("{name} in {}", feature.seen_in));
                crate::report::Evidence::new(self.cluster, &"absent", &source)
            })
        });
        let evidence: Vec<_> = evidence.collect();
        Ok(Seen::fault(format!("no {}", lacking.join(", no "))).evidence_all(evidence))
    }
}
