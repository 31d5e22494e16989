//! Judging many clusters of 100 nodes each: `cargo bench -p prejoin-checks --features samples --bench many_clusters`.
//!
//! After divan's table of times comes the growth from 8 to 511 clusters, the median over rounds in which all sizes take
//! turns, so that a busy machine slows all of them.

use std::hint::black_box;
use std::time::Instant;

use divan::Bencher;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::profile::Profile;
use prejoin_checks::samples::fleet::{crowded_fleet, faulty_fleet, fleet};
use prejoin_checks::samples::report;

const CLUSTERS: [u32; 4] = [8, 32, 128, 511];
const NODES: u32 = 100;

fn main() {
    divan::main();
    // Cargo passes this when it measures, and not when it only tests that benches run.
    if std::env::args().any(|argument| argument == "--bench") {
        print_growth("healthy, for ClusterMesh", fleet, Profile::Clustermesh);
        print_growth(
            "one in sixteen has a fault, for ClusterMesh",
            faulty_fleet,
            Profile::Clustermesh,
        );
        print_growth(
            "pod ranges shared in pairs, for ClusterMesh",
            crowded_fleet,
            Profile::Clustermesh,
        );
        print_growth(
            "one in sixteen has a fault, for Submariner",
            faulty_fleet,
            Profile::Submariner,
        );
    }
}

#[divan::bench(args = CLUSTERS, sample_count = 5)]
fn healthy(bencher: Bencher, clusters: u32) {
    let facts = fleet(clusters, NODES);
    bencher.bench_local(|| report(Profile::Clustermesh, &facts));
}

#[divan::bench(args = CLUSTERS, sample_count = 5)]
fn faulty(bencher: Bencher, clusters: u32) {
    let facts = faulty_fleet(clusters, NODES);
    bencher.bench_local(|| report(Profile::Clustermesh, &facts));
}

fn print_growth(title: &str, make: fn(u32, u32) -> Vec<ClusterFacts>, profile: Profile) {
    const ROUNDS: usize = 9;
    let fleets = CLUSTERS.map(|clusters| make(clusters, NODES));
    let mut seconds = [const { Vec::new() }; CLUSTERS.len()];
    for _ in 0..ROUNDS {
        for (facts, seconds) in fleets.iter().zip(&mut seconds) {
            let start = Instant::now();
            black_box(report(profile, black_box(facts)));
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    println!("\n{title}");
    println!(
        "{:>8}{:>14}{:>16}{:>20}",
        "clusters", "judging", "per cluster", "to n log n from 8"
    );
    let n_log_n = |clusters: u32| f64::from(clusters) * f64::from(clusters).log2();
    let medians = seconds.map(median);
    for (clusters, seconds) in CLUSTERS.into_iter().zip(medians) {
        let growth = (seconds / medians[0]) / (n_log_n(clusters) / n_log_n(CLUSTERS[0]));
        let per_cluster = seconds / f64::from(clusters);
        println!(
            "{clusters:>8}{:>11.1} ms{:>13.2} ms{growth:>20.2}",
            seconds * 1e3,
            per_cluster * 1e3
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
