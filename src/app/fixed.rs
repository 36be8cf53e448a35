//! What is decided when a process starts, and needs a new one to change.

use serde_json::Value;

use crate::config::Config;

/// Sockets, threads and the shape of log lines: made once, before the first request.
const KEYS: [&str; 5] =
    ["/server/listen", "/server/workers", "/server/proxy_protocol", "/admin/listen", "/log/format"];
/// Limits belong to the listener, but for these, which each request reads.
const LIMITS: &str = "/server/limits";
const FREE_LIMITS: [&str; 2] = ["body_bytes", "body_time"];
/// Whether there is TLS; the certificate may change.
const TLS: &str = "/server/tls";

/// What the running process was started with.
#[derive(Debug)]
pub(super) struct Fixed(Vec<(&'static str, Option<Value>)>);

impl Fixed {
    pub(super) fn of(config: &Config) -> Self {
        let mut limits = config.value(LIMITS);
        if let Some(Value::Object(limits)) = &mut limits {
            limits.retain(|name, _| !FREE_LIMITS.contains(&name.as_str()));
        }
        let keys = KEYS.into_iter().map(|key| (key, config.value(key)));
        let tls = Some(Value::Bool(config.server.tls.is_on()));
        Self(keys.chain([(LIMITS, limits), (TLS, tls)]).collect())
    }

    /// The keys that `config` would have otherwise, as people write them.
    pub(super) fn ignored_of(&self, config: &Config) -> Vec<String> {
        let pairs = self.0.iter().zip(Self::of(config).0);
        let changed = pairs.filter(|((_, was), (_, is))| was != is);
        changed.map(|((key, _), _)| key.trim_start_matches('/').replace('/', ".")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Span;

    #[test]
    fn what_needs_a_restart_is_named_and_nothing_else() {
        let mut config = Config::default();
        let fixed = Fixed::of(&config);
        config.server.limits.body_time = Span::seconds(1);
        config.server.drain_timeout = Span::seconds(1);
        config.log.level = "debug".to_owned();
        assert_eq!(fixed.ignored_of(&config), Vec::<String>::new());
        config.server.listen = "127.0.0.1:1".to_owned();
        config.server.workers = 7;
        config.server.limits.headers = 7;
        config.server.tls.certificate_file = Some("/etc/app.pem".into());
        config.admin.listen = "127.0.0.1:2".to_owned();
        assert_eq!(
            fixed.ignored_of(&config),
            ["server.listen", "server.workers", "admin.listen", "server.limits", "server.tls"]
        );
    }
}
