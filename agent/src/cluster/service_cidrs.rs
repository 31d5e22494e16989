//! `ServiceCIDR` objects: where Services get their addresses from.

use prejoin_checks::cidr::Cidr;
use prejoin_checks::facts::provenance::{Fact, Source};
use serde::Deserialize;

use super::permissions::SERVICE_CIDRS;
use super::reader::{Reader, Scope};

#[derive(Deserialize)]
struct Object {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    cidrs: Vec<Cidr>,
}

pub(crate) async fn read(reader: &Reader<'_>) -> Fact<Vec<Cidr>> {
    let cidrs = reader
        .list(&SERVICE_CIDRS, Scope::ALL, |cidrs: &mut Vec<Cidr>, object: Object| {
            cidrs.extend(object.spec.cidrs);
            Ok(())
        })
        .await;
    cidrs.map_or_else(Fact::Unknown, |cidrs| {
        Fact::known(cidrs, Source::read("ServiceCIDRs", "spec.cidrs"))
    })
}
