//! What names resolve to on this node, by its own resolver.

use std::io;
use std::net::IpAddr;
use std::time::Instant;

use futures::StreamExt;
use prejoin_checks::facts::kernel::ResolvedName;
use prejoin_checks::facts::provenance::{Reason, Unknown};

/// How many names are asked at once: each takes a thread while it waits.
const AT_ONCE: usize = 8;

/// Resolves names, in the order given. A lookup that is late is left behind; its thread ends when the resolver gives up.
pub(super) async fn resolve(names: &[String], deadline: Instant) -> Vec<ResolvedName> {
    let lookups = names.iter().map(|name| async move {
        ResolvedName {
            name: name.clone(),
            result: lookup(name, deadline).await,
        }
    });
    futures::stream::iter(lookups).buffered(AT_ONCE).collect().await
}

async fn lookup(name: &str, deadline: Instant) -> Result<Vec<IpAddr>, Unknown> {
    let late = || Unknown::new(Reason::Unreachable, format!("resolve {name}: no answer in time"));
    if Instant::now() >= deadline {
        return Err(late());
    }
    let answer = tokio::time::timeout_at(deadline.into(), tokio::net::lookup_host((name, 0)))
        .await
        .map_err(|_| late())?;
    let mut addresses = Vec::new();
    for address in answer.map_err(|error| unresolved(name, &error))? {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    if addresses.is_empty() {
        return Err(Unknown::not_found(format!("resolve {name}: no address")));
    }
    Ok(addresses)
}

/// The resolver tells "there is no such name" from "nobody answered" in words only.
fn unresolved(name: &str, error: &io::Error) -> Unknown {
    let text = error.to_string();
    let nobody_answered = ["Temporary failure", "Try again", "System error"]
        .iter()
        .any(|words| text.contains(words));
    let reason = if nobody_answered {
        Reason::Unreachable
    } else {
        Reason::NotFound
    };
    Unknown::new(reason, format!("resolve {name}: {text}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_address_is_its_own_name_and_an_impossible_name_is_not_found() {
        let names = ["::1", "192.0.2.7", "name with spaces"].map(str::to_owned);
        let resolved = resolve(&names, Instant::now() + Duration::from_secs(30)).await;
        assert_eq!(resolved[0].result, Ok(vec![IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16])]));
        assert_eq!(resolved[1].result, Ok(vec![IpAddr::from([192, 0, 2, 7])]));
        assert!(resolved[2].result.is_err(), "{:?}", resolved[2]);
    }

    #[tokio::test]
    async fn after_the_deadline_nobody_is_asked() {
        let resolved = resolve(&["localhost".to_owned()], Instant::now()).await;
        assert_eq!(resolved[0].result.as_ref().unwrap_err().reason, Reason::Unreachable);
    }

    #[test]
    fn that_nobody_answered_is_not_that_there_is_no_such_name() {
        let because = |text: &str| unresolved("x", &io::Error::other(text)).reason;
        assert_eq!(
            because("failed to lookup address information: Temporary failure in name resolution"),
            Reason::Unreachable
        );
        assert_eq!(
            because("failed to lookup address information: Try again"),
            Reason::Unreachable
        );
        assert_eq!(
            because("failed to lookup address information: Name or service not known"),
            Reason::NotFound
        );
        assert_eq!(
            because("failed to lookup address information: Name does not resolve"),
            Reason::NotFound
        );
    }
}
