//! `prejoin serve enroll` and `prejoin serve revoke`: who may dial in.

use std::path::Path;

use jiff::Timestamp;
use prejoin_agent::dial::trust::Fingerprint;
use serde::Serialize;

use super::Current;
use super::config::ServerConfig;
use super::store::{Place, Store};
use super::tls::{Files, Identity};
use crate::cli::{ListFormat, ServeAt, ServeEnroll, ServeRevoke};
use crate::error::{Error, exit_code};
use crate::output;
use crate::text;

/// What is to be known to install agents that dial in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Invitation {
    /// The name that the cluster gets.
    cluster: String,
    /// Where its agent dials to.
    url: String,
    /// By what it knows the collector; none where it has to know the authority.
    fingerprint: Option<String>,
    /// What it gets in with, once.
    token: String,
    /// Until when.
    expires_at: Timestamp,
    /// The command that installs it.
    command: String,
}

/// Makes a token and says how to use it.
pub(super) async fn enroll(at: &ServeAt, args: &ServeEnroll) -> Result<u8, Error> {
    let current = Current::read(&at.config)?;
    let place = current.place(at);
    let identity = identity(&current.config, &current.directory, &place)?;
    let store = Store::open(&place).await?;
    let now = Timestamp::now();
    let token = store.invite(&args.name, args.lifetime.0, now).await?;
    store.close().await;
    let url = match &args.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => url(&current.config),
    };
    let fingerprint = identity.as_ref().and_then(Identity::fingerprint);
    let invitation = Invitation {
        command: command(&args.name, &url, &token, fingerprint),
        cluster: args.name.clone(),
        url,
        fingerprint: fingerprint.map(|fingerprint| fingerprint.to_string()),
        token,
        expires_at: now + args.lifetime.0,
    };
    output::stdout(|out| match args.output {
        ListFormat::Json => text::write_json(&invitation, out),
        ListFormat::Table => invitation.write(out),
    })?;
    Ok(exit_code::PASS)
}

/// Ends what a cluster may.
pub(super) async fn revoke(at: &ServeAt, args: &ServeRevoke) -> Result<u8, Error> {
    let current = Current::read(&at.config)?;
    let store = Store::open(&current.place(at)).await?;
    let revoked = store.revoke(&args.name, Timestamp::now()).await?;
    store.close().await;
    if !revoked {
        return Err(Error::Usage(format!(
            "no cluster is enrolled as {}, and no token is open for it",
            text::sanitise(&args.name)
        )));
    }
    output::say(&format!(
        "prejoin: cluster {} is revoked: its tokens and credentials serve no more, and a collector that runs closes its connection",
        args.name
    ));
    Ok(exit_code::PASS)
}

/// The listener's certificate, as the configuration has it; none without TLS.
pub(super) fn identity(config: &ServerConfig, directory: &Path, place: &Place) -> Result<Option<Identity>, Error> {
    if config.tls.off {
        return Ok(None);
    }
    let files = match (&config.tls.certificate, &config.tls.key) {
        (Some(certificate), Some(key)) => Files::Given {
            certificate: directory.join(certificate),
            key: directory.join(key),
        },
        _ => match place {
            Place::File(store) => {
                let mut file = store.as_os_str().to_owned();
                file.push(".tls.pem");
                Files::Made {
                    file: file.into(),
                    names: config.tls.names.clone(),
                }
            }
            Place::Postgres(_) => {
                let why = "tls: collectors that share a PostgreSQL store have to show one certificate: name it (tls.certificate, tls.key), or say tls.off";
                return Err(Error::Usage(why.to_owned()));
            }
        },
    };
    let identity = Identity::open(files).map_err(|error| Error::Usage(format!("tls: {error}")))?;
    Ok(Some(identity))
}

/// Where agents reach a collector that does not say so: by the first name of its certificate, or that of this machine.
fn url(config: &ServerConfig) -> String {
    let named = config.tls.names.first().cloned();
    let listens = Some(config.listen.ip())
        .filter(|ip| !ip.is_unspecified())
        .map(|ip| ip.to_string());
    let machine = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let host = named
        .or(listens)
        .or_else(machine)
        .unwrap_or_else(|| "localhost".to_owned());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let scheme = if config.tls.off { "http" } else { "https" };
    format!("{scheme}://{host}:{}", config.listen.port())
}

fn command(cluster: &str, url: &str, token: &str, fingerprint: Option<Fingerprint>) -> String {
    let command = format!("prejoin agents install --context {cluster} --collector {url} --enroll {token}");
    match fingerprint {
        Some(fingerprint) => format!("{command} --collector-fingerprint {fingerprint}"),
        None => command,
    }
}

impl Invitation {
    fn write(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        let Self {
            cluster, url, token, ..
        } = self;
        let until = self.expires_at.strftime("%Y-%m-%d %H:%M UTC");
        writeln!(
            out,
            "Cluster {cluster} gets in with this token, once, until {until}:\n\n  {token}\n"
        )?;
        writeln!(
            out,
            "Where its kubeconfig context is (which need not be called {cluster}):\n\n  {}\n",
            self.command
        )?;
        writeln!(out, "Or as values of the Helm chart:\n\n  collector:\n    url: {url}")?;
        if let Some(fingerprint) = &self.fingerprint {
            writeln!(out, "    fingerprint: {fingerprint}")?;
        }
        writeln!(out, "    token: {token}")?;
        if self.fingerprint.is_none() {
            writeln!(
                out,
                "\nThe agent has to know the authority of the collector's certificate: the agents' image brings none, so let the certificate's\n\
                 file end with its authority, which is then named here."
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ServerConfig {
        ServerConfig::parse("server.yaml", &format!("apiVersion: prejoin.dev/v1alpha1\n{text}")).unwrap()
    }

    #[test]
    fn where_agents_dial_to_follows_from_what_the_collector_is_called() {
        for (text, expected) in [
            ("listen: 192.0.2.7:8443", "https://192.0.2.7:8443"),
            ("listen: '[2001:db8::7]:443'", "https://[2001:db8::7]:443"),
            (
                "listen: 0.0.0.0:8443\ntls: {names: [collector.example]}",
                "https://collector.example:8443",
            ),
            ("listen: 127.0.0.1:8080\ntls: {off: true}", "http://127.0.0.1:8080"),
        ] {
            assert_eq!(url(&config(text)), expected, "{text}");
        }
    }

    #[test]
    fn collectors_that_share_a_store_do_not_each_make_a_certificate() {
        let place = Place::Postgres("postgres://db/prejoin".to_owned());
        let error = identity(&config("listen: 127.0.0.1:1"), Path::new(""), &place)
            .err()
            .unwrap();
        assert!(error.to_string().contains("tls.certificate"), "{error}");
        let off = identity(&config("tls: {off: true}"), Path::new(""), &place);
        assert!(off.unwrap().is_none());
    }

    #[test]
    fn an_invitation_has_all_that_an_installation_takes() {
        let invitation = Invitation {
            cluster: "east".to_owned(),
            url: "https://collector.example:8443".to_owned(),
            fingerprint: Some("0f".repeat(32)),
            token: "pje_1".to_owned(),
            expires_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            command: command(
                "east",
                "https://collector.example:8443",
                "pje_1",
                "0f".repeat(32).parse().ok(),
            ),
        };
        let mut text = Vec::new();
        invitation.write(&mut text).unwrap();
        insta::assert_snapshot!(String::from_utf8(text).unwrap().replace(&"0f".repeat(32), "SHA256"), @r"
        Cluster east gets in with this token, once, until 2026-01-02 03:04 UTC:

          pje_1

        Where its kubeconfig context is (which need not be called east):

          prejoin agents install --context east --collector https://collector.example:8443 --enroll pje_1 --collector-fingerprint SHA256

        Or as values of the Helm chart:

          collector:
            url: https://collector.example:8443
            fingerprint: SHA256
            token: pje_1
        ");
    }
}
