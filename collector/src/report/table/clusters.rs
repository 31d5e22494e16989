//! The clusters: what was read of each, in one line.

use std::collections::BTreeMap;

use prejoin_checks::report::{ClusterSummary, Report};

use super::layout::{Cell, Grid, NO_BREAK, Page, Tone, cell};
use crate::report::view::{count, short_list};

/// More clusters than this are summed up, and only the unusual ones listed.
const LISTED: usize = 12;
/// From this width on there is space for more of each list, and for the version.
const WIDE: usize = 100;

pub(super) fn write(page: &mut Page, report: &Report, verbose: bool) {
    let all: Vec<&ClusterSummary> = report.clusters.iter().collect();
    if all.is_empty() {
        return;
    }
    page.blank();
    if verbose || all.len() <= LISTED {
        page.grid(&table(&all, page.width(), verbose));
        return;
    }
    page.line(2, [summed_up(&all).into()]);
    let unusual: Vec<&ClusterSummary> = all.into_iter().filter(|cluster| is_unusual(cluster)).collect();
    let shown = &unusual[..unusual.len().min(LISTED)];
    if !shown.is_empty() {
        page.line(2, ["not read in full:".into()]);
        page.blank();
        page.grid(&table(shown, page.width(), false));
    }
    if unusual.len() > shown.len() {
        let more = format!(
            "… and {} more that were not read in full (-v)",
            unusual.len() - shown.len()
        );
        page.line(2, [cell(more, Tone::Faint)]);
    }
}

fn is_unusual(cluster: &ClusterSummary) -> bool {
    cluster.planned || cluster.unreachable.is_some() || cluster.facts.known < cluster.facts.wanted
}

/// `40 clusters, 400 nodes: 38 Cilium 1.20.0, 2 Calico 3.30.1`.
fn summed_up(clusters: &[&ClusterSummary]) -> String {
    let nodes: usize = clusters.iter().filter_map(|cluster| cluster.nodes).sum();
    let mut plugins: BTreeMap<&str, usize> = BTreeMap::new();
    for cluster in clusters {
        let name = if cluster.cni.is_empty() {
            "CNI not known"
        } else {
            &cluster.cni
        };
        *plugins.entry(name).or_default() += 1;
    }
    let mut plugins: Vec<_> = plugins.into_iter().collect();
    plugins.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    let names: Vec<String> = plugins
        .iter()
        .map(|(name, number)| format!("{number} {name}"))
        .collect();
    format!(
        "{}, {}: {}",
        count(clusters.len(), "cluster"),
        count(nodes, "node"),
        short_list(&names, 4)
    )
}

fn table(clusters: &[&ClusterSummary], width: usize, verbose: bool) -> Grid {
    let wide = width >= WIDE;
    let shown = match (verbose, wide) {
        (true, _) => usize::MAX,
        (false, true) => 2,
        (false, false) => 1,
    };
    let mut columns: Vec<(&str, bool, Vec<Cell>)> = vec![
        ("cluster", false, each(clusters, name)),
        ("id", true, each(clusters, |cluster| cluster.mesh_id.clone().into())),
        ("CNI", false, each(clusters, |cluster| cluster.cni.clone().into())),
        ("pods", false, each(clusters, |cluster| list(&cluster.pods, shown))),
        (
            "services",
            false,
            each(clusters, |cluster| list(&cluster.services, shown)),
        ),
        (
            "nodes",
            true,
            each(clusters, |cluster| {
                cluster.nodes.map(|nodes| nodes.to_string()).unwrap_or_default().into()
            }),
        ),
        ("facts", false, each(clusters, facts)),
    ];
    if wide {
        columns.insert(
            2,
            (
                "Kubernetes",
                false,
                each(clusters, |cluster| cluster.kubernetes.clone().into()),
            ),
        );
    }
    columns.retain(|(_, _, cells)| cells.iter().any(|cell| !cell.is_empty()));
    let right = columns
        .iter()
        .enumerate()
        .filter(|(_, column)| column.1)
        .map(|(at, _)| at);
    let mut grid = Grid::new(2).right(right.collect::<Vec<_>>());
    grid.push(columns.iter().map(|(head, _, _)| cell(*head, Tone::Faint)).collect());
    for row in 0..clusters.len() {
        grid.push(columns.iter().map(|(_, _, cells)| cells[row].clone()).collect());
    }
    grid
}

fn each(clusters: &[&ClusterSummary], show: impl Fn(&ClusterSummary) -> Cell) -> Vec<Cell> {
    clusters.iter().map(|cluster| show(cluster)).collect()
}

fn name(cluster: &ClusterSummary) -> Cell {
    if cluster.planned {
        format!("{} (planned)", cluster.name).into()
    } else {
        cluster.name.clone().into()
    }
}

fn list(values: &[String], most: usize) -> Cell {
    short_list(values, most).replace(" +", &format!("{NO_BREAK}+")).into()
}

fn facts(cluster: &ClusterSummary) -> Cell {
    let ratio = cluster.facts.to_string();
    if cluster.unreachable.is_some() {
        cell("nothing read", Tone::Unknown)
    } else if cluster.facts.known < cluster.facts.wanted {
        cell(ratio, Tone::Unknown)
    } else {
        ratio.into()
    }
}
