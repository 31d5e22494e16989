//! All overlaps among a million ranges, against sorting the same array: `cargo bench -p prejoin-checks --bench address_index`.
//!
//! After divan's table of times come the ratios, each the median over rounds in which sort and index take turns, so
//! that a busy machine slows both.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use divan::Bencher;
use prejoin_checks::address::{AddressIndex, Claim};
use prejoin_checks::cidr::Cidr;

/// A range and the number of its cluster.
type Range = (Cidr, u32);

const RANGES: usize = 1_000_000;
const CLUSTERS: u32 = 511;

const SHAPES: [Shape; 6] = [
    Shape {
        name: "random IPv4",
        make: random_v4,
    },
    Shape {
        name: "random IPv4 and IPv6",
        make: random_mixed,
    },
    Shape {
        name: "fleet",
        make: fleet,
    },
    Shape {
        name: "fleet, one pool for all",
        make: fleet_with_one_pool,
    },
    Shape {
        name: "one block",
        make: one_block,
    },
    Shape {
        name: "deepest nest",
        make: deepest_nest,
    },
];

/// A way to make a million ranges.
struct Shape {
    name: &'static str,
    make: fn() -> Vec<Range>,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

fn main() {
    divan::main();
    // Cargo passes this when it measures, and not when it only tests that benches run.
    if std::env::args().any(|argument| argument == "--bench") {
        print_ratios();
    }
}

#[divan::bench(args = SHAPES, sample_count = 11)]
fn sort(bencher: Bencher, shape: &Shape) {
    let ranges = (shape.make)();
    bencher.with_inputs(|| ranges.clone()).bench_local_values(sorted);
}

#[divan::bench(args = SHAPES, sample_count = 11)]
fn index(bencher: Bencher, shape: &Shape) {
    let ranges = (shape.make)();
    bencher
        .with_inputs(|| ranges.clone())
        .bench_local_values(AddressIndex::new);
}

#[divan::bench(args = SHAPES, sample_count = 11)]
fn conflicts(bencher: Bencher, shape: &Shape) {
    let index = AddressIndex::new((shape.make)());
    bencher.bench_local(|| groups(&index));
}

fn sorted(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    ranges
}

/// The number of causes when ranges of different clusters must not overlap.
fn groups(index: &AddressIndex<u32>) -> usize {
    let claim = |cluster: &u32| {
        Some(Claim {
            owner: *cluster as usize,
            kind: (),
        })
    };
    index
        .conflicts(claim, |(), (), same_cluster| (!same_cluster).then_some(()))
        .len()
}

fn print_ratios() {
    const ROUNDS: usize = 21;
    println!(
        "\n{:<26}{:>10}{:>15}{:>23}{:>10}",
        "ranges", "sort", "index : sort", "conflicts too : sort", "groups"
    );
    for shape in SHAPES {
        let ranges = (shape.make)();
        let causes = groups(&AddressIndex::new(ranges.clone()));
        let rounds = (0..ROUNDS).map(|_| {
            let (sort, _) = timed(ranges.clone(), sorted);
            let (build, index) = timed(ranges.clone(), AddressIndex::new);
            let (group, _) = timed(&index, groups);
            (sort, build, build + group)
        });
        let rounds: Vec<(Duration, Duration, Duration)> = rounds.collect();
        let sort = median(rounds.iter().map(|round| round.0.as_secs_f64()));
        let index = median(rounds.iter().map(|round| round.1.div_duration_f64(round.0)));
        let all = median(rounds.iter().map(|round| round.2.div_duration_f64(round.0)));
        println!(
            "{:<26}{:>7.1} ms{index:>15.2}{all:>23.2}{causes:>10}",
            shape.name,
            sort * 1e3
        );
    }
}

fn timed<I, O>(input: I, run: impl FnOnce(I) -> O) -> (Duration, O) {
    let start = Instant::now();
    let output = black_box(run(black_box(input)));
    (start.elapsed(), output)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Any address, any length from /8.
fn random_v4() -> Vec<Range> {
    let mut random = Random::default();
    let block = |random: &mut Random| v4(random.bits(32), 8 + random.below(25));
    (0..RANGES)
        .map(|_| (block(&mut random), random.below(CLUSTERS)))
        .collect()
}

/// Half of them IPv6, inside the unique local addresses.
fn random_mixed() -> Vec<Range> {
    let mut random = Random::default();
    let block = |random: &mut Random| match random.below(2) {
        0 => v4(random.bits(32), 8 + random.below(25)),
        _ => v6(0xfd << 120 | random.bits(120), 8 + random.below(121)),
    };
    (0..RANGES)
        .map(|_| (block(&mut random), random.below(CLUSTERS)))
        .collect()
}

/// Clusters as they come out of facts: a pool, a service range, and a block and an address for each node, cluster by
/// cluster, with pools that are apart.
fn fleet() -> Vec<Range> {
    clusters(|cluster| u128::from(cluster) << 21)
}

/// The same where every cluster has the pool of the first.
fn fleet_with_one_pool() -> Vec<Range> {
    clusters(|_| 0)
}

fn clusters(pool_first: impl Fn(u32) -> u128) -> Vec<Range> {
    let ranges_of = |cluster: u32| {
        let pool = pool_first(cluster);
        let blocks = (0..).map(move |node: u128| v4(pool + (node << 8), 24));
        let nodes = (0..).map(move |node: u128| v4(0xac10_0000 + u128::from(cluster) * 2_048 + node, 32));
        let whole = [v4(pool, 11), v4(0xc000_0000 + (u128::from(cluster) << 12), 20)];
        let per_cluster = RANGES / CLUSTERS as usize + 1;
        let ranges = whole
            .into_iter()
            .chain(blocks.zip(nodes).flat_map(|(block, node)| [block, node]));
        ranges.take(per_cluster).map(move |block| (block, cluster))
    };
    (0..CLUSTERS).flat_map(ranges_of).take(RANGES).collect()
}

/// The same block, a million times.
fn one_block() -> Vec<Range> {
    let mut random = Random::default();
    (0..RANGES)
        .map(|_| (v4(0x0a00_0000, 8), random.below(CLUSTERS)))
        .collect()
}

/// Every length there is, all around the same address: 33 blocks in each other, and 129.
fn deepest_nest() -> Vec<Range> {
    let mut random = Random::default();
    let block = |random: &mut Random| match random.below(2) {
        0 => v4(0x0a00_0000, random.below(33)),
        _ => v6(0xfd << 120, random.below(129)),
    };
    (0..RANGES)
        .map(|_| (block(&mut random), random.below(CLUSTERS)))
        .collect()
}

fn v4(bits: u128, prefix_len: u32) -> Cidr {
    let bits = u32::try_from(bits).expect("an IPv4 address has 32 bits");
    block(IpAddr::V4(bits.into()), prefix_len)
}

fn v6(bits: u128, prefix_len: u32) -> Cidr {
    block(IpAddr::V6(bits.into()), prefix_len)
}

fn block(address: IpAddr, prefix_len: u32) -> Cidr {
    let prefix_len = u8::try_from(prefix_len).ok();
    prefix_len
        .and_then(|len| Cidr::new(address, len))
        .expect("the length fits the family")
}

/// The same numbers in every run (xorshift, Marsaglia 2003).
struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bits(&mut self, count: u32) -> u128 {
        (u128::from(self.next()) << 64 | u128::from(self.next())) >> (128 - count)
    }

    fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(((self.next() >> 32) * u64::from(limit)) >> 32).expect("it is below a 32-bit limit")
    }
}
