//! Fewer points of many: what stood out stays.

use crate::serve::view::path::{PathPoint, RoundTripPoint};

/// A chart has room for so many points.
const MOST: usize = 320;

/// At most [`MOST`] points, and how many of the original ones are in one at most. Of several, the least minimum, the median median, the
/// largest percentile, the smallest MTU and the largest offset are kept; counts are added.
pub(super) fn thin(points: &[PathPoint]) -> (Vec<PathPoint>, usize) {
    let size = points.len().div_ceil(MOST).max(1);
    (points.chunks(size).filter_map(merge).collect(), size)
}

fn merge(points: &[PathPoint]) -> Option<PathPoint> {
    let mut last = *points.last()?;
    let mut trips: Vec<RoundTripPoint> = points.iter().filter_map(|point| point.round_trip).collect();
    trips.sort_unstable_by_key(|trip| trip.median_micros);
    last.round_trip = trips.get(trips.len() / 2).map(|median| RoundTripPoint {
        min_micros: trips
            .iter()
            .map(|trip| trip.min_micros)
            .min()
            .unwrap_or(median.min_micros),
        median_micros: median.median_micros,
        p95_micros: trips
            .iter()
            .map(|trip| trip.p95_micros)
            .max()
            .unwrap_or(median.p95_micros),
        samples: trips.iter().map(|trip| trip.samples).sum(),
    });
    last.sent = points.iter().map(|point| point.sent).sum();
    last.lost = points.iter().map(|point| point.lost).sum();
    last.path_mtu = points.iter().filter_map(|point| point.path_mtu).min();
    last.clock = points
        .iter()
        .filter_map(|point| point.clock)
        .max_by_key(|clock| clock.offset_micros.unsigned_abs());
    Some(last)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_year_of_hours_fits_and_one_bad_hour_stays_visible() {
        let points: Vec<PathPoint> = (0..8_760)
            .map(|hour| PathPoint {
                at: Timestamp::from_second(1_764_000_000 + hour * 3_600).unwrap(),
                node_pairs: 2,
                round_trip: Some(RoundTripPoint {
                    min_micros: 300,
                    median_micros: 400,
                    p95_micros: if hour == 5_000 { 90_000 } else { 500 },
                    samples: 20,
                }),
                sent: 20,
                lost: u64::from(hour == 5_000),
                path_mtu: Some(if hour == 5_000 { 1_400 } else { 1_500 }),
                clock: None,
            })
            .collect();
        let (thinned, size) = thin(&points);
        assert!(thinned.len() <= MOST && size == 28, "{} {size}", thinned.len());
        assert_eq!(thinned.iter().filter(|point| point.path_mtu == Some(1_400)).count(), 1);
        assert!(
            thinned
                .iter()
                .any(|point| point.round_trip.is_some_and(|trip| trip.p95_micros == 90_000))
        );
        assert_eq!(thinned.iter().map(|point| point.lost).sum::<u64>(), 1);
        assert_eq!(thinned.iter().map(|point| point.sent).sum::<u64>(), 20 * 8_760);
        assert_eq!(thinned.last().unwrap().at, points.last().unwrap().at);
    }

    #[test]
    fn few_points_stay_as_they_are() {
        assert_eq!(thin(&[]).0.len(), 0);
    }
}
