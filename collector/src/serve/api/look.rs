//! What can be looked at.

use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use jiff::Timestamp;
use prejoin_checks::report::Report;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::{Deserialize, Serialize};

use super::answer::{self, Problem};
use super::{Operation, SchemaOf, of};
use crate::serve::access::{Role, Visitor};
use crate::serve::reader::StoreReader;
use crate::serve::record;
use crate::serve::store::audit_log::Deed;
use crate::serve::store::documents::Kind;
use crate::serve::view::audit::AuditFilter;
use crate::serve::view::finding::FindingFilter;
use crate::serve::view::path::PathFilter;
use crate::serve::view::{
    AddressSpace, AuditList, AuditView, ClusterView, DriftView, FindingList, FindingView, Fleet, Group, PairView,
    PathsView, Reader,
};

type Answer = Result<Response, Problem>;

pub(super) fn operations() -> Vec<Operation> {
    let look = |path, id, about, answer: SchemaOf, serve: MethodRouter<StoreReader>| Operation {
        method: Method::GET,
        path,
        id,
        about,
        role: Role::Viewer,
        query: None,
        body: None,
        answer: (200, answer),
        serve,
    };
    vec![
        look(
            "/whoami",
            "whoami",
            "Who the collector takes you for",
            of::<Whoami>,
            get(whoami),
        ),
        look("/fleet", "fleet", "All groups", of::<Fleet>, get(fleet)),
        look("/groups/{group}", "group", "One group", of::<Group>, get(group)),
        look(
            "/groups/{group}/clusters/{cluster}",
            "cluster",
            "One cluster of a group",
            of::<ClusterView>,
            get(cluster),
        ),
        look(
            "/groups/{group}/pairs/{a}/{b}",
            "pair",
            "Two clusters of a group",
            of::<PairView>,
            get(pair),
        ),
        Operation {
            query: Some(of::<FindingQuery>),
            ..look(
                "/groups/{group}/findings",
                "findings",
                "Findings of a group, worst first",
                of::<FindingList>,
                get(findings),
            )
        },
        look(
            "/groups/{group}/findings/{key}",
            "finding",
            "One finding with its life",
            of::<FindingView>,
            get(finding),
        ),
        look(
            "/groups/{group}/addresses",
            "addresses",
            "Every range of every cluster of a group",
            of::<AddressSpace>,
            get(addresses),
        ),
        Operation {
            query: Some(of::<PathQuery>),
            ..look(
                "/groups/{group}/paths",
                "paths",
                "Paths of a group over time",
                of::<PathsView>,
                get(paths),
            )
        },
        look(
            "/groups/{group}/drift",
            "drift",
            "What changed in a group against its baseline",
            of::<DriftView>,
            get(drift),
        ),
        Operation {
            query: Some(of::<AuditFilter>),
            ..look(
                "/audits",
                "audits",
                "Audits, latest first",
                of::<AuditList>,
                get(audits),
            )
        },
        look("/audits/{id}", "audit", "One audit", of::<AuditView>, get(audit)),
        look(
            "/audits/{id}/report",
            "report",
            "The report of an audit",
            of::<Report>,
            get(report),
        ),
        look(
            "/audits/{id}/bundle",
            "bundle",
            "All that the report of an audit was made of: `prejoin check` takes it",
            of::<serde_json::Value>,
            get(bundle),
        ),
        Operation {
            role: Role::Admin,
            query: Some(of::<LogQuery>),
            ..look("/log", "log", "Who did what, latest first", of::<Vec<Deed>>, get(log))
        },
    ]
}

/// Who asks.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Whoami {
    /// The name.
    name: String,
    /// What that may do.
    role: Role,
}

async fn whoami(headers: HeaderMap, Extension(visitor): Extension<Visitor>) -> Answer {
    let Visitor { name, role, .. } = visitor;
    answer::view(&headers, &Whoami { name, role })
}

async fn fleet(State(reader): State<StoreReader>, headers: HeaderMap) -> Answer {
    answer::view(&headers, &reader.fleet().await?)
}

async fn group(State(reader): State<StoreReader>, headers: HeaderMap, Path(group): Path<String>) -> Answer {
    answer::view(&headers, &reader.group(&group).await?)
}

async fn cluster(
    State(reader): State<StoreReader>,
    headers: HeaderMap,
    Path((group, cluster)): Path<(String, String)>,
) -> Answer {
    answer::view(&headers, &reader.cluster(&group, &cluster).await?)
}

async fn pair(
    State(reader): State<StoreReader>,
    headers: HeaderMap,
    Path((group, a, b)): Path<(String, String, String)>,
) -> Answer {
    answer::view(&headers, &reader.pair(&group, &a, &b).await?)
}

/// Which findings; lists are separated by commas.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct FindingQuery {
    /// Of these verdicts: `fail,unknown`.
    verdicts: Option<String>,
    /// Of this check.
    code: Option<String>,
    /// About this cluster.
    cluster: Option<String>,
    /// In these states of life: `new,open,flapping,waived,resolved`.
    states: Option<String>,
    /// The `next` of an earlier answer.
    after: Option<String>,
    /// At most so many.
    limit: Option<u32>,
}

async fn findings(
    State(reader): State<StoreReader>,
    headers: HeaderMap,
    Path(group): Path<String>,
    query: Result<Query<FindingQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let query = asked(query)?;
    let filter = FindingFilter {
        verdicts: list("verdicts", query.verdicts.as_deref())?,
        code: query.code,
        cluster: query.cluster,
        states: list("states", query.states.as_deref())?,
        after: query.after,
        limit: query.limit,
    };
    answer::view(&headers, &reader.findings(&group, &filter).await?)
}

async fn finding(
    State(reader): State<StoreReader>,
    headers: HeaderMap,
    Path((group, key)): Path<(String, String)>,
) -> Answer {
    answer::view(&headers, &reader.finding(&group, &key).await?)
}

async fn addresses(State(reader): State<StoreReader>, headers: HeaderMap, Path(group): Path<String>) -> Answer {
    answer::view(&headers, &reader.addresses(&group).await?)
}

/// Which paths.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct PathQuery {
    /// The series between this cluster
    a: Option<String>,
    /// and this one, both ways.
    b: Option<String>,
    /// From this moment on; a day before `until` without.
    since: Option<Timestamp>,
    /// Up to this moment; now without.
    until: Option<Timestamp>,
}

async fn paths(
    State(reader): State<StoreReader>,
    headers: HeaderMap,
    Path(group): Path<String>,
    query: Result<Query<PathQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let query = asked(query)?;
    if query.a.is_some() != query.b.is_some() {
        return Err(Problem::bad("a and b go together"));
    }
    let filter = PathFilter {
        pair: query.a.zip(query.b),
        since: query.since,
        until: query.until,
    };
    answer::view(&headers, &reader.paths(&group, &filter).await?)
}

async fn drift(State(reader): State<StoreReader>, headers: HeaderMap, Path(group): Path<String>) -> Answer {
    answer::view(&headers, &reader.drift(&group).await?)
}

async fn audits(
    State(reader): State<StoreReader>,
    headers: HeaderMap,
    query: Result<Query<AuditFilter>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    answer::view(&headers, &reader.audits(&asked(query)?).await?)
}

async fn audit(State(reader): State<StoreReader>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    answer::view(&headers, &reader.audit(&id).await?)
}

async fn report(State(reader): State<StoreReader>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    let report: Option<Report> = reader.store().document(&id, Kind::Report, "").await?;
    answer::view(&headers, &report.ok_or_else(|| no_longer("report", &id))?)
}

async fn bundle(State(reader): State<StoreReader>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    let bundle = record::bundle(reader.store(), &id).await?;
    answer::view(&headers, &bundle.ok_or_else(|| no_longer("bundle", &id))?)
}

fn no_longer(what: &str, id: &str) -> Problem {
    let id = crate::text::short(id, 60);
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("there is no {what} of audit {id}, or not any more"),
    )
}

/// Which entries of the log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct LogQuery {
    /// Before this moment.
    before: Option<Timestamp>,
    /// At most so many.
    limit: Option<u32>,
}

async fn log(
    State(reader): State<StoreReader>,
    headers: HeaderMap,
    query: Result<Query<LogQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let query = asked(query)?;
    let deeds = reader
        .store()
        .deeds(query.before, query.limit.unwrap_or(100).clamp(1, 1000))
        .await?;
    answer::view(&headers, &deeds)
}

/// The query, or what is wrong with it.
fn asked<T>(query: Result<Query<T>, axum::extract::rejection::QueryRejection>) -> Result<T, Problem> {
    query
        .map(|Query(query)| query)
        .map_err(|error| Problem::bad(error.body_text()))
}

/// Names separated by commas.
fn list<T: DeserializeOwned>(field: &str, text: Option<&str>) -> Result<Vec<T>, Problem> {
    let names = text
        .into_iter()
        .flat_map(|text| text.split(','))
        .filter(|name| !name.is_empty());
    names
        .map(|name| {
            T::deserialize(StrDeserializer::<ValueError>::new(name))
                .map_err(|error| Problem::bad(format!("{field}: {error}")))
        })
        .collect()
}
