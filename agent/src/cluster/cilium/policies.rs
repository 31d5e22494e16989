//! Cilium's network policies, as far as a mesh looks at them: do any ask for mutual authentication?

use prejoin_checks::facts::cilium::Policies;
use prejoin_checks::facts::provenance::{Fact, Known, Reason, Source, Unknown};
use serde::Deserialize;

use super::Settings;
use crate::cluster::object::{Meta, or_default};
use crate::cluster::permissions::{CILIUM_CLUSTERWIDE_POLICIES, CILIUM_POLICIES};
use crate::cluster::reader::{Reader, Scope};

#[derive(Deserialize)]
struct Object {
    metadata: Meta,
    spec: Option<Rule>,
    #[serde(default, deserialize_with = "or_default")]
    specs: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    #[serde(default, deserialize_with = "or_default")]
    ingress: Vec<Direction>,
    #[serde(default, deserialize_with = "or_default")]
    egress: Vec<Direction>,
}

#[derive(Deserialize)]
struct Direction {
    authentication: Option<Authentication>,
}

#[derive(Deserialize)]
struct Authentication {
    #[serde(default)]
    mode: String,
}

/// Reads the policies where mutual authentication is on; there may be thousands, and nothing else is looked at.
pub(super) async fn read(reader: &Reader<'_>, settings: Settings<'_>) -> Fact<Policies> {
    match settings.is_true("mesh-auth-mutual-enabled") {
        Ok(true) => {}
        Ok(false) => {
            return Fact::unknown(
                Reason::NotInstalled,
                "mutual authentication is off: no policy can ask for it",
            );
        }
        Err(unknown) => return Fact::Unknown(unknown),
    }
    let (namespaced, clusterwide) = tokio::join!(
        reader.list(&CILIUM_POLICIES, Scope::ALL, add),
        reader.list(&CILIUM_CLUSTERWIDE_POLICIES, Scope::ALL, add)
    );
    both(namespaced, clusterwide).into()
}

fn both(
    namespaced: Result<Policies, Unknown>,
    clusterwide: Result<Policies, Unknown>,
) -> Result<Known<Policies>, Unknown> {
    let (mut all, clusterwide) = (namespaced?, clusterwide?);
    all.count += clusterwide.count;
    all.requiring_authentication
        .extend(clusterwide.requiring_authentication);
    all.requiring_authentication.sort_unstable();
    Ok(Known::new(
        all,
        Source::read("CiliumNetworkPolicies", "authentication.mode"),
    ))
}

#[expect(clippy::unnecessary_wraps, reason = "the form of a reduction")]
fn add(policies: &mut Policies, object: Object) -> Result<(), String> {
    policies.count += 1;
    let rules = object.spec.into_iter().chain(object.specs);
    let mut directions = rules.flat_map(|rule| rule.ingress.into_iter().chain(rule.egress));
    if directions.any(|direction| direction.authentication.is_some_and(|auth| auth.mode == "required")) {
        policies.requiring_authentication.push(object.metadata.key());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_requires_authentication_is_named() {
        let mut policies = Policies::default();
        for json in [
            r#"{"metadata":{"name":"plain","namespace":"shop"},"spec":{"ingress":[{"fromEndpoints":[{}]}]}}"#,
            r#"{"metadata":{"name":"auth","namespace":"shop"},"specs":[{"egress":[{"authentication":{"mode":"required"}}]}]}"#,
            r#"{"metadata":{"name":"off","namespace":"shop"},"spec":{"ingress":[{"authentication":{"mode":"disabled"}}]}}"#,
        ] {
            add(&mut policies, serde_json::from_str(json).unwrap()).unwrap();
        }
        assert_eq!(
            (policies.count, policies.requiring_authentication),
            (3, vec!["shop/auth".to_owned()])
        );
    }
}
