use proptest::prelude::*;

use super::*;

/// The sizes that decide something in the tables of overheads, about.
const CANDIDATES: [u16; 16] = [
    1_280, 1_320, 1_350, 1_370, 1_380, 1_400, 1_412, 1_420, 1_430, 1_440, 1_446, 1_450, 1_460, 1_480, 1_500, 8_900,
];

#[derive(Debug, Clone, Copy)]
enum Icmp {
    Never,
    Always,
    /// Of so many errors only one is sent.
    OneIn(u32),
    /// Says this, whatever is so.
    Lies(u16),
    /// Says something else each time.
    Babbles,
}

#[derive(Debug, Clone)]
struct Path {
    mtu: u16,
    icmp: Icmp,
    loss_percent: u64,
    random: u64,
    errors: u32,
}

struct Outcome {
    found: PathMtu,
    /// Rounds in which a whole timeout was waited for.
    timeouts: u32,
}

impl Path {
    fn new(mtu: u16, icmp: Icmp) -> Self {
        Self {
            mtu,
            icmp,
            loss_percent: 0,
            random: 1,
            errors: 0,
        }
    }

    fn losing(self, loss_percent: u64, seed: u64) -> Self {
        Self {
            loss_percent,
            random: seed,
            ..self
        }
    }

    fn roll(&mut self) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn send(&mut self, size: u16, search: &mut Search) {
        if self.roll() % 100 < self.loss_percent {
            return;
        }
        if size <= self.mtu {
            search.confirm(size);
            return;
        }
        self.errors += 1;
        let mtu = match self.icmp {
            Icmp::Never => return,
            Icmp::OneIn(one_in) if self.errors % one_in != 1 => return,
            Icmp::Always | Icmp::OneIn(_) => self.mtu,
            Icmp::Lies(mtu) => mtu,
            Icmp::Babbles => u16::try_from(self.roll() % 9_000).unwrap(),
        };
        let by = IpAddr::from([192, 0, 2, 1]);
        search.too_big(Some(size), TooBig { by, mtu });
    }

    fn search(mut self, mut search: Search) -> Outcome {
        let mut timeouts = 0;
        loop {
            let round = search.next_round();
            if round.sizes.is_empty() {
                break;
            }
            for size in round.sizes {
                if search.is_trial() && search.is_round_over() {
                    break;
                }
                self.send(size, &mut search);
            }
            if !search.is_round_over() && round.patience == Patience::Timeout {
                timeouts += 1;
            }
        }
        let found = search.finish();
        assert!(found.sent <= Search::MOST_DATAGRAMS);
        assert!(
            found.largest_confirmed <= self.mtu,
            "nothing larger than the path's MTU can arrive"
        );
        Outcome { found, timeouts }
    }
}

fn jumbo() -> Search {
    Search::new(1_280, 9_000, &CANDIDATES, 9_000)
}

fn any_icmp() -> impl Strategy<Value = Icmp> {
    prop_oneof![
        Just(Icmp::Never),
        Just(Icmp::Always),
        (2_u32..50).prop_map(Icmp::OneIn),
        (0_u16..10_000).prop_map(Icmp::Lies),
        Just(Icmp::Babbles),
    ]
}

proptest! {
    #[test]
    fn without_loss_it_is_exact_whatever_hops_say(mtu in Search::SMALLEST..10_000, ceiling in 1_280_u16..=9_000, icmp in any_icmp()) {
        let outcome = Path::new(mtu, icmp).search(Search::new(1_280, ceiling, &CANDIDATES, 9_000));
        prop_assert_eq!(outcome.found.largest_confirmed, mtu.min(ceiling));
        prop_assert_eq!(outcome.found.smallest_failed, (mtu < ceiling).then_some(mtu + 1));
    }

    #[test]
    fn a_black_hole_takes_one_whole_timeout(mtu in Search::SMALLEST..9_000) {
        let Outcome { found, timeouts } = Path::new(mtu, Icmp::Never).search(jumbo());
        prop_assert!(found.black_hole && found.told.is_none());
        prop_assert_eq!(timeouts, 1);
        prop_assert!(found.sent <= 300, "{} datagrams", found.sent);
        prop_assert!(found.rounds <= 4);
    }

    #[test]
    fn a_hop_that_says_so_makes_it_quick(mtu in Search::SMALLEST..9_000) {
        let Outcome { found, timeouts } = Path::new(mtu, Icmp::Always).search(jumbo());
        prop_assert!(!found.black_hole);
        prop_assert_eq!(found.told.map(|told| told.mtu), Some(mtu));
        prop_assert_eq!(timeouts, 0);
        prop_assert!(found.sent <= 24, "{} datagrams", found.sent);
    }

    #[test]
    fn errors_that_are_rate_limited_cost_at_most_two_timeouts(mtu in Search::SMALLEST..9_000, one_in in 2_u32..200) {
        let Outcome { found, timeouts } = Path::new(mtu, Icmp::OneIn(one_in)).search(jumbo());
        prop_assert_eq!(found.told.map(|told| told.mtu), Some(mtu));
        prop_assert!(timeouts <= 2, "{timeouts}");
    }

    #[test]
    fn a_lie_costs_time_and_is_shown(mtu in 1_280_u16..9_000, lie in 0_u16..10_000) {
        let Outcome { found, timeouts } = Path::new(mtu, Icmp::Lies(lie)).search(jumbo());
        prop_assert_eq!(found.told.map(|told| told.mtu), Some(lie));
        prop_assert!(timeouts <= 3, "{timeouts}");
    }

    #[test]
    fn any_sequence_of_answers_is_survived(
        numbers in (0_u16..12_000, 0_u16..12_000, 0_u16..12_000),
        answers in proptest::collection::vec((0_u8..4, 0_u16..12_000, 0_u16..12_000), 0..60),
    ) {
        let mut search = Search::new(numbers.0, numbers.1, &[numbers.2, 0, u16::MAX], numbers.1.max(numbers.0));
        let by = IpAddr::from([192, 0, 2, 1]);
        for (what, size, mtu) in answers {
            match what {
                0 => { search.next_round(); }
                1 => search.confirm(size),
                2 => search.too_big(Some(size), TooBig { by, mtu }),
                _ => search.too_big_for_link(size, mtu),
            }
            search.is_round_over();
        }
        for _ in 0..100 {
            search.next_round();
        }
        prop_assert!(search.next_round().sizes.is_empty(), "it comes to an end");
        prop_assert!(search.finish().sent <= Search::MOST_DATAGRAMS);
    }
}

#[test]
fn a_path_that_carries_the_ceiling_takes_one_round() {
    let Outcome { found, timeouts } = Path::new(9_000, Icmp::Never).search(jumbo());
    assert_eq!((found.largest_confirmed, found.smallest_failed), (9_000, None));
    assert_eq!((found.rounds, timeouts, found.black_hole), (1, 0, false));
    assert!(found.sent <= 20);
}

#[test]
fn random_loss_is_not_mistaken_for_the_mtu() {
    for (loss_percent, most_inexact) in [(2, 1), (5, 2), (10, 4), (30, 10)] {
        let mut inexact = 0;
        for seed in 0..1_000 {
            let mtu = 1_280 + u16::try_from(seed % 7_000).unwrap();
            let icmp = if seed % 2 == 0 { Icmp::Never } else { Icmp::Always };
            let found = Path::new(mtu, icmp).losing(loss_percent, seed).search(jumbo()).found;
            inexact += u32::from(found.largest_confirmed != mtu);
        }
        assert!(
            inexact <= most_inexact,
            "{loss_percent} % loss: {inexact} of 1000 are not exact"
        );
    }
}

#[test]
fn a_full_path_with_loss_is_full() {
    for seed in 0..500 {
        let found = Path::new(1_500, Icmp::Never)
            .losing(30, seed)
            .search(Search::new(1_280, 1_500, &CANDIDATES, 1_500))
            .found;
        assert_eq!(
            (found.largest_confirmed, found.black_hole),
            (1_500, false),
            "seed {seed}"
        );
    }
}

/// A search that knows what became of other datagrams.
fn after(search: Search, sent: u32, arrived: u32) -> Search {
    let mut search = search;
    search.know_loss(sent, arrived);
    search
}

#[test]
fn heavy_loss_leaves_sizes_open_and_never_makes_one_up() {
    for (loss_percent, least_full) in [(50, 290), (75, 200), (85, 100), (95, 0)] {
        let arrived = u32::try_from(26 * (100 - loss_percent) / 100).unwrap();
        let mut full = 0;
        for seed in 0..300 {
            let search = after(Search::new(1_280, 1_500, &CANDIDATES, 1_500), 26, arrived);
            let found = Path::new(1_500, Icmp::Never)
                .losing(loss_percent, seed)
                .search(search)
                .found;
            full += u32::from(found.largest_confirmed == 1_500);
            assert!(
                found.largest_confirmed == 1_500 || found.largest_confirmed == 0 || found.left_open,
                "{loss_percent} %, seed {seed}: {found:?}"
            );
            let claimed = found.smallest_failed.filter(|_| found.largest_confirmed > 0);
            assert!(!found.black_hole && claimed.is_none(), "{found:?}");
        }
        assert!(
            full >= least_full,
            "{loss_percent} %: {full} of 300 find that 1500 bytes arrive"
        );
    }
}

#[test]
fn a_narrow_path_beside_loss_is_still_found() {
    for (loss_percent, least_found) in [(30, 290), (50, 250), (75, 100)] {
        let arrived = u32::try_from(26 * (100 - loss_percent) / 100).unwrap();
        let mut proven = 0;
        for seed in 0..300 {
            let search = after(Search::new(1_280, 1_500, &CANDIDATES, 1_500), 26, arrived);
            let found = Path::new(1_400, Icmp::Never)
                .losing(loss_percent, seed)
                .search(search)
                .found;
            assert!(
                found.largest_confirmed == 0 || found.smallest_failed.is_none_or(|size| size > 1_400),
                "{loss_percent} %, seed {seed}: {found:?}"
            );
            proven += u32::from(
                found
                    .smallest_failed
                    .is_some_and(|size| (1_401..=1_500).contains(&size)),
            );
        }
        assert!(
            proven >= least_found,
            "{loss_percent} %: {proven} of 300 find that 1500 bytes do not arrive"
        );
    }
}

#[test]
fn the_beat_of_a_policer_is_no_size() {
    // Of so many datagrams in a row one gets through.
    for beat in 2..=12 {
        for phase in 0..beat {
            let mut search = after(Search::new(1_280, 1_500, &CANDIDATES, 1_500), 24, 24 / beat);
            let mut nth = phase;
            loop {
                let round = search.next_round();
                for &size in &round.sizes {
                    nth += 1;
                    if nth % beat == 0 {
                        search.confirm(size);
                    }
                }
                if round.sizes.is_empty() {
                    break;
                }
            }
            let found = search.finish();
            assert!(
                found.largest_confirmed == 0 || found.smallest_failed.is_none(),
                "one of {beat}, beginning with {phase}: {found:?}"
            );
        }
    }
}

#[test]
fn silence_is_no_black_hole() {
    let Outcome { found, timeouts } = Path::new(0, Icmp::Never).search(jumbo());
    assert_eq!((found.largest_confirmed, found.black_hole), (0, false));
    assert_eq!(timeouts, 1, "the tries before the last overlap");
    assert!(found.sent <= 30);
}

#[test]
fn where_another_source_port_gets_through_its_path_is_measured_from_the_beginning() {
    let mut search = jumbo();
    let first = search.next_round();
    assert!(!search.is_silent());
    let again = search.next_round();
    assert!(search.is_silent() && again.sizes.iter().all(|size| *size == Search::SMALLEST));
    search.confirm(Search::SMALLEST);
    assert_eq!(search.next_round().sizes, first.sizes);
    search.confirm(9_000);
    assert!(search.next_round().sizes.is_empty());
    assert_eq!(
        (search.finish().largest_confirmed, search.finish().black_hole),
        (9_000, false)
    );
}

#[test]
fn the_own_link_is_told_from_the_path() {
    let mut search = Search::new(1_280, 9_000, &CANDIDATES, 9_000);
    let sizes = search.next_round().sizes;
    assert_eq!(sizes[0], 9_000, "the largest first");
    for size in sizes {
        if size > 1_500 {
            search.too_big_for_link(size, 1_500);
        } else {
            search.confirm(size);
        }
    }
    assert!(search.is_round_over());
    assert!(search.next_round().sizes.is_empty());
    let found = search.finish();
    assert_eq!(
        (found.largest_confirmed, found.smallest_failed, found.link_mtu),
        (1_500, None, 1_500)
    );
}

#[test]
fn a_narrower_hop_further_on_is_found_as_well() {
    // 9000, then a hop of 1500 that says so, then one of 1400 that says so.
    let mut search = jumbo();
    let hops = [(1_500, 1), (1_400, 2)];
    loop {
        let round = search.next_round();
        if round.sizes.is_empty() {
            break;
        }
        for size in round.sizes {
            match hops.iter().find(|(mtu, _)| size > *mtu) {
                None => search.confirm(size),
                Some(&(mtu, hop)) => search.too_big(
                    Some(size),
                    TooBig {
                        by: IpAddr::from([192, 0, 2, hop]),
                        mtu,
                    },
                ),
            }
        }
        assert!(search.is_round_over());
    }
    let found = search.finish();
    assert_eq!(found.largest_confirmed, 1_400);
    assert_eq!(
        found.told,
        Some(TooBig {
            by: IpAddr::from([192, 0, 2, 2]),
            mtu: 1_400
        })
    );
}
