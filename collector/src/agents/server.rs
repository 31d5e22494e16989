//! The version of Kubernetes that agents can be installed in.

use super::trouble::Trouble;

/// The oldest minor version of Kubernetes 1 that agents are installed in: from there on it applies on the server's side for good, has Pod
/// Security, and removes Jobs that have ended, on which agents for one audit rely.
const OLDEST_MINOR: u32 = 23;

/// Fails if a server says that it is too old. One that does not say is given the benefit of the doubt: it refuses what it does not know.
pub(super) async fn require_version(client: &kube::Client) -> Result<(), Trouble> {
    match client.apiserver_version().await {
        Ok(info) => judge(&info.git_version),
        Err(kube::Error::Api(_)) => Ok(()),
        Err(error) => Err(Trouble::of("ask for the version", &error)),
    }
}

fn judge(version: &str) -> Result<(), Trouble> {
    let mut numbers = version
        .trim_start_matches('v')
        .split(['.', '-', '+'])
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(1)), Some(Ok(minor))) if minor < OLDEST_MINOR => Err(Trouble::new(format!(
            "it runs Kubernetes {version}, and agents need 1.{OLDEST_MINOR} or later: nothing was changed (`--agents none` audits by what its API says)"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_its_age_counts() {
        for (version, is_too_old) in [
            ("v1.19.16", true),
            ("v1.22.17-gke.100", true),
            ("v1.23.0", false),
            ("v1.31.4+k3s1", false),
            ("v1.9.0", true),
            ("v2.0.0", false),
            ("", false),
            ("unknown", false),
        ] {
            assert_eq!(judge(version).is_err(), is_too_old, "{version}");
        }
        let said = judge("v1.19.16").unwrap_err().0;
        assert!(said.contains("v1.19.16") && said.contains("1.23"), "{said}");
    }
}
