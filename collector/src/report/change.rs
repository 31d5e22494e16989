//! A change since an accepted state, in words that all renderers share.

use prejoin_checks::history::drift::{Drift, DriftLine, DriftOf, Effect};

use crate::drift::shown;

/// `Drift since 2026-11-20T12:00:00Z: 1 breaks, 3 are neutral`.
pub(super) fn headline(drift: &Drift) -> String {
    let counts: Vec<String> = [Effect::Breaks, Effect::Weakens, Effect::Mends, Effect::Neutral]
        .into_iter()
        .map(|effect| (drift.count(effect), effect))
        .filter(|(count, _)| *count > 0)
        .map(|(count, effect)| format!("{count} {effect}"))
        .collect();
    let counts = if counts.is_empty() {
        "none".to_owned()
    } else {
        counts.join(", ")
    };
    format!("Drift since {}: {counts}", drift.since)
}

/// `west cilium.config.tunnel-protocol: vxlan -> geneve`.
pub(crate) fn what(line: &DriftLine) -> String {
    let about = if line.cluster.is_empty() || line.of != DriftOf::Fact {
        line.path.clone()
    } else {
        format!("{} {}", line.cluster, line.path)
    };
    match (&line.old, &line.new) {
        (Some(old), Some(new)) => format!("{about}: {} -> {}", shown(old), shown(new)),
        (Some(only), None) | (None, Some(only)) => format!("{about}: {}", shown(only)),
        (None, None) => about,
    }
}

/// Where it was read, and since when it is so, where that is earlier than the report itself.
pub(super) fn place(line: &DriftLine) -> Option<String> {
    let source = line.source.as_ref()?;
    Some(format!("{source}, first seen {}", line.first_seen))
}
