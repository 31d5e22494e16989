//! Whether loss that is blind, by chance or by a policer, explains that nothing of one sort gets through.
//!
//! Of all that is sent, such loss lets some through, whichever it is. So the question is how likely it is that what got through holds none of
//! the sort that is missing: Fisher's exact test, one-sided. How much is lost makes no difference, nor whether a policer lets through so many
//! a second, as long as both sorts were on their way together.

/// How likely it is that all of `missing` are lost, where of `others` that were sent beside them so many got `through`.
pub(crate) fn of_missing_all(missing: u32, others: u32, through: u32) -> f64 {
    let (others, all) = (f64::from(others), f64::from(others) + f64::from(missing));
    (0..through)
        .map(f64::from)
        .take_while(|drawn| *drawn < others)
        .map(|drawn| (others - drawn) / (all - drawn))
        .product()
}

#[cfg(test)]
mod tests {
    use super::of_missing_all;

    #[test]
    fn it_is_the_share_of_all_draws_that_hold_none_of_the_missing() {
        // 2 of 4 got through, all of one sort of 2: one of the six pairs.
        assert!((of_missing_all(2, 2, 2) - 1.0 / 6.0).abs() < 1e-12);
        assert!(
            (of_missing_all(3, 5, 0) - 1.0).abs() < 1e-12,
            "nothing got through at all"
        );
        assert!((of_missing_all(0, 5, 5) - 1.0).abs() < 1e-12, "nothing is missing");
        // C(26, 12) of C(52, 12).
        assert!((of_missing_all(26, 26, 12) - 9_657_700.0 / 206_379_406_870.0).abs() < 1e-9);
    }
}
