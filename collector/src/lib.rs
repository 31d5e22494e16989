//! What we do about it: gathers facts from clusters, judges them, reports.
//!
//! ```text
//! cli::Cli ─▶ settings::Settings ─▶ audit ─┬─ fleet, load: facts of every cluster
//!   flags,      config::Config:            ├─ prejoin_checks::engine: the report
//!   environment prejoin.yaml               └─ report: renderers; the exit code
//! ```

pub mod agents;
pub mod audit;
pub mod baseline;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod drift;
pub mod error;
pub mod fleet;
pub mod lab;
pub mod load;
pub mod output;
pub mod plugin;
pub mod report;
pub mod run;
pub mod serve;
pub mod session;
pub mod settings;
pub mod text;
pub mod transport;

use clap::CommandFactory;

use cli::{Cli, Command, SchemaOf};
use error::{Error, exit_code};

/// Does what was asked for and gives the exit code.
pub fn run(cli: &Cli) -> Result<u8, Error> {
    // Other commands ask no collector: one that the environment names is not in their way, and `agents install` has a `--collector` of its own.
    let remote = cli.remote.collector.is_some();
    match &cli.command {
        Command::Audit(args) if remote => serve::api::client::audit(&cli.remote, args, cli.color),
        Command::Status if remote => serve::api::client::status(&cli.remote),
        Command::Diff(args) if remote => serve::api::client::diff(&cli.remote, args),
        Command::Audit(args) if args.group.is_some() => Err(no_collector()),
        Command::Audit(args) => audit::audit(args, cli.color),
        Command::Check(args) => audit::check(args, cli.color),
        Command::Facts(args) => audit::facts(args),
        Command::Baseline(command) => baseline::run(command),
        Command::Agents(command) => agents::command::run(command),
        Command::Lab(command) => lab::run(command),
        Command::Serve(args) => serve::run(args),
        Command::Status => Err(no_collector()),
        Command::Diff(args) if args.group.is_some() => Err(no_collector()),
        Command::Diff(args) => drift::diff(args, cli.color),
        Command::Checks(args) => catalogue::list(args),
        Command::Explain(args) => catalogue::explain(args, cli.color),
        Command::Schema { document } => {
            let schema = schema(*document);
            output::stdout(|out| text::write_json(&schema, out))?;
            Ok(exit_code::PASS)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "prejoin", &mut script);
            output::stdout(|out| out.write_all(&script))?;
            Ok(exit_code::PASS)
        }
    }
}

fn no_collector() -> Error {
    Error::Usage("name the collector whose group is meant: --collector URL".to_owned())
}

/// Answers what kubectl asks to complete a command line of the plugin.
pub fn complete(words: &[String]) -> Result<(), Error> {
    let mut command = Cli::command();
    command.build();
    let answer = plugin::complete(&command, words, |kubeconfig| {
        fleet::context_names(kubeconfig.as_deref()).unwrap_or_default()
    });
    output::stdout(|out| out.write_all(answer.as_bytes()))
}

/// The JSON Schema of a document, made from the types that read and write it.
pub fn schema(document: SchemaOf) -> schemars::Schema {
    match document {
        SchemaOf::Report => schemars::schema_for!(prejoin_checks::report::Report),
        SchemaOf::Facts => schemars::schema_for!(prejoin_checks::facts::ClusterFacts),
        SchemaOf::Config => schemars::schema_for!(config::Config),
        SchemaOf::ServerConfig => schemars::schema_for!(serve::config::ServerConfig),
        SchemaOf::Alert => schemars::schema_for!(serve::alerts::Notice),
        SchemaOf::ProtocolRequest => schemars::schema_for!(prejoin_agent::protocol::Request),
        SchemaOf::ProtocolAnswer => schemars::schema_for!(prejoin_agent::protocol::Reply),
    }
}
