//! Agents on other machines, by the system's OpenSSH client: the user's configuration, keys, agents, jump hosts and known hosts work as
//! they do for `ssh` itself.

use std::io;
use std::time::Duration;

use super::{Connection, Unreached, local};

/// A process on another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// What `ssh` takes: a host, `user@host`, a name of the user's configuration, `ssh://user@host:port`.
    pub destination: String,
    /// Arguments for `ssh`: `-p 2222`, `-i key`, `-J bastion`.
    pub options: Vec<String>,
    /// The command there and its arguments; every word reaches it as it is.
    pub command: Vec<String>,
}

impl Ssh {
    pub(super) fn connect(&self, timeout: Duration) -> Result<Connection, Unreached> {
        local::spawn("ssh", &self.arguments(timeout)).map_err(|error| {
            Unreached(match error.kind() {
                io::ErrorKind::NotFound => "there is no `ssh` on this machine: install the OpenSSH client".to_owned(),
                _ => format!("cannot run ssh: {error}"),
            })
        })
    }

    /// The arguments of `ssh`. Of an option given twice it takes the first, so what must hold comes before what the user may change.
    fn arguments(&self, timeout: Duration) -> Vec<String> {
        // No terminal, no question asked on ours; and what the user has configured for sessions of their own at that host stays out.
        let fixed = [
            "-T",
            "-oBatchMode=yes",
            "-oEscapeChar=none",
            "-oRemoteCommand=none",
            "-oClearAllForwardings=yes",
        ];
        let mut arguments: Vec<String> = fixed.map(str::to_owned).to_vec();
        arguments.extend(self.options.iter().cloned());
        arguments.push(format!("-oConnectTimeout={}", timeout.as_secs().max(1)));
        // A path that is gone is noticed within half a minute even if nobody says so.
        arguments.extend(["-oServerAliveInterval=10", "-oServerAliveCountMax=3"].map(str::to_owned));
        arguments.push("--".to_owned());
        arguments.push(self.destination.clone());
        arguments.push(remote_command(&self.command));
        arguments
    }
}

/// A command as the shell of the other side takes it: `ssh` hands it one line.
fn remote_command(words: &[String]) -> String {
    let quoted = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_command_survives_the_shell_of_the_other_side() {
        let words = ["/opt/pre join/agent", "it's", "$(reboot)", "a\nb", ""].map(str::to_owned);
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("printf '<%s>' {}", remote_command(&words)))
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "</opt/pre join/agent><it's><$(reboot)><a\nb><>"
        );
    }

    #[test]
    fn a_destination_is_never_taken_for_an_option_and_no_question_is_asked() {
        let ssh = Ssh {
            destination: "-oProxyCommand=reboot".to_owned(),
            options: vec!["-oBatchMode=no".to_owned()],
            command: vec!["prejoin-agent".to_owned(), "session".to_owned()],
        };
        let arguments = ssh.arguments(Duration::from_secs(7));
        let at = |wanted: &str| arguments.iter().position(|argument| argument == wanted).unwrap();
        assert!(at("-oBatchMode=yes") < at("-oBatchMode=no"));
        assert_eq!(at("--") + 1, at("-oProxyCommand=reboot"));
        assert!(arguments.contains(&"-oConnectTimeout=7".to_owned()));
        assert_eq!(arguments.last().unwrap(), "'prejoin-agent' 'session'");
    }
}
