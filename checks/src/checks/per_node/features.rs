//! What a kernel has of what a product needs.

use super::{OnNode, Seen, SeenOn};
use crate::facts::kernel::Presence;
use crate::facts::provenance::{Source, Unknown};

impl OnNode<'_> {
    /// Whether the kernel has one of these, names of the same thing or what may stand in for it. A link of that kind proves it; what was not
    /// loaded and could not be looked up is not known.
    pub fn has_one_of(&self, names: &[&str]) -> Result<bool, Unknown> {
        let links = self.kernel.links.ok();
        if links.is_some_and(|links| links.iter().any(|link| names.contains(&link.kind.as_str()))) {
            return Ok(true);
        }
        let features = self.kernel.features.get()?;
        let looked_for: Vec<_> = features
            .iter()
            .filter(|feature| names.contains(&feature.name.as_str()))
            .collect();
        let is_there = |presence| matches!(presence, Presence::Loaded | Presence::BuiltIn | Presence::Loadable);
        if looked_for.iter().any(|feature| is_there(feature.presence)) {
            return Ok(true);
        }
        if looked_for.is_empty() {
            return Err(Unknown::not_found(format!(
                "nobody looked whether the kernel has {}",
                names.join(" or ")
            )));
        }
        match looked_for.iter().find(|feature| feature.presence == Presence::Unknown) {
            Some(feature) => Err(Unknown::not_found(format!(
                "whether the kernel can load {} is not known: its module tree could not be read",
                feature.name
            ))),
            None => Ok(false),
        }
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
