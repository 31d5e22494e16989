//! Evidence in as few lines as say the same.

use std::collections::HashMap;

use prejoin_checks::report::Evidence;

use super::view::{basis_note, short_list};

/// One line of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) clusters: Vec<&'a str>,
    pub(super) value: String,
    /// The object, or how many of which kind.
    pub(super) object: String,
    pub(super) field: &'a str,
    /// `(default of 1.18)`, `(declared)`, or nothing.
    pub(super) note: String,
}

impl Line<'_> {
    /// The clusters, the first few by name.
    pub(super) fn clusters(&self) -> String {
        short_list(&self.clusters, 3)
    }
}

/// So many objects of one kind in one cluster are one line.
const ALIKE: usize = 4;

/// Evidence as lines: what is the same in several clusters is one line, and so are, with `fold`, many objects of one kind.
pub(super) fn lines<'a>(evidence: &[&'a Evidence], fold: bool) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = Vec::new();
    let mut places = HashMap::new();
    for group in alike(evidence) {
        let folded = if fold && group.len() > ALIKE {
            vec![folded(&group)]
        } else {
            group.into_iter().map(single).collect()
        };
        for line in folded {
            let key = (line.value.clone(), line.object.clone(), line.field, line.note.clone());
            let place = *places.entry(key).or_insert(lines.len());
            match lines.get_mut(place) {
                None => lines.push(line),
                Some(known) if known.clusters.last() == line.clusters.last() => {}
                Some(known) => known.clusters.extend(line.clusters),
            }
        }
    }
    lines
}

/// Groups evidence by cluster, kind of object and field, in order of appearance.
fn alike<'a>(evidence: &[&'a Evidence]) -> Vec<Vec<&'a Evidence>> {
    let mut groups: Vec<Vec<&Evidence>> = Vec::new();
    let mut places = HashMap::new();
    for piece in evidence {
        let source = &piece.source;
        let key = (&piece.cluster, kind(&source.object), &source.field, &source.basis);
        let place = *places.entry(key).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[place].push(piece);
    }
    groups
}

/// `CiliumNode` of `CiliumNode east-n1`.
fn kind(object: &str) -> &str {
    object.split_whitespace().next().unwrap_or_default()
}

/// A value as it reads; in quotes where one would not see it otherwise.
fn quoted(value: &str) -> String {
    if value.is_empty() || value.trim() != value {
        format!("\"{value}\"")
    } else {
        value.to_owned()
    }
}

fn single(piece: &Evidence) -> Line<'_> {
    Line {
        clusters: vec![&piece.cluster],
        value: quoted(&piece.value),
        object: if piece.source.object == "declared" {
            String::new()
        } else {
            piece.source.object.clone()
        },
        field: &piece.source.field,
        note: basis_note(&piece.source.basis),
    }
}

/// Many objects of one kind: their values from first to last, and how many there are.
fn folded<'a>(group: &[&'a Evidence]) -> Line<'a> {
    let (first, last) = (group[0], group[group.len() - 1]);
    let value = if group.iter().all(|piece| piece.value == first.value) {
        quoted(&first.value)
    } else {
        format!("{} … {} ({})", first.value, last.value, group.len())
    };
    Line {
        value,
        object: format!("{}s ({})", kind(&first.source.object), group.len()),
        ..single(first)
    }
}

#[cfg(test)]
mod tests {
    use prejoin_checks::facts::provenance::Source;

    use super::*;

    fn shown(evidence: &[Evidence], fold: bool) -> Vec<(String, String, String)> {
        lines(&evidence.iter().collect::<Vec<_>>(), fold)
            .into_iter()
            .map(|line| (line.clusters(), line.value, line.object))
            .collect()
    }

    fn row(clusters: &str, value: &str, object: &str) -> (String, String, String) {
        (clusters.to_owned(), value.to_owned(), object.to_owned())
    }

    #[test]
    fn one_value_in_many_clusters_is_one_line() {
        let config = Source::read("ConfigMap kube-system/cilium-config", "tunnel-protocol");
        let mut evidence: Vec<Evidence> = (1..=40)
            .map(|n| Evidence::new(format!("c{n}"), &"vxlan", &config))
            .collect();
        evidence[1].value = "geneve".to_owned();
        assert_eq!(
            shown(&evidence, true),
            [
                row("c1, c3, c4 +36", "vxlan", "ConfigMap kube-system/cilium-config"),
                row("c2", "geneve", "ConfigMap kube-system/cilium-config"),
            ]
        );
    }

    #[test]
    fn many_objects_of_one_kind_are_one_line_unless_all_are_asked_for() {
        let evidence: Vec<Evidence> = (0..24)
            .map(|n| {
                let source = Source::read(format!("CiliumNode east-n{n}"), "spec.ipam.podCIDRs");
                Evidence::new("east", &format!("10.10.{n}.0/24"), &source)
            })
            .collect();
        assert_eq!(
            shown(&evidence, true),
            [row("east", "10.10.0.0/24 … 10.10.23.0/24 (24)", "CiliumNodes (24)")]
        );
        assert_eq!(shown(&evidence, false).len(), 24);
        assert_eq!(shown(&evidence[..4], true).len(), 4);
    }

    #[test]
    fn defaults_and_declarations_are_marked() {
        let default = Evidence::new("east", &"vxlan", &Source::default_of("ConfigMap c", "k", "1.18"));
        let declared = Evidence::new("", &"10.0.0.0/8", &Source::declared("external"));
        let lines = lines(&[&default, &declared], true);
        assert_eq!(lines[0].note, "(default of 1.18)");
        assert_eq!((lines[1].object.as_str(), lines[1].note.as_str()), ("", "(declared)"));
    }
}
