//! What is allowed and yet worth a second look, told at `check` and at every start.

use super::Config;
use crate::{
    base::{lifecycle::Lifecycle, metrics::Metrics},
    entra::Concern,
    request::PublicUrl,
    upstream::Upstream,
};

/// Something that may be meant, and may be a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Whoever reaches the app without us is not signed in and can forge every header.
    #[error(
        "upstream.url leaves this machine: whoever reaches the app there goes around the proxy; let it listen on loopback or a Unix socket, or close its port to everybody else"
    )]
    AppOffLoopback,
    /// The network between us and the app sees tokens.
    #[error(
        "upstream.url is http and leaves this machine: access tokens cross the network in clear"
    )]
    AppInClear,
    /// Certificates that nothing asks for.
    #[error("upstream.ca_file, certificate_file and private_key_file mean nothing without https")]
    CertificatesUnused,
    /// Sessions are sealed, the password of Redis is not.
    #[error(
        "session.redis_url has no TLS and leaves this machine: its password crosses the network in clear; use rediss://"
    )]
    RedisInClear,
    /// Safari drops `Secure` cookies on plain http, whatever the host.
    #[error(
        "server.public_url is http: for trials on this machine alone, and Safari keeps no session there"
    )]
    PlainHttp,
    /// A credential that does not work, or soon will not.
    #[error(transparent)]
    Credential(#[from] Concern),
}

impl Config {
    /// What is worth a second look at this time, in seconds since 1970.
    pub fn warnings(&self, now: i64) -> Vec<Warning> {
        let settings = &self.upstream;
        let https = settings.url.starts_with("https:");
        let has_certificates = settings.ca_file.is_some()
            || settings.certificate_file.is_some()
            || settings.private_key_file.is_some();
        // A build dials nobody. One that fails was refused before.
        let off_loopback = Upstream::build(settings, 1, Lifecycle::new(), Metrics::new())
            .is_ok_and(|upstream| !upstream.is_loopback());
        let public_http = self.server.public_url.as_ref().is_some_and(PublicUrl::is_loopback_http);
        let candidates = [
            (off_loopback, Warning::AppOffLoopback),
            (off_loopback && !https, Warning::AppInClear),
            (has_certificates && !https, Warning::CertificatesUnused),
            (self.session.redis_is_in_clear(), Warning::RedisInClear),
            (public_http, Warning::PlainHttp),
        ];
        let outlook = self.entra.outlook();
        let credential = outlook.and_then(|outlook| outlook.concern(now)).map(Warning::from);
        let found = candidates.into_iter().filter_map(|(holds, warning)| holds.then_some(warning));
        found.chain(credential).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::StoreKind;

    const NOW: i64 = 1_800_000_000;

    fn warnings(url: &str, public_url: &str) -> Vec<Warning> {
        let mut config = Config::default();
        url.clone_into(&mut config.upstream.url);
        config.server.public_url = Some(public_url.parse().unwrap());
        config.warnings(NOW)
    }

    #[test]
    fn an_app_that_others_can_reach_is_worth_a_warning() {
        let https = "https://app.contoso.test";
        for url in ["http://127.0.0.1:8080", "http://localhost:8080", "unix:/run/app.sock"] {
            assert_eq!(warnings(url, https), [], "{url}");
        }
        let both = [Warning::AppOffLoopback, Warning::AppInClear];
        assert_eq!(warnings("http://app.default.svc:8080", https), both);
        assert_eq!(warnings("https://app.default.svc", https), [Warning::AppOffLoopback]);
        let trial = warnings("http://127.0.0.1:8080", "http://localhost:4180");
        assert_eq!(trial, [Warning::PlainHttp]);
    }

    #[test]
    fn a_redis_that_is_reached_in_clear_is_worth_a_warning() {
        let mut config = Config::default();
        config.session.store = StoreKind::Redis;
        for (url, told) in
            [("redis://127.0.0.1", &[][..]), ("redis://cache", &[Warning::RedisInClear])]
        {
            config.session.redis_url = Some(url.to_owned().into());
            assert_eq!(config.warnings(NOW), told, "{url}");
        }
    }

    #[test]
    fn a_credential_that_does_not_work_now_is_worth_a_warning() {
        let mut config = Config::default();
        // Nothing can be told of one that is refused anyway.
        assert_eq!(config.warnings(NOW), []);
        config.entra.federated_token_file = Some("/nonexistent".into());
        assert_eq!(config.warnings(NOW), []);
        let file = std::env::temp_dir().join(format!("vestibule-warning-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        config.entra.federated_token_file = Some(file.clone());
        assert_eq!(config.warnings(NOW), [Warning::Credential(Concern::NoToken)]);
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn certificates_without_https_are_worth_a_warning() {
        let mut config = Config::default();
        config.upstream.ca_file = Some("/ca.pem".into());
        assert_eq!(config.warnings(NOW), [Warning::CertificatesUnused]);
    }
}
