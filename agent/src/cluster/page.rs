//! One page of a list: its objects, each parsed on its own, and the token of the next.

use std::fmt::Write;

use prejoin_checks::facts::provenance::{Reason, Unknown};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::failure::{Failure, JsonFlaw, one_line};
use super::object::or_default;

/// What came of a list so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) objects: u64,
    unreadable: u64,
    /// The first object that could not be understood, and why.
    example: String,
}

impl Tally {
    /// Why what was kept is not the whole, if it is not.
    pub(super) fn flaw(&self, request: &str) -> Option<Unknown> {
        (self.unreadable > 0).then(|| {
            Unknown::new(
                Reason::Unparsable,
                format!(
                    "{request}: {} of {} objects cannot be understood: {}",
                    self.unreadable, self.objects, self.example
                ),
            )
        })
    }
}

/// One page of a list. Items stay text until each is parsed on its own, so that one of a wrong shape does not take the
/// others with it.
pub(super) struct Page<'a> {
    items: Vec<&'a RawValue>,
    /// The token of the next page; empty on the last.
    pub(super) next: String,
}

impl<'a> Page<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Text<'a> {
            #[serde(default)]
            metadata: PageMeta,
            #[serde(borrow, default)]
            items: Option<Vec<&'a RawValue>>,
            kind: Option<String>,
        }
        #[derive(Default, Deserialize)]
        struct PageMeta {
            #[serde(rename = "continue", default, deserialize_with = "or_default")]
            token: String,
        }
        let text: Text<'_> =
            serde_json::from_slice(body).map_err(|error| Failure::Garbled(JsonFlaw(&error).to_string()))?;
        // Go writes an empty list without its items.
        if text.items.is_none() && !text.kind.is_some_and(|kind| kind.ends_with("List")) {
            return Err(Failure::Garbled("the answer is not a list".to_owned()));
        }
        Ok(Self {
            items: text.items.unwrap_or_default(),
            next: text.metadata.token,
        })
    }

    /// Reduces the objects one by one, and counts those that cannot be understood.
    pub(super) fn reduce<T, A>(
        self,
        kept: &mut A,
        tally: &mut Tally,
        reduce: &mut impl FnMut(&mut A, T) -> Result<(), String>,
    ) where
        T: DeserializeOwned,
    {
        for item in self.items {
            tally.objects += 1;
            let result = serde_json::from_str(item.get())
                .map_err(|error| JsonFlaw(&error).to_string())
                .and_then(|object| reduce(kept, object));
            if let Err(flaw) = result {
                if tally.unreadable == 0 {
                    tally.example = format!("{}: {}", name_of(item), one_line(&flaw));
                }
                tally.unreadable += 1;
            }
        }
    }
}

/// The name of an object that could otherwise not be understood.
fn name_of(item: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Named {
        metadata: Name,
    }
    #[derive(Deserialize)]
    struct Name {
        name: String,
    }
    serde_json::from_str::<Named>(item.get()).map_or_else(
        |_| "an object without a name".to_owned(),
        |named| one_line(&named.metadata.name),
    )
}

/// The query that asks for one page.
pub(super) fn page_query(limit: u32, label_selector: Option<&str>, token: &str) -> String {
    let mut query = format!("limit={limit}");
    for (key, value) in [
        ("labelSelector", label_selector.unwrap_or_default()),
        ("continue", token),
    ] {
        if !value.is_empty() {
            query.push('&');
            query.push_str(key);
            query.push('=');
            query.push_str(&escaped(value));
        }
    }
    query
}

/// A query value or path segment in which all is escaped but unreserved characters and `:`, which stands for itself in
/// both (`system:coredns`): names come from others, and none may turn a request into another one.
pub(super) fn escaped(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut escaped, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
                escaped.push(char::from(byte));
            } else {
                let _ = write!(escaped, "%{byte:02X}");
            }
            escaped
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Sized {
        size: u8,
    }

    fn sizes(body: &str) -> (Vec<u8>, Tally, Result<String, Failure>) {
        let mut kept = Vec::new();
        let mut tally = Tally::default();
        let mut reduce = |kept: &mut Vec<u8>, object: Sized| {
            kept.push(object.size);
            Ok(())
        };
        let next = Page::parse(body.as_bytes()).map(|page| {
            let next = page.next.clone();
            page.reduce(&mut kept, &mut tally, &mut reduce);
            next
        });
        (kept, tally, next)
    }

    #[test]
    fn a_page_gives_its_objects_and_the_token_of_the_next() {
        let (kept, tally, next) = sizes(r#"{"metadata":{"continue":"abc"},"items":[{"size":1},{"size":2}]}"#);
        assert_eq!((kept, tally.objects, next), (vec![1, 2], 2, Ok("abc".to_owned())));
    }

    #[test]
    fn the_last_page_may_leave_out_what_go_leaves_out() {
        for body in [
            r#"{"kind":"NodeList"}"#,
            r#"{"kind":"NodeList","items":null}"#,
            r#"{"items":[]}"#,
        ] {
            let (kept, _, next) = sizes(body);
            assert_eq!((kept, next), (vec![], Ok(String::new())), "{body}");
        }
    }

    #[test]
    fn one_object_of_a_wrong_shape_is_counted_and_named_and_the_others_are_read() {
        let (kept, tally, next) = sizes(
            r#"{"items":[{"size":1},{"metadata":{"name":"odd"},"size":99999999999999999999},{"size":{}},{"size":3}]}"#,
        );
        assert_eq!((kept, next), (vec![1, 3], Ok(String::new())));
        let flaw = tally.flaw("list things").unwrap();
        assert_eq!(flaw.reason, Reason::Unparsable);
        assert!(
            flaw.detail
                .starts_with("list things: 2 of 4 objects cannot be understood: odd:"),
            "{flaw}"
        );
    }

    #[test]
    fn what_is_no_list_is_not_taken_for_an_empty_one() {
        for body in [
            "{}",
            "[]",
            "null",
            r#"{"kind":"Status"}"#,
            r#"{"items":[{"size":1}"#,
            "",
            "<html>",
        ] {
            let (_, _, next) = sizes(body);
            assert!(matches!(next, Err(Failure::Garbled(_))), "{body}: {next:?}");
        }
    }

    #[test]
    fn deep_nesting_is_survived() {
        let body = format!(r#"{{"items":[{}]}}"#, "[".repeat(1_000_000));
        let (_, _, next) = sizes(&body);
        assert!(next.is_err());
        let body = format!(r#"{{"items":[{}1{}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let (kept, tally, _) = sizes(&body);
        assert_eq!((kept.len(), tally.unreadable), (0, 1));
    }

    #[test]
    fn tokens_and_selectors_are_escaped() {
        assert_eq!(page_query(500, None, ""), "limit=500");
        assert_eq!(
            page_query(5, Some("a in (b,c)"), "x+/=&limit=0"),
            "limit=5&labelSelector=a%20in%20%28b%2Cc%29&continue=x%2B%2F%3D%26limit%3D0"
        );
    }
}
