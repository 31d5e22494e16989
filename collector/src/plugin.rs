//! As a plugin of kubectl: `kubectl prejoin`, and what kubectl asks to complete its command line.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, ValueHint};

/// Under this name kubectl finds the plugin.
const PLUGIN: &str = "kubectl-prejoin";
/// Under this name it asks for completions.
const COMPLETION: &str = "kubectl_complete-prejoin";

/// What a program is by the name it was started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invoked {
    /// `prejoin`.
    Alone,
    /// `kubectl prejoin`.
    AsPlugin,
    /// To complete a command line.
    ToComplete,
}

impl Invoked {
    /// By the first word of the command line.
    pub fn by(name: &Path) -> Self {
        let name = name.file_name().unwrap_or_default().to_string_lossy();
        // Windows adds the ending.
        match name.strip_suffix(".exe").unwrap_or(&name) {
            PLUGIN => Self::AsPlugin,
            COMPLETION => Self::ToComplete,
            _ => Self::Alone,
        }
    }

    /// What the command is called in its own help.
    pub fn command_name(self) -> &'static str {
        match self {
            Self::AsPlugin => "kubectl prejoin",
            Self::Alone | Self::ToComplete => "prejoin",
        }
    }
}

/// What the last of these words may become, as kubectl reads it: one candidate a line, its description after a tab, and a directive at the end.
/// `contexts` gives the names of contexts, from the kubeconfig that the words name if they do.
pub fn complete(command: &Command, words: &[String], contexts: impl Fn(Option<PathBuf>) -> Vec<String>) -> String {
    /// The shell is to offer no files.
    const NO_FILES: &str = ":4";
    /// The shell may offer files.
    const FILES: &str = ":0";
    let Some((last, before)) = words.split_last() else {
        return format!("{NO_FILES}\n");
    };
    let (command, open) = walk(command, before);
    let (argument, prefix) = match (open, last.split_once('=')) {
        (Some(argument), _) => (Some(argument), last.as_str()),
        (None, Some((option, prefix))) => (option_of(command, option), prefix),
        (None, None) => (None, last.as_str()),
    };
    let mut directive = NO_FILES;
    let candidates: Vec<(String, String)> = if let Some(argument) = argument {
        if argument.get_id() == "context" {
            contexts(kubeconfig(before))
                .into_iter()
                .map(|name| (name, String::new()))
                .collect()
        } else {
            let values = values(argument);
            if values.is_empty() && is_path(argument) {
                directive = FILES;
            }
            values
        }
    } else if last.starts_with('-') {
        options(command)
    } else {
        let subcommands = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
        let positional: Vec<&Arg> = command.get_positionals().collect();
        if positional.iter().any(|argument| is_path(argument)) {
            directive = FILES;
        }
        subcommands
            .map(|subcommand| {
                (
                    subcommand.get_name().to_owned(),
                    subcommand.get_about().map(ToString::to_string).unwrap_or_default(),
                )
            })
            .chain(positional.into_iter().flat_map(values))
            .collect()
    };
    // What stands before `=` is part of the word that the shell replaces.
    let kept = &last[..last.len() - prefix.len()];
    let mut answer = String::new();
    for (candidate, about) in candidates.iter().filter(|(candidate, _)| candidate.starts_with(prefix)) {
        answer.push_str(kept);
        answer.push_str(candidate);
        if !about.is_empty() {
            answer.push('\t');
            answer.push_str(about);
        }
        answer.push('\n');
    }
    answer + directive + "\n"
}

/// The innermost command that words name, and the option whose value comes next.
fn walk<'a>(command: &'a Command, words: &[String]) -> (&'a Command, Option<&'a Arg>) {
    let mut command = command;
    let mut open = None;
    for word in words {
        if open.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            open = option_of(command, word).filter(|option| takes_value(option) && !option.is_require_equals_set());
        } else if let Some(subcommand) = command.find_subcommand(word) {
            command = subcommand;
        }
    }
    (command, open)
}

fn option_of<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|argument| match word.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        None => word
            .strip_prefix('-')
            .is_some_and(|short| argument.get_short().map(String::from).as_deref() == Some(short)),
    })
}

fn takes_value(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set | ArgAction::Append)
}

fn values(argument: &Arg) -> Vec<(String, String)> {
    let values = argument.get_possible_values();
    let shown = values.iter().filter(|value| !value.is_hide_set());
    shown
        .map(|value| {
            (
                value.get_name().to_owned(),
                value.get_help().map(ToString::to_string).unwrap_or_default(),
            )
        })
        .collect()
}

fn is_path(argument: &Arg) -> bool {
    let by_name = |name: &clap::builder::Str| ["FILE", "prejoin.yaml"].contains(&name.as_str());
    argument
        .get_value_names()
        .is_some_and(|names| names.iter().any(by_name))
        || argument.get_value_hint() == ValueHint::FilePath
}

fn options(command: &Command) -> Vec<(String, String)> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let with_names = shown.filter_map(|argument| Some((format!("--{}", argument.get_long()?), argument)));
    with_names
        .map(|(name, argument)| (name, argument.get_help().map(ToString::to_string).unwrap_or_default()))
        .collect()
}

/// The kubeconfig that words name.
fn kubeconfig(words: &[String]) -> Option<PathBuf> {
    let with_equals = words.iter().find_map(|word| word.strip_prefix("--kubeconfig="));
    let apart = || {
        words
            .windows(2)
            .find(|pair| pair[0] == "--kubeconfig")
            .map(|pair| pair[1].as_str())
    };
    with_equals.or_else(apart).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    /// The candidates without their descriptions, and the directive last.
    fn completed(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut command = Cli::command();
        command.build();
        let answer = complete(&command, &words, |kubeconfig| {
            assert!(kubeconfig.is_none_or(|path| path == Path::new("k.yaml")));
            vec!["east".to_owned(), "west".to_owned()]
        });
        answer
            .lines()
            .map(|line| line.split('\t').next().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn a_program_is_what_it_is_called() {
        assert_eq!(Invoked::by(Path::new("/usr/bin/kubectl-prejoin")), Invoked::AsPlugin);
        assert_eq!(Invoked::by(Path::new("kubectl_complete-prejoin")), Invoked::ToComplete);
        assert_eq!(Invoked::by(Path::new("prejoin")), Invoked::Alone);
    }

    #[test]
    fn subcommands_are_completed() {
        assert_eq!(completed(&["ag"]), ["agents", ":4"]);
        assert!(completed(&["agents", ""]).contains(&"install".to_owned()));
    }

    #[test]
    fn options_and_their_values_are_completed() {
        assert_eq!(completed(&["audit", "--agents", "e"]), ["ephemeral", ":4"]);
        assert_eq!(completed(&["audit", "--agents=e"]), ["--agents=ephemeral", ":4"]);
        assert!(completed(&["audit", "--kube"]).contains(&"--kubeconfig".to_owned()));
    }

    #[test]
    fn contexts_are_those_of_the_kubeconfig_that_was_named() {
        assert_eq!(
            completed(&["audit", "--kubeconfig", "k.yaml", "--context", "e"]),
            ["east", ":4"]
        );
    }

    #[test]
    fn files_are_left_to_the_shell() {
        assert_eq!(completed(&["audit", "--facts", ""]), [":0"]);
        assert_eq!(completed(&["check", ""]).last().map(String::as_str), Some(":0"));
    }
}
