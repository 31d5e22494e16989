//! All checks, by code.

use crate::check::Check;
use crate::checks;

/// Every check, family by family.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    [
        checks::net::CHECKS,
        checks::clustermesh::CHECKS,
        checks::submariner::CHECKS,
    ]
    .into_iter()
    .flat_map(|family| family.iter())
    .flat_map(|subject| subject.iter())
    .copied()
}

/// The check with this code or slug.
pub fn find(name: &str) -> Option<&'static Check> {
    checks().find(|check| check.code.eq_ignore_ascii_case(name) || check.slug.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_and_slugs_are_unique_and_well_formed() {
        let mut seen = BTreeSet::new();
        for check in checks() {
            assert!(seen.insert(check.code), "{} is used twice", check.code);
            assert!(seen.insert(check.slug), "{} is used twice", check.slug);
            let (family, number) = check.code.split_at(check.code.len() - 3);
            assert!(["NET", "CM", "SM"].contains(&family), "{}", check.code);
            assert!(number.parse::<u16>().is_ok(), "{}", check.code);
            assert!(
                check
                    .slug
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{}",
                check.slug
            );
        }
    }

    #[test]
    fn every_page_has_its_headings() {
        for check in checks() {
            for heading in [
                "## What it checks",
                "## Why it matters",
                "## How it is determined",
                "## How to fix",
                "## References",
            ] {
                assert!(
                    check.documentation.contains(heading),
                    "{} lacks `{heading}`",
                    check.code
                );
            }
            assert!(!check.why.is_empty() && !check.title.is_empty(), "{}", check.code);
        }
    }
}
