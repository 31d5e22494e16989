//! `prejoin serve token`, `export` and `backup`: what is done with a collector's store besides running it. They work while it runs.

use std::io::{self, Write};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::runtime::Runtime;

use super::store::audit_log::Deed;
use super::store::audits::Audit;
use super::store::documents::Kind;
use super::store::tokens::NewToken;
use super::store::{Place, Store, StoreError};
use super::{Current, enroll, record};
use crate::cli::{ServeAt, ServeCommand, TokenCommand};
use crate::error::{Error, exit_code};
use crate::{output, text};

/// So many audits are read at once.
const AT_ONCE: u32 = 20;

/// Does it.
pub(super) fn run(runtime: &Runtime, at: &ServeAt, command: &ServeCommand) -> Result<u8, Error> {
    match command {
        ServeCommand::Enroll(enrolled) => runtime.block_on(enroll::enroll(at, enrolled)),
        ServeCommand::Revoke(revoked) => runtime.block_on(enroll::revoke(at, revoked)),
        ServeCommand::Token(command) => {
            let store = runtime.block_on(Store::open(&place(at)?))?;
            runtime.block_on(async {
                let done = token(&store, command).await;
                store.close().await;
                done.map(|()| exit_code::PASS)
            })
        }
        ServeCommand::Export { output } => {
            let store = existing(runtime, at)?;
            let done = export(runtime, &store, output);
            runtime.block_on(store.close());
            done.map(|()| exit_code::PASS)
        }
        ServeCommand::Backup { output } => {
            let store = existing(runtime, at)?;
            runtime.block_on(async {
                let done = backup(&store, output).await;
                store.close().await;
                done.map(|()| exit_code::PASS)
            })
        }
    }
}

/// Where the store is. Whoever names it needs no configuration.
fn place(at: &ServeAt) -> Result<Place, Error> {
    match &at.store {
        Some(store) => Ok(Place::parse(store, Path::new(""))),
        None => Ok(Current::read(&at.config)?.place(at)),
    }
}

/// The store, which has to be there already: a copy of nothing is none.
fn existing(runtime: &Runtime, at: &ServeAt) -> Result<Store, Error> {
    let place = place(at)?;
    if let Place::File(path) = &place
        && !path.exists()
    {
        return Err(Error::Usage(format!(
            "there is no store at {}: `prejoin serve` makes it when it first runs",
            path.display()
        )));
    }
    Ok(runtime.block_on(Store::open(&place))?)
}

async fn token(store: &Store, command: &TokenCommand) -> Result<(), Error> {
    let now = Timestamp::now();
    match command {
        TokenCommand::Create { name, role, days } => {
            let lifetime = days.map(|days| SignedDuration::from_hours(24 * i64::from(days)));
            let new = NewToken {
                name: name.clone(),
                role: *role,
                expires_at: lifetime.and_then(|lifetime| now.checked_add(lifetime).ok()),
            };
            let Some(made) = store.create_token(&new, "command line", now).await? else {
                return Err(Error::Usage(format!(
                    "there is a token {name} already: revoke it first"
                )));
            };
            note(store, "token.create", &format!("{name} ({})", role.name())).await?;
            output::say("prejoin: this is shown once; send it as `Authorization: Bearer …`");
            output::stdout(|out| writeln!(out, "{made}"))
        }
        TokenCommand::Revoke { name } => {
            if store.revoke_token(name, now).await?.is_none() {
                return Err(Error::Usage(format!("there is no token {name}")));
            }
            note(store, "token.revoke", name).await?;
            output::stdout(|out| writeln!(out, "{} is revoked", text::sanitise(name)))
        }
        TokenCommand::List => {
            let tokens = store.tokens().await?;
            output::stdout(|out| {
                for token in tokens {
                    let state = match (token.revoked_at, token.expires_at) {
                        (Some(at), _) => format!("revoked {at}"),
                        (None, Some(end)) if !token.is_valid(now) => format!("expired {end}"),
                        (None, Some(end)) => format!("valid until {end}"),
                        (None, None) => "valid".to_owned(),
                    };
                    let (name, made_by) = (text::sanitise(&token.name), text::sanitise(&token.made_by));
                    writeln!(out, "{name}  {}  {state}  (made by {made_by})", token.role.name())?;
                }
                Ok(())
            })
        }
    }
}

async fn note(store: &Store, action: &str, object: &str) -> Result<(), StoreError> {
    let deed = Deed {
        at: Timestamp::now(),
        actor: "command line".to_owned(),
        action: action.to_owned(),
        object: object.to_owned(),
        origin: "command line".to_owned(),
        outcome: "done".to_owned(),
    };
    store.note(&deed).await
}

/// Everything that audits found, one JSON document to a line.
fn export(runtime: &Runtime, store: &Store, path: &Path) -> Result<(), Error> {
    let write = |out: &mut dyn Write| -> io::Result<()> {
        let mut before: Option<String> = None;
        loop {
            let page = store.audits(None, before.as_deref(), AT_ONCE);
            let audits = runtime.block_on(page).map_err(io::Error::other)?;
            let Some(last) = audits.last() else { break };
            before = Some(last.id.clone());
            for audit in &audits {
                let line = runtime.block_on(exported(store, audit)).map_err(io::Error::other)?;
                writeln!(out, "{line}")?;
            }
        }
        for line in runtime.block_on(store.history()).map_err(io::Error::other)? {
            writeln!(out, "{line}")?;
        }
        Ok(())
    };
    if path.as_os_str() == "-" {
        output::stdout(write)
    } else {
        output::file(path, write)
    }
}

/// An audit with its report, and what that was made of.
async fn exported(store: &Store, audit: &Audit) -> Result<serde_json::Value, StoreError> {
    let report: Option<serde_json::Value> = store.document(&audit.id, Kind::Report, "").await?;
    Ok(json!({
        "kind": "audit",
        "id": audit.id,
        "group": audit.group,
        "number": audit.number,
        "state": audit.state.to_string(),
        "scheduled_for": audit.scheduled_for,
        "started_at": audit.started_at,
        "ended_at": audit.ended_at,
        "asked_by": audit.asked_by,
        "error": audit.error,
        "report": report,
        "bundle": record::bundle(store, &audit.id).await?,
    }))
}

async fn backup(store: &Store, path: &Path) -> Result<(), Error> {
    if let Place::Postgres(_) = store.place() {
        return Err(Error::Usage(
            "this store is PostgreSQL: back it up with pg_dump".to_owned(),
        ));
    }
    if path.exists() {
        return Err(Error::Usage(format!("{} is there already", path.display())));
    }
    store.copy_to(path).await?;
    output::say(&format!("prejoin: {} is a copy of {}", path.display(), store.place()));
    Ok(())
}
