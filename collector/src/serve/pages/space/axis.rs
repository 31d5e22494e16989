//! [`Axis`]: addresses from left to right. As a whole it shows the islands that are in use, with what lies between them left out;
//! zoomed, one block.

use std::collections::BTreeMap;

use prejoin_checks::cidr::Cidr;

/// So many islands are side by side; those with fewest ranges are left out, and named.
const ISLANDS: usize = 8;
/// A gap between islands, in units of the picture.
const GAP: f64 = 10.0;
/// No island is narrower.
const NARROWEST: f64 = 92.0;

/// Blocks side by side.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub(super) segments: Vec<Segment>,
    /// Islands for which there was no room.
    pub(super) left_out: Vec<Cidr>,
}

/// One block with its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Segment {
    pub(super) cidr: Cidr,
    pub(super) left: f64,
    pub(super) width: f64,
}

impl Axis {
    /// One block, whole.
    pub(super) fn of(cidr: Cidr, width: f64) -> Self {
        let segment = Segment { cidr, left: 0.0, width };
        Self {
            segments: vec![segment],
            left_out: Vec::new(),
        }
    }

    /// The islands that hold these blocks.
    pub(super) fn overview(used: &[Cidr], width: f64) -> Self {
        let mut islands: BTreeMap<Cidr, Vec<Cidr>> = BTreeMap::new();
        for cidr in used {
            islands.entry(home(*cidr)).or_default().push(*cidr);
        }
        let mut islands: Vec<(Cidr, usize)> = islands
            .into_iter()
            .map(|(home, blocks)| (shore(home, &blocks), blocks.len()))
            .collect();
        let mut left_out = Vec::new();
        if islands.len() > ISLANDS {
            islands.sort_by_key(|(cidr, blocks)| (std::cmp::Reverse(*blocks), *cidr));
            left_out = islands.split_off(ISLANDS).into_iter().map(|(cidr, _)| cidr).collect();
            left_out.sort_unstable();
            islands.sort_unstable();
        }
        // The more there is to see on an island, the wider it is, but not in proportion: a small one matters as much.
        let weight = |blocks: usize| f64::from(u32::try_from(blocks).unwrap_or(u32::MAX)).sqrt();
        let count = f64::from(u32::try_from(islands.len()).unwrap_or(1).max(1));
        let total: f64 = islands.iter().map(|(_, blocks)| weight(*blocks)).sum();
        let free = (width - GAP * (count - 1.0) - NARROWEST * count).max(0.0);
        let mut left = 0.0;
        let segments = islands.into_iter().map(|(cidr, blocks)| {
            let width = NARROWEST + free * weight(blocks) / total;
            let segment = Segment { cidr, left, width };
            left += width + GAP;
            segment
        });
        Self {
            segments: segments.collect(),
            left_out,
        }
    }

    /// Where a block is: left end and width in each segment that shows some of it.
    pub(super) fn places(&self, cidr: Cidr) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.segments.iter().filter_map(move |segment| segment.place(cidr))
    }
}

impl Segment {
    /// Where a block is in this segment, clipped to it.
    fn place(&self, cidr: Cidr) -> Option<(f64, f64)> {
        if !cidr.overlaps(self.cidr) {
            return None;
        }
        if cidr.contains(self.cidr) {
            return Some((self.left, self.width));
        }
        // The block is inside: it starts so many blocks of its own size from the segment's start.
        let share = 2_f64.powi(-i32::from(cidr.prefix_len() - self.cidr.prefix_len()));
        Some((
            self.left + self.width * share_before(self.cidr, cidr),
            self.width * share,
        ))
    }
}

/// How much of `outer` lies before `inner`, which lies in it: from 0 to 1.
fn share_before(outer: Cidr, inner: Cidr) -> f64 {
    let (start, first) = (bits(outer), bits(inner));
    let host_bits = i32::from(outer.size_log2());
    #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
    let before = (first - start) as f64;
    before * 2_f64.powi(-host_bits)
}

fn bits(cidr: Cidr) -> u128 {
    match cidr.first() {
        std::net::IpAddr::V4(first) => u128::from(first.to_bits()),
        std::net::IpAddr::V6(first) => first.to_bits(),
    }
}

/// The sixteen parts of a block, or as many as it has.
pub(super) fn parts(cidr: Cidr) -> Vec<Cidr> {
    let steps = cidr.size_log2().min(4);
    let mut parts = vec![cidr];
    for _ in 0..steps {
        parts = parts
            .into_iter()
            .flat_map(|part| {
                let half = Cidr::new(part.first(), part.prefix_len() + 1);
                half.into_iter().flat_map(move |low| {
                    let high = Cidr::new(part.last(), part.prefix_len() + 1);
                    [Some(low), high].into_iter().flatten()
                })
            })
            .collect();
    }
    parts
}

/// What a block is an island of: a private block, else a /8 of IPv4 or a /32 of IPv6, or itself if that is larger.
fn home(cidr: Cidr) -> Cidr {
    let of_its_kind = if cidr.is_ipv4() { 8 } else { 32 };
    let private = cidr.private_block().filter(|block| block.is_ipv4());
    private.or_else(|| cidr.supernet(of_its_kind)).unwrap_or(cidr)
}

/// The smallest block around all of these, and no smaller than one can look at.
fn shore(home: Cidr, blocks: &[Cidr]) -> Cidr {
    let ends: Vec<_> = blocks.iter().flat_map(|block| [block.first(), block.last()]).collect();
    let around = Cidr::smallest_covering(&ends).first().copied().unwrap_or(home);
    let most = if around.is_ipv4() { 24 } else { 64 };
    around.supernet(most).unwrap_or(around)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn close(found: (f64, f64), expected: (f64, f64)) {
        assert!(
            (found.0 - expected.0).abs() < 1e-6 && (found.1 - expected.1).abs() < 1e-6,
            "{found:?} {expected:?}"
        );
    }

    #[test]
    fn a_block_lies_where_its_addresses_do() {
        let axis = Axis::of(cidr("10.0.0.0/8"), 256.0);
        close(axis.places(cidr("10.64.0.0/16")).next().unwrap(), (64.0, 1.0));
        close(axis.places(cidr("0.0.0.0/0")).next().unwrap(), (0.0, 256.0));
        assert_eq!(axis.places(cidr("11.0.0.0/16")).next(), None);
        assert_eq!(axis.places(cidr("fd00::/16")).next(), None);
        let whole = Axis::of(cidr("::/0"), 2.0);
        close(whole.places(cidr("8000::/1")).next().unwrap(), (1.0, 1.0));
    }

    #[test]
    fn islands_are_side_by_side_in_order_and_fill_the_picture() {
        let used = [
            "10.1.0.0/16",
            "10.2.0.0/16",
            "172.31.1.1/32",
            "100.64.0.0/19",
            "fd00:1::/48",
        ]
        .map(cidr);
        let axis = Axis::overview(&used, 1000.0);
        let shown: Vec<String> = axis.segments.iter().map(|segment| segment.cidr.to_string()).collect();
        assert_eq!(shown, ["10.0.0.0/14", "100.64.0.0/19", "172.31.1.0/24", "fd00:1::/48"]);
        let last = axis.segments.last().unwrap();
        assert!((last.left + last.width - 1000.0).abs() < 1e-6);
        assert!(
            axis.segments
                .windows(2)
                .all(|pair| pair[0].left + pair[0].width < pair[1].left)
        );
        for block in used {
            assert_eq!(axis.places(block).count(), 1, "{block}");
        }
    }

    #[test]
    fn islands_without_room_are_named() {
        let used: Vec<Cidr> = (20..40).map(|first| cidr(&format!("{first}.0.0.0/16"))).collect();
        let axis = Axis::overview(&used, 1000.0);
        assert_eq!((axis.segments.len(), axis.left_out.len()), (8, 12));
    }

    #[test]
    fn a_block_has_sixteen_parts_in_order() {
        let parts16 = parts(cidr("10.0.0.0/8"));
        assert_eq!(
            (parts16.len(), parts16[1].to_string(), parts16[15].to_string()),
            (16, "10.16.0.0/12".to_owned(), "10.240.0.0/12".to_owned())
        );
        assert_eq!(parts(cidr("10.0.0.0/31")).len(), 2);
        assert_eq!(parts(cidr("10.0.0.1/32")), [cidr("10.0.0.1/32")]);
    }
}
