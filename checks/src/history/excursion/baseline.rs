//! The past of a path: medians and median deviations, and a sum of little steps.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LASTING, LEAST_AUDITS, LEAST_DAYS, MOST_DAYS, shown_span};
use crate::history::measure::Measure;
use crate::observation::millis;

/// Of so many measures of the same hour of the week the past is made, where there are as many.
const LEAST_OF_AN_HOUR: usize = 4;

/// What a path usually is like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Baseline {
    /// The median of the audits, in microseconds.
    pub median_micros: u64,
    /// The median of how far audits are off that, in microseconds.
    pub deviation_micros: u64,
    /// How many audits it is of.
    pub audits: u64,
    /// How many samples those have.
    pub samples: u64,
    /// Whether they are of the same hour of the week alone.
    pub same_hour: bool,
}

/// What is held against its past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    LeastRoundTrip,
    MedianRoundTrip,
    Variation,
    Clock,
}

impl Quantity {
    fn of(self, measure: &Measure) -> Option<(u64, u64)> {
        if self == Self::Clock {
            let offset = measure.clock?.offset_micros;
            return Some((offset.unsigned_abs(), 1));
        }
        let trips = measure.round_trip?;
        let value = match self {
            Self::LeastRoundTrip => trips.min_micros,
            Self::MedianRoundTrip => trips.median_micros,
            Self::Variation => trips.variation_micros(),
            Self::Clock => return None,
        };
        Some((value, trips.samples))
    }

    /// Less than this is noise of hosts, whatever the past says.
    fn noise_micros(self) -> u64 {
        match self {
            Self::LeastRoundTrip | Self::MedianRoundTrip => 200,
            Self::Variation => 1_000,
            Self::Clock => 10_000,
        }
    }
}

impl Baseline {
    fn of(quantity: Quantity, measures: &[&Measure], same_hour: bool) -> Option<Self> {
        let mut values: Vec<u64> = Vec::new();
        let mut samples = 0;
        for (value, count) in measures.iter().filter_map(|measure| quantity.of(measure)) {
            values.push(value);
            samples += count;
        }
        let median_micros = median(&mut values)?;
        let mut off: Vec<u64> = values.iter().map(|value| value.abs_diff(median_micros)).collect();
        let deviation = median(&mut off)?;
        Some(Self {
            median_micros,
            deviation_micros: deviation.max(quantity.noise_micros() / 4),
            audits: values.len() as u64,
            samples,
            same_hour,
        })
    }

    /// How far off is out of the ordinary: three standard deviations, which are 1.4826 median deviations each, and at least a tenth.
    fn margin_micros(&self) -> u64 {
        (self.deviation_micros.saturating_mul(44_478) / 10_000).max(self.median_micros / 10)
    }

    /// Whether a value is above what it ordinarily is.
    pub(super) fn is_exceeded_by(&self, value: u64) -> bool {
        value > self.median_micros.saturating_add(self.margin_micros())
    }

    /// Whether a value is above or below what it ordinarily is.
    pub(super) fn differs_from(&self, value: u64) -> bool {
        value.abs_diff(self.median_micros) > self.margin_micros()
    }

    /// `0.40 ms ± 0.05 ms before (336 audits, 10080 samples)`.
    pub(super) fn shown(&self) -> String {
        format!(
            "{} ± {} before ({} audits{}, {} samples)",
            millis(self.median_micros),
            millis(self.deviation_micros),
            self.audits,
            if self.same_hour {
                " at this hour of the week"
            } else {
                ""
            },
            self.samples
        )
    }
}

fn median(values: &mut [u64]) -> Option<u64> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable(middle).1)
}

/// The measures that a present one is held against.
pub(super) struct Past<'m> {
    measures: &'m [Measure],
    /// Those of the past proper: no experiments, not too old, and not the last few, which are what is judged.
    kept: Vec<&'m Measure>,
    same_hour: Vec<&'m Measure>,
}

impl<'m> Past<'m> {
    /// Of measures in order of time, of which the last is judged.
    pub(super) fn of(measures: &'m [Measure]) -> Self {
        let now = measures.last().map_or(Timestamp::MIN, |measure| measure.at);
        let oldest = now.saturating_sub(SignedDuration::from_hours(24 * MOST_DAYS));
        let oldest = oldest.unwrap_or(Timestamp::MIN);
        let before = &measures[..measures.len().saturating_sub(LASTING)];
        let kept: Vec<&Measure> = before
            .iter()
            .filter(|measure| measure.at >= oldest && measure.experiment.is_none())
            .collect();
        let hour = |at: Timestamp| at.as_second().div_euclid(3_600).rem_euclid(168);
        let same_hour: Vec<&Measure> = kept
            .iter()
            .copied()
            .filter(|measure| hour(measure.at) == hour(now))
            .collect();
        Self {
            measures,
            kept,
            same_hour,
        }
    }

    fn span(&self) -> SignedDuration {
        match (self.kept.first(), self.measures.last()) {
            (Some(first), Some(last)) => last.at.duration_since(first.at),
            _ => SignedDuration::ZERO,
        }
    }

    /// Why the past is not long enough to judge by, if so.
    pub(super) fn too_little(&self) -> Option<String> {
        let enough = self.kept.len() >= LEAST_AUDITS && self.span() >= SignedDuration::from_hours(24 * LEAST_DAYS);
        (!enough).then(|| {
            format!(
                "{} earlier audits over {} are too little to judge by: {LEAST_AUDITS} over {LEAST_DAYS} days are enough",
                self.kept.len(),
                shown_span(self.span())
            )
        })
    }

    /// What a quantity usually is; none if the past is too short.
    pub(super) fn baseline(&self, quantity: Quantity) -> Option<Baseline> {
        if self.too_little().is_some() {
            return None;
        }
        if self.same_hour.len() >= LEAST_OF_AN_HOUR
            && let Some(baseline) = Baseline::of(quantity, &self.same_hour, true)
            && baseline.audits >= LEAST_OF_AN_HOUR as u64
        {
            return Some(baseline);
        }
        Baseline::of(quantity, &self.kept, false).filter(|baseline| baseline.audits >= LEAST_AUDITS as u64)
    }

    /// The path MTU that most audits found. Sizes do not scatter: three audits are enough.
    pub(super) fn usual_mtu(&self) -> Option<u16> {
        let mut sizes: Vec<u16> = self.kept.iter().filter_map(|measure| measure.path_mtu).collect();
        sizes.sort_unstable();
        (sizes.len() >= 3).then(|| sizes[sizes.len() / 2])
    }

    /// The loss of the past.
    pub(super) fn loss(&self) -> Loss {
        let enough = self.too_little().is_none();
        let of = |count: fn(&Measure) -> u64| self.kept.iter().map(|measure| count(measure)).sum::<u64>();
        Loss {
            known: enough,
            sent: of(|measure| measure.sent),
            lost: of(|measure| measure.sent.saturating_sub(measure.answered)),
        }
    }

    /// Since when the median round trip has crept up by little steps, by a sum of what exceeds the ordinary by half a standard deviation (CUSUM), if that
    /// sum is above five of them by now and the last day is a tenth above the first week.
    pub(super) fn crept_since(&self) -> Option<Timestamp> {
        if self.too_little().is_some() {
            return None;
        }
        let first = self.kept.first()?.at;
        let week = first.checked_add(SignedDuration::from_hours(24 * LEAST_DAYS)).ok()?;
        let begin: Vec<&Measure> = self
            .kept
            .iter()
            .copied()
            .take_while(|measure| measure.at < week)
            .collect();
        let usual = Baseline::of(Quantity::MedianRoundTrip, &begin, false)?;
        let sigma = usual.deviation_micros.saturating_mul(14_826) / 10_000;
        let (slack, limit) = (sigma / 2, sigma.saturating_mul(5));
        let mut sum = 0_u64;
        let mut since = None;
        let mut day = Vec::new();
        let last = self.measures.last()?.at;
        for measure in self
            .measures
            .iter()
            .filter(|measure| measure.at >= first && measure.experiment.is_none())
        {
            let Some((value, _)) = Quantity::MedianRoundTrip.of(measure) else {
                continue;
            };
            sum = sum
                .saturating_add(value)
                .saturating_sub(usual.median_micros.saturating_add(slack));
            match (sum, since) {
                (0, _) => since = None,
                (_, None) => since = Some(measure.at),
                _ => {}
            }
            if last.duration_since(measure.at) < SignedDuration::from_hours(24) {
                day.push(value);
            }
        }
        let of_the_last_day = median(&mut day)?;
        let moved = of_the_last_day
            > usual
                .median_micros
                .saturating_add(usual.median_micros / 10)
                .saturating_add(slack);
        since.filter(|_| sum > limit && moved)
    }
}

/// Loss of the past.
pub(super) struct Loss {
    known: bool,
    sent: u64,
    lost: u64,
}

impl Loss {
    /// Whether a measure has lost more than chance makes of the loss of the past: three standard deviations more, at least three, and at least 1 %.
    pub(super) fn is_exceeded_by(&self, measure: &Measure) -> bool {
        let lost = measure.sent.saturating_sub(measure.answered);
        if !self.known || self.sent == 0 || lost < 3 || lost * 100 < measure.sent {
            return false;
        }
        // Of few, so many are expected at most that none would be seen of three times as many: 3 of the past's samples.
        let expected = (measure.sent.saturating_mul(self.lost.max(3))).div_ceil(self.sent);
        let above = lost.saturating_sub(expected);
        above.saturating_mul(above) > expected.saturating_mul(9)
    }

    pub(super) fn shown(&self) -> String {
        format!("{} of {} before", self.lost, self.sent)
    }
}
