//! Which HTTP proxy the environment names for a server, by the rules that kubectl follows: HTTPS_PROXY and HTTP_PROXY by
//! the scheme of the server's address, nothing for loopback, and NO_PROXY held against the server.
//!
//! The client library looks at HTTPS_PROXY alone and holds NO_PROXY against the proxy.

use std::net::IpAddr;

use http::Uri;
use prejoin_checks::cidr::Cidr;

/// The proxy to reach `server` through; `variable` looks up an environment variable.
pub fn from_environment(server: &Uri, variable: impl Fn(&str) -> Option<String>) -> Option<Uri> {
    let value = |name: &str| {
        let found = variable(name).or_else(|| variable(&name.to_ascii_lowercase()));
        found.filter(|value| !value.is_empty())
    };
    let host = server.host()?.trim_matches(['[', ']']).to_ascii_lowercase();
    let https = server.scheme_str() != Some("http");
    let port = server.port_u16().unwrap_or(if https { 443 } else { 80 });
    let proxy = value(if https { "HTTPS_PROXY" } else { "HTTP_PROXY" })?;
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return None;
    }
    let passed_by = value("NO_PROXY").unwrap_or_default();
    if passed_by
        .split(',')
        .any(|entry| matches(entry.trim(), &host, port, address))
    {
        return None;
    }
    if proxy.contains("://") {
        proxy.parse().ok()
    } else {
        format!("http://{proxy}").parse().ok()
    }
}

/// Whether an entry of NO_PROXY names this server: `*`, an address, a block, or a domain with all below it.
fn matches(entry: &str, host: &str, port: u16, address: Option<IpAddr>) -> bool {
    if entry.is_empty() {
        return false;
    }
    if entry == "*" {
        return true;
    }
    if let Some(address) = address {
        let (entry, wanted) = with_port(entry);
        let block: Option<Cidr> = entry.trim_matches(['[', ']']).parse().ok();
        return wanted.is_none_or(|wanted| wanted == port) && block.is_some_and(|block| block.contains_addr(address));
    }
    let (domain, wanted) = with_port(entry);
    let domain = domain.to_ascii_lowercase();
    let below = domain.trim_start_matches('*').trim_start_matches('.');
    let whole = domain == below && host == below;
    let inside = host.strip_suffix(below).is_some_and(|rest| rest.ends_with('.'));
    wanted.is_none_or(|wanted| wanted == port) && (whole || inside)
}

/// Splits `host:port`; an IPv6 address without brackets has no port.
fn with_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(server: &str, variables: &[(&str, &str)]) -> Option<String> {
        let look_up = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        from_environment(&server.parse().unwrap(), look_up).map(|proxy| proxy.to_string())
    }

    const PROXY: (&str, &str) = ("HTTPS_PROXY", "http://proxy.corp:3128/");

    #[test]
    fn the_variable_goes_by_the_scheme_of_the_server() {
        assert_eq!(
            proxy("https://api.example.com:6443", &[PROXY]).as_deref(),
            Some("http://proxy.corp:3128/")
        );
        assert_eq!(proxy("http://api.example.com", &[PROXY]), None);
        let lower = ("http_proxy", "proxy.corp:3128");
        assert_eq!(
            proxy("http://api.example.com", &[lower]).as_deref(),
            Some("http://proxy.corp:3128/")
        );
        assert_eq!(proxy("https://api.example.com", &[]), None);
        assert_eq!(proxy("https://api.example.com", &[("HTTPS_PROXY", "")]), None);
    }

    #[test]
    fn loopback_needs_no_proxy() {
        for server in ["https://localhost:6443", "https://127.0.0.1:6443", "https://[::1]:6443"] {
            assert_eq!(proxy(server, &[PROXY]), None, "{server}");
        }
    }

    #[test]
    fn no_proxy_names_servers_that_are_reached_directly() {
        for (server, list, direct) in [
            ("https://api.example.com", "*", true),
            ("https://api.example.com", "example.com", true),
            ("https://api.example.com", ".example.com", true),
            ("https://api.example.com", "*.example.com", true),
            ("https://API.example.com", "api.EXAMPLE.com", true),
            ("https://example.com", "example.com", true),
            ("https://example.com", ".example.com", false),
            ("https://badexample.com", "example.com", false),
            ("https://api.example.com", "a.org, example.com:443 ,b.org", true),
            ("https://api.example.com", "example.com:6443", false),
            ("https://api.example.com", "", false),
            ("https://api.example.com", ",", false),
            ("https://10.1.2.3:6443", "10.0.0.0/8", true),
            ("https://10.1.2.3:6443", "10.1.2.3", true),
            ("https://10.1.2.3:6443", "10.1.2.3:6443", true),
            ("https://10.1.2.3:6443", "10.1.2.4", false),
            ("https://10.1.2.3:6443", "1.2.3", false),
            ("https://[fd00::1]:6443", "fd00::/8", true),
            ("https://[fd00::1]:6443", "fd00::1", true),
            ("https://[fd00::1]:6443", "[fd00::1]:6443", true),
        ] {
            let through = proxy(server, &[PROXY, ("NO_PROXY", list)]);
            assert_eq!(through.is_none(), direct, "{server} with {list}");
        }
    }
}
