//! Moments and how long ago they were.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use crate::serve::view::Freshness;
use crate::serve::view::freshness::Currency;

/// A moment as a person reads it: `2026-11-21 11:58 UTC`.
pub(super) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// How long ago something was: `4 min ago`.
pub(super) fn ago(age: SignedDuration) -> String {
    let seconds = age.as_secs();
    match seconds {
        ..0 => format!("in {}", span(-seconds)),
        0..60 => "just now".to_owned(),
        _ => format!("{} ago", span(seconds)),
    }
}

/// A number of seconds in the unit that suits it.
fn span(seconds: i64) -> String {
    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;
    match seconds {
        ..60 => format!("{seconds} s"),
        60..5_400 => format!("{} min", (seconds + 30) / 60),
        5_400..129_600 => format!("{} h", (seconds + HOUR / 2) / HOUR),
        _ => format!("{} days", (seconds + DAY / 2) / DAY),
    }
}

/// How long ago a moment was, with the moment itself in its title. A script keeps it true while the page is open.
pub(super) fn since(at: Timestamp, shown_at: Timestamp) -> Markup {
    html! {
        time datetime=(at) title=(moment(at)) data-age="" { (ago(shown_at.duration_since(at))) }
    }
}

/// A moment and how long ago it was.
pub(super) fn moment_and_age(at: Timestamp, shown_at: Timestamp) -> Markup {
    html! { (moment(at)) ", " (since(at, shown_at)) }
}

/// Of when something is; that it is old, if it is.
pub(super) fn freshness(freshness: &Freshness) -> Markup {
    let Some(as_of) = freshness.as_of else {
        return html! { span.old { span aria-hidden="true" { "? " } "no audit has finished yet" } };
    };
    let age = html! { "as of " (moment_and_age(as_of, freshness.shown_at)) };
    match freshness.currency() {
        Currency::Current | Currency::Never => html! { span.fresh { (age) } },
        Currency::Old => html! {
            span.old {
                span aria-hidden="true" { "! " } "OLD: " (age)
                @if let Some(until) = freshness.current_until {
                    "; a newer result was due by " (moment(until))
                } @else {
                    ", which lies ahead of this clock"
                }
            }
        },
    }
}

/// Whether what is shown may be taken for what is.
pub(super) fn is_current(freshness: &Freshness) -> bool {
    freshness.currency() == Currency::Current
}

/// How long something took: `4.2 s`, `3 min`.
pub(super) fn took(duration: SignedDuration) -> String {
    let millis = duration.as_millis().max(0);
    match millis {
        ..10_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => span(i64::try_from(millis / 1000).unwrap_or(i64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_in_the_unit_that_suits_them() {
        let words = |seconds| ago(SignedDuration::from_secs(seconds));
        let expected = [
            (5, "just now"),
            (60, "1 min ago"),
            (5_399, "90 min ago"),
            (5_400, "2 h ago"),
            (86_400, "24 h ago"),
            (200_000, "2 days ago"),
            (-30, "in 30 s"),
        ];
        for (seconds, text) in expected {
            assert_eq!(words(seconds), text);
        }
        assert_eq!(took(SignedDuration::from_millis(4_250)), "4.2 s");
        assert_eq!(took(SignedDuration::from_secs(150)), "3 min");
    }

    #[test]
    fn what_is_old_is_called_old() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let mut shown = Freshness {
            as_of: Some(at("2026-11-21T11:58:00Z")),
            shown_at: at("2026-11-21T12:02:00Z"),
            current_until: Some(at("2026-11-21T13:10:00Z")),
        };
        let current = freshness(&shown).into_string();
        assert!(current.contains("2026-11-21 11:58 UTC") && current.contains("4 min ago") && !current.contains("OLD"));
        shown.shown_at = at("2026-11-21T15:00:00Z");
        let old = freshness(&shown).into_string();
        assert!(old.contains("OLD") && old.contains("3 h ago") && old.contains("due by 2026-11-21 13:10 UTC"));
        assert!(
            freshness(&Freshness::never(shown.shown_at))
                .into_string()
                .contains("no audit has finished yet")
        );
    }
}
