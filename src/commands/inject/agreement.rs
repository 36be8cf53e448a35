//! Whether a configuration and the manifests mean the same app.

use http::{Method, Uri};
use url::Url;

use crate::{
    base::clock::Clock,
    config::{Config, Warning},
    kubernetes::{Report, TRAFFIC_PORT},
    request::Target,
    rules::{Decision, Rules},
};

/// The port of `upstream.url`, unless it is a Unix socket.
pub(super) fn upstream_port(config: &Config) -> Option<u16> {
    Url::parse(&config.upstream.url).ok()?.port_or_known_default()
}

/// What does not agree, in sentences.
pub(super) fn check(config: &Config, report: &Report) -> Vec<String> {
    let mut found = Vec::new();
    let listen = &config.server.listen;
    let port = listen.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if listen.starts_with("unix:") || port != Some(TRAFFIC_PORT) {
        found.push(format!(
            "server.listen is {listen:?}: the Service and the probes come to port {TRAFFIC_PORT}"
        ));
    } else if listen.starts_with("127.")
        || listen.starts_with("localhost")
        || listen.starts_with("[::1]")
    {
        found.push(format!(
            "server.listen is {listen:?}: nobody outside the pod reaches that, write \"0.0.0.0:{TRAFFIC_PORT}\""
        ));
    }
    let url = &config.upstream.url;
    if config.warnings(Clock::system().unix()).contains(&Warning::AppOffLoopback) {
        found.push(format!("upstream.url is {url:?}: in a pod the app is on 127.0.0.1"));
    }
    if let Some(port) = upstream_port(config) {
        for app_port in report.app_ports.iter().filter(|app_port| **app_port != port) {
            found.push(format!("upstream.url is {url:?}, and the app listens on port {app_port}"));
        }
    }
    for path in &report.probe_paths {
        if !is_open(config, path) {
            found.push(format!(
                "no rule lets the probe through: [[rules]] path = {path:?}, methods = [\"GET\"], access = \"anonymous\""
            ));
        }
    }
    found
}

/// Whether somebody without a session may GET `path`.
fn is_open(config: &Config, path: &str) -> bool {
    // The rules were accepted with the configuration.
    let Ok(rules) = Rules::build(config.rules.clone(), true) else { return false };
    let Ok(uri) = path.parse::<Uri>() else { return false };
    let Ok(target) = Target::parse(&Method::GET, &uri) else { return false };
    rules.first_match(&Method::GET, &target).decide(None) == Decision::Allow
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Access, RuleSettings};

    fn config(listen: &str, url: &str, open: Option<&str>) -> Config {
        let mut config = Config::default();
        listen.clone_into(&mut config.server.listen);
        url.clone_into(&mut config.upstream.url);
        config.rules = open
            .map(|path| {
                let text = format!("path = {path:?}\nmethods = [\"GET\"]\naccess = \"anonymous\"");
                toml::from_str::<RuleSettings>(&text).unwrap()
            })
            .into_iter()
            .collect();
        assert!(config.rules.iter().all(|rule| rule.access == Access::Anonymous));
        config
    }

    fn report(port: u16, path: &str) -> Report {
        Report { app_ports: vec![port], probe_paths: vec![path.to_owned()], ..Report::default() }
    }

    #[test]
    fn a_configuration_that_fits_is_not_mentioned() {
        let config = config("0.0.0.0:4180", "http://127.0.0.1:8080", Some("/healthz"));
        assert_eq!(check(&config, &report(8080, "/healthz")), [""; 0]);
        assert_eq!(upstream_port(&config), Some(8080));
    }

    #[test]
    fn whatever_does_not_agree_is_named() {
        for (listen, url, rule, words) in [
            ("0.0.0.0:8443", "http://127.0.0.1:8080", "/healthz", "server.listen"),
            ("unix:/run/4180", "http://127.0.0.1:8080", "/healthz", "server.listen"),
            ("127.0.0.1:4180", "http://127.0.0.1:8080", "/healthz", "outside the pod"),
            ("[::]:4180", "http://app:8080", "/healthz", "127.0.0.1"),
            ("[::]:4180", "http://127.0.0.1:3000", "/healthz", "listens on port 8080"),
            ("[::]:4180", "http://127.0.0.1:8080", "/health", "path = \"/healthz\""),
        ] {
            let found = check(&config(listen, url, Some(rule)), &report(8080, "/healthz"));
            assert!(matches!(found.as_slice(), [one] if one.contains(words)), "{found:?}");
        }
        let socket = config("0.0.0.0:4180", "unix:/run/app.sock", Some("/healthz"));
        assert_eq!(check(&socket, &report(8080, "/healthz")), [""; 0]);
        assert_eq!(upstream_port(&socket), None);
    }
}
