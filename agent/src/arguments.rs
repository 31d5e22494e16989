//! What both agents take from their command line and environment.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use prejoin_checks::cidr::{Cidr, CidrError};

use crate::protocol::{OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION};
use crate::session::allow::{Allow, OwnersWord, PortRange, PortRangeError};

/// What an agent is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Idle as a container's main process.
    Wait(Waiting),
    /// Speak the protocol on stdin and stdout.
    Session(Settings),
    /// Dial out to a collector, and speak the protocol over that.
    Dial(Dialling),
    /// Say how to use it.
    Help,
    /// Say the version.
    Version,
}

/// How long a container idles, and what comes then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// It ends after this time; never without it.
    pub deadline: Option<Duration>,
    /// At the deadline, the namespace that this runs in is removed.
    pub remove_namespace: bool,
}

/// How a session is to be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What the owner allows.
    pub allow: Allow,
    /// The node's name, if the owner names it.
    pub node_name: Option<String>,
    /// The highest protocol version to speak.
    pub highest_version: u32,
}

/// Where to dial out to, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialling {
    /// How sessions with this agent are to be held.
    pub settings: Settings,
    /// The collector's URL.
    pub collector: String,
    /// The SHA-256 of the collector's certificate, or of the one that issued it; without it, the system's authorities are trusted.
    pub fingerprint: Option<String>,
    /// An enrolment token, beside the one that is kept.
    pub token: Option<String>,
    /// Where the credential is kept.
    pub keep: Keep,
}

/// Where the credential of an agent that dials out is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// In the Secret of this name in the agent's own namespace.
    Secret(String),
    /// In this file.
    File(PathBuf),
}

/// The Secret that an agent's credential is kept in unless another is named.
pub const CREDENTIAL_SECRET: &str = "prejoin-collector";

/// What is wrong with the arguments or the environment.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentError {
    /// No verb.
    #[error("say `wait`, `session` or `dial`")]
    NoVerb,
    /// Another verb.
    #[error("`{0}` is none of `wait`, `session` and `dial`")]
    UnknownVerb(String),
    /// An option that is not known, has no value, or a value too many.
    #[error(transparent)]
    Option(#[from] lexopt::Error),
    /// A target that is no block of addresses.
    #[error(transparent)]
    Target(#[from] CidrError),
    /// A port that is none.
    #[error(transparent)]
    Port(#[from] PortRangeError),
    /// A number that is none, or is outside its range.
    #[error("{name}: `{value}` is not a number from {least} to {most}")]
    Number {
        /// The option or variable.
        name: String,
        /// What it was given.
        value: String,
        /// The least.
        least: u32,
        /// The most.
        most: u32,
    },
    /// A variable that holds no text.
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    /// Nowhere to dial to.
    #[error("say where to dial out to: --collector URL, or PREJOIN_COLLECTOR")]
    NoCollector,
}

/// How to use an agent.
pub const HELP: &str = "\
wait      idle as a container's main process; sessions are started beside it, by exec
session   speak prejoin's protocol on stdin and stdout, log to stderr, end with the stream
dial      dial out to a collector and speak the protocol over that, for this agent and those of the nodes; dial again
          whenever the connection ends (cluster agent only)

Options of `wait`
  --deadline SECONDS     end after this time
  --remove-namespace     at the deadline, remove the namespace that this runs in (cluster agent only)

Options of `dial`, besides those of `session`
  --collector URL        where to: https://collector.example:8443
  --fingerprint SHA256   of the collector's certificate, or of the one that issued it; default: the authorities that the
                         system knows, or SSL_CERT_FILE names
  --enroll TOKEN         the one-time token to trade for a credential; default: the one that is kept
  --credential-secret NAME
                         the Secret of the own namespace that token and credential are kept in;
                         default: prejoin-collector
  --credential-file PATH the file that they are kept in instead

Options of `session`: what the agent does at most, whatever it is asked
  --allow-target CIDR    send only there; may be repeated. Default: every single host but the own; the own host
                         must be named (127.0.0.0/8)
  --allow-port PORT      send to and listen on these ports only: 8472 or 4240-4500; may be repeated. Default: all
  --max-rate NUMBER      packets a second; default 100000
  --max-deadline SECONDS end a session after this time; default 3600
  --node-name NAME       the node's name; default: the host's
  --highest-version N    speak this version of the protocol at most

The environment says the same for all sessions, lists separated by commas: PREJOIN_ALLOW_TARGET, PREJOIN_ALLOW_PORT,
PREJOIN_MAX_RATE, PREJOIN_MAX_DEADLINE, PREJOIN_NODE_NAME, PREJOIN_HIGHEST_VERSION. Where both speak, what both allow
is allowed, and the environment's name counts. Of `dial`: PREJOIN_COLLECTOR, PREJOIN_COLLECTOR_FINGERPRINT,
PREJOIN_ENROLL_TOKEN, where arguments count before them; HTTPS_PROXY and NO_PROXY as everywhere.
";

/// Reads arguments (without the program's name) and environment.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&'static str) -> Option<OsString>,
) -> Result<Command, ArgumentError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let verb = match parser.next()? {
        Some(Value(verb)) => verb,
        Some(Short('h') | Long("help")) => return Ok(Command::Help),
        Some(Short('V') | Long("version")) => return Ok(Command::Version),
        Some(other) => return Err(other.unexpected().into()),
        None => return Err(ArgumentError::NoVerb),
    };
    match verb.to_str() {
        Some("wait") => waiting(&mut parser),
        Some("session") => match session(&mut parser, &environment, |_, _| Ok(false))? {
            Some(settings) => Ok(Command::Session(settings)),
            None => Ok(Command::Help),
        },
        Some("dial") => dial(&mut parser, &environment),
        _ => Err(ArgumentError::UnknownVerb(verb.to_string_lossy().into_owned())),
    }
}

fn waiting(parser: &mut lexopt::Parser) -> Result<Command, ArgumentError> {
    let mut waiting = Waiting::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("deadline") => waiting.deadline = Some(deadline("--deadline", &parser.value()?.string()?)?),
            Long("remove-namespace") => waiting.remove_namespace = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Wait(waiting))
}

fn dial(
    parser: &mut lexopt::Parser,
    environment: &impl Fn(&'static str) -> Option<OsString>,
) -> Result<Command, ArgumentError> {
    let mut collector = variable("PREJOIN_COLLECTOR", environment)?;
    let mut fingerprint = variable("PREJOIN_COLLECTOR_FINGERPRINT", environment)?;
    let mut token = variable("PREJOIN_ENROLL_TOKEN", environment)?;
    let mut keep = Keep::Secret(CREDENTIAL_SECRET.to_owned());
    let settings = session(parser, environment, |option, parser| {
        match option {
            "collector" => collector = Some(parser.value()?.string()?),
            "fingerprint" => fingerprint = Some(parser.value()?.string()?),
            "enroll" => token = Some(parser.value()?.string()?),
            "credential-secret" => keep = Keep::Secret(parser.value()?.string()?),
            "credential-file" => keep = Keep::File(parser.value()?.into()),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let Some(settings) = settings else {
        return Ok(Command::Help);
    };
    Ok(Command::Dial(Dialling {
        settings,
        collector: collector.ok_or(ArgumentError::NoCollector)?,
        fingerprint,
        token,
        keep,
    }))
}

/// A variable that says something.
fn variable(
    name: &'static str,
    environment: &impl Fn(&'static str) -> Option<OsString>,
) -> Result<Option<String>, ArgumentError> {
    let value = environment(name).filter(|value| !value.is_empty());
    value
        .map(OsString::into_string)
        .transpose()
        .map_err(|_| ArgumentError::NotUtf8(name))
}

/// The options of a session, and those that `other` takes besides; nothing if help is asked for.
fn session(
    parser: &mut lexopt::Parser,
    environment: &impl Fn(&'static str) -> Option<OsString>,
    mut other: impl FnMut(&str, &mut lexopt::Parser) -> Result<bool, ArgumentError>,
) -> Result<Option<Settings>, ArgumentError> {
    let variable = |name| variable(name, environment);
    let mut fixed = OwnersWord::default();
    for target in list(variable("PREJOIN_ALLOW_TARGET")?.as_deref()) {
        fixed.targets.push(cidr(target)?);
    }
    for port in list(variable("PREJOIN_ALLOW_PORT")?.as_deref()) {
        fixed.ports.push(port.parse()?);
    }
    if let Some(value) = variable("PREJOIN_MAX_RATE")? {
        fixed.rate = Some(rate("PREJOIN_MAX_RATE", &value)?);
    }
    if let Some(value) = variable("PREJOIN_MAX_DEADLINE")? {
        fixed.deadline = Some(deadline("PREJOIN_MAX_DEADLINE", &value)?);
    }
    let fixed_name = variable("PREJOIN_NODE_NAME")?;
    let version = |name: &str, value: &str| number(name, value, OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION);
    let mut highest_version = match variable("PREJOIN_HIGHEST_VERSION")? {
        Some(value) => version("PREJOIN_HIGHEST_VERSION", &value)?,
        None => PROTOCOL_VERSION,
    };

    let mut given = OwnersWord::default();
    let mut given_name = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("allow-target") => given.targets.push(cidr(&parser.value()?.string()?)?),
            Long("allow-port") => given.ports.push(parser.value()?.string()?.parse::<PortRange>()?),
            Long("max-rate") => given.rate = Some(rate("--max-rate", &parser.value()?.string()?)?),
            Long("max-deadline") => given.deadline = Some(deadline("--max-deadline", &parser.value()?.string()?)?),
            Long("node-name") => given_name = Some(parser.value()?.string()?),
            Long("highest-version") => {
                let value = parser.value()?.string()?;
                highest_version = highest_version.min(version("--highest-version", &value)?);
            }
            Short('h') | Long("help") => return Ok(None),
            Long(option) => {
                let option = option.to_owned();
                if !other(&option, parser)? {
                    return Err(Long(&option).unexpected().into());
                }
            }
            argument => return Err(argument.unexpected().into()),
        }
    }
    Ok(Some(Settings {
        allow: Allow::all_of([fixed, given]),
        node_name: fixed_name.or(given_name),
        highest_version,
    }))
}

fn list(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn cidr(text: &str) -> Result<Cidr, CidrError> {
    Ok(Cidr::parse_noting_host_bits(text)?.0)
}

fn rate(name: &str, value: &str) -> Result<u32, ArgumentError> {
    number(name, value, 1, u32::MAX)
}

fn deadline(name: &str, value: &str) -> Result<Duration, ArgumentError> {
    /// A week: a session that outlives it was forgotten.
    const MOST_SECONDS: u32 = 7 * 24 * 3_600;
    number(name, value, 1, MOST_SECONDS).map(|seconds| Duration::from_secs(seconds.into()))
}

fn number(name: &str, value: &str, least: u32, most: u32) -> Result<u32, ArgumentError> {
    let number = value.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| ArgumentError::Number {
        name: name.to_owned(),
        value: value.to_owned(),
        least,
        most,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_with(arguments: &str, environment: &[(&str, &str)]) -> Result<Command, String> {
        let arguments = arguments.split_whitespace().map(OsString::from);
        let variable = |name: &'static str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        parse(arguments, variable).map_err(|error| error.to_string())
    }

    fn settings(arguments: &str, environment: &[(&str, &str)]) -> Settings {
        match parse_with(arguments, environment).unwrap() {
            Command::Session(settings) => settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_verbs() {
        assert_eq!(parse_with("wait", &[]), Ok(Command::Wait(Waiting::default())));
        let waiting = Waiting {
            deadline: Some(Duration::from_secs(600)),
            remove_namespace: true,
        };
        assert_eq!(
            parse_with("wait --deadline 600 --remove-namespace", &[]),
            Ok(Command::Wait(waiting))
        );
        assert_eq!(parse_with("--version", &[]), Ok(Command::Version));
        assert_eq!(parse_with("session --help", &[]), Ok(Command::Help));
        assert_eq!(parse_with("", &[]), Err("say `wait`, `session` or `dial`".to_owned()));
        assert_eq!(
            parse_with("serve", &[]),
            Err("`serve` is none of `wait`, `session` and `dial`".to_owned())
        );
        assert!(parse_with("wait session", &[]).is_err());
    }

    #[test]
    fn options_say_what_is_allowed() {
        let settings = settings(
            "session --allow-target 10.0.0.0/8 --allow-target=fd00::/8 --allow-port 4240-4500 --max-rate 50 --max-deadline 9 --node-name n1",
            &[],
        );
        let target = |address: &str| settings.allow.target(address.parse().unwrap()).is_ok();
        assert!(target("10.1.1.1") && target("fd00::1") && !target("192.0.2.1"));
        assert!(settings.allow.port(4500).is_ok() && settings.allow.port(4501).is_err());
        assert_eq!(settings.allow.limits().rate, 50);
        assert_eq!(settings.allow.limits().deadline_seconds, 9);
        assert_eq!(settings.node_name.as_deref(), Some("n1"));
    }

    #[test]
    fn arguments_cannot_widen_what_the_environment_allows() {
        let settings = settings(
            "session --allow-target 0.0.0.0/0 --max-rate 1000",
            &[
                ("PREJOIN_ALLOW_TARGET", "10.0.0.0/8, 192.0.2.0/24"),
                ("PREJOIN_MAX_RATE", "10"),
                ("PREJOIN_ALLOW_PORT", ""),
            ],
        );
        assert!(settings.allow.target("192.0.2.9".parse().unwrap()).is_ok());
        assert!(settings.allow.target("198.51.100.1".parse().unwrap()).is_err());
        assert_eq!(settings.allow.limits().rate, 10);
        assert!(settings.allow.port(1).is_ok());
    }

    #[test]
    fn dialling_out_has_options_of_its_own_besides_those_of_sessions() {
        let environment = [
            ("PREJOIN_COLLECTOR", "https://one.example"),
            ("PREJOIN_ENROLL_TOKEN", "first"),
            ("PREJOIN_ALLOW_TARGET", "10.0.0.0/8"),
        ];
        let dialling = |arguments: &str| match parse_with(arguments, &environment) {
            Ok(Command::Dial(dialling)) => dialling,
            other => panic!("{other:?}"),
        };
        let from_environment = dialling("dial");
        assert_eq!(from_environment.collector, "https://one.example");
        assert_eq!(from_environment.token.as_deref(), Some("first"));
        assert_eq!(from_environment.keep, Keep::Secret(CREDENTIAL_SECRET.to_owned()));
        let target = |address: &str| from_environment.settings.allow.target(address.parse().unwrap()).is_ok();
        assert!(target("10.1.1.1") && !target("192.0.2.1"));
        let given = dialling(
            "dial --collector https://two.example --fingerprint 00 --enroll second --credential-file /keep --max-rate 7",
        );
        assert_eq!(given.collector, "https://two.example");
        assert_eq!(given.fingerprint.as_deref(), Some("00"));
        assert_eq!(given.token.as_deref(), Some("second"));
        assert_eq!(given.keep, Keep::File("/keep".into()));
        assert_eq!(given.settings.allow.limits().rate, 7);
        assert!(parse_with("dial", &[]).unwrap_err().contains("--collector"));
        assert!(parse_with("session --collector x", &environment).is_err());
        assert_eq!(parse_with("dial --help", &[]), Ok(Command::Help));
    }

    #[test]
    fn the_lowest_of_the_highest_versions_counts() {
        for (arguments, variable, highest) in [
            ("session", "", PROTOCOL_VERSION),
            ("session", "1", 1),
            ("session --highest-version 1", "2", 1),
            ("session --highest-version 2", "1", 1),
        ] {
            let settings = settings(arguments, &[("PREJOIN_HIGHEST_VERSION", variable)]);
            assert_eq!(settings.highest_version, highest, "{arguments} {variable}");
        }
    }

    #[test]
    fn wrong_values_are_named() {
        let error = |arguments: &str| parse_with(arguments, &[]).unwrap_err();
        assert_eq!(
            error("session --max-rate 0"),
            "--max-rate: `0` is not a number from 1 to 4294967295"
        );
        assert_eq!(
            error("session --highest-version 9"),
            "--highest-version: `9` is not a number from 1 to 2"
        );
        assert!(error("session --allow-target nowhere").contains("nowhere"));
        assert!(error("session --allow-port x").contains("`x` is no port"));
        assert!(error("session --allow-port").contains("--allow-port"));
        assert!(error("session --allow-all").contains("--allow-all"));
        assert!(
            parse_with("session", &[("PREJOIN_MAX_DEADLINE", "soon")])
                .unwrap_err()
                .starts_with("PREJOIN_MAX_DEADLINE")
        );
    }
}
