//! The `prejoin` command.

use std::panic;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use prejoin_collector::cli::Cli;
use prejoin_collector::error::exit_code;
use prejoin_collector::output;
use prejoin_collector::plugin::Invoked;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A check that breaks is `unknown` in the report; one line is enough to report the defect with.
    panic::set_hook(Box::new(|defect| {
        let place = defect.location().map(ToString::to_string).unwrap_or_default();
        let payload = defect.payload();
        let message = payload.downcast_ref::<String>().map(String::as_str);
        let message = message
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or_default();
        output::say(&format!("prejoin: a defect at {place}, please report it: {message}"));
    }));
    // Fails only where one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut words = std::env::args_os();
    let invoked = Invoked::by(Path::new(&words.next().unwrap_or_default()));
    if invoked == Invoked::ToComplete {
        let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        return match prejoin_collector::complete(&words) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => ExitCode::from(error.exit_code()),
        };
    }
    let command = Cli::command().bin_name(invoked.command_name());
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    let code = match panic::catch_unwind(|| prejoin_collector::run(&cli)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            output::say(&format!("prejoin: {error}"));
            error.exit_code()
        }
        Err(_) => exit_code::TOOL_FAILED,
    };
    ExitCode::from(code)
}
