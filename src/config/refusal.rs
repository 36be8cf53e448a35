//! What cannot be safe, or cannot work, although each value alone is well formed. Each refusal is
//! tied to the key that has to change.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use super::{
    Config,
    node::{Content, Layer},
    problem::{Place, Problem},
    reading::{Findings, join},
};
use crate::{
    base::{
        causes::Causes,
        lifecycle::Lifecycle,
        metrics::Metrics,
        telemetry,
        units::{ByteSize, Span},
    },
    entra::{SettingsError, Tenant},
    identity::{Identity, IdentityError},
    request::PublicUrl,
    rules::Rules,
    sealing::{Binding, Key, Keyring},
    server::{self, Tls},
    session::{KeysError, StoreSettingsError},
    upstream::{BuildError, TlsError, Upstream},
};

/// More threads than any machine has CPUs is a slip of the finger.
const MOST_WORKERS: usize = 1024;
/// A session needs up to 8 KiB of cookies beside the app's own.
const SMALLEST_HEAD: ByteSize = ByteSize::kib(16);
/// One client must not be able to fill the memory.
const LARGEST_HEAD: ByteSize = ByteSize::mib(1);

/// Notes everything that must be refused.
pub(super) fn refuse(
    config: &Config,
    layers: &[Layer],
    places: &[(String, Place)],
    found: &mut Findings,
) {
    let mut refusals = Refusals { layers, places, found };
    refusals.server(config);
    refusals.limits(config);
    refusals.admin(config);
    refusals.entra(config);
    refusals.session_keys(config);
    refusals.session_cookie(config);
    refusals.session_times(config);
    refusals.session_store(config);
    refusals.upstream(config);
    refusals.identity(config);
    refusals.log(config);
    refusals.rules(config);
}

struct Refusals<'a> {
    layers: &'a [Layer],
    /// Who set which secret, in the order of lists.
    places: &'a [(String, Place)],
    found: &'a mut Findings,
}

impl Refusals<'_> {
    fn server(&mut self, config: &Config) {
        let server = &config.server;
        if server.public_url.is_none() {
            let hint = "for example public_url = \"https://app.contoso.com\"";
            self.refuse("server.public_url", "is needed: the origin that browsers see", Some(hint));
        }
        if let Err(error) = server.trusted_proxies.check() {
            self.refuse("server.trusted_proxies", Causes(&error).to_string(), None);
        }
        let listens = match server.listen.strip_prefix("unix:") {
            Some(path) => Path::new(path).is_absolute(),
            None => is_address(&server.listen),
        };
        if !listens {
            let message = "expected an address such as \"0.0.0.0:4180\", or \"unix:/path\"";
            self.refuse("server.listen", message, None);
        }
        match Tls::load(&server.tls) {
            Ok(Some(_)) if server.listen.starts_with("unix:") => {
                let message = "is for TCP: whoever opens a Unix socket is on this machine";
                self.refuse("server.tls.certificate_file", message, None);
            }
            Ok(_) => {}
            Err(error) => {
                let tls = &server.tls;
                let at_key = match &error {
                    server::TlsError::File(error) => {
                        tls.private_key_file.as_deref() == Some(error.file())
                    }
                    server::TlsError::Half => tls.certificate_file.is_none(),
                    server::TlsError::Unusable(_) => true,
                };
                let key = if at_key { "private_key_file" } else { "certificate_file" };
                self.refuse(&format!("server.tls.{key}"), Causes(&error).to_string(), None);
            }
        }
        if server.workers > MOST_WORKERS {
            let message = format!("expected at most {MOST_WORKERS} threads; 0 is one per CPU");
            self.refuse("server.workers", message, None);
        }
    }

    /// A limit of nothing refuses everybody; it is not "without a limit".
    fn limits(&mut self, config: &Config) {
        let limits = &config.server.limits;
        let nothing = Span::seconds(0);
        for (key, is_nothing) in [
            ("connections", limits.connections == 0),
            ("headers", limits.headers == 0),
            ("streams", limits.streams == 0),
            ("resets", limits.resets == 0),
            ("control_frames", limits.control_frames == 0),
            ("handshake_time", limits.handshake_time == nothing),
            ("header_time", limits.header_time == nothing),
            ("idle_time", limits.idle_time == nothing),
            ("body_time", limits.body_time == nothing),
            ("write_time", limits.write_time == nothing),
        ] {
            if is_nothing {
                let message = "must be more than 0: every limit is in force";
                self.refuse(&format!("server.limits.{key}"), message, None);
            }
        }
        let head = limits.header_bytes;
        if !(SMALLEST_HEAD..=LARGEST_HEAD).contains(&head) {
            let message = format!("expected {SMALLEST_HEAD} to {LARGEST_HEAD}");
            self.refuse("server.limits.header_bytes", message, None);
        }
    }

    fn admin(&mut self, config: &Config) {
        let (admin, server) = (&config.admin, &config.server);
        if !is_address(&admin.listen) {
            let message = "expected an address such as \"127.0.0.1:4191\"";
            self.refuse("admin.listen", message, None);
        }
        if admin.listen == server.listen && !admin.listen.ends_with(":0") {
            let message = "must not be server.listen: probes and metrics are never public";
            self.refuse("admin.listen", message, None);
        }
    }

    fn entra(&mut self, config: &Config) {
        for error in config.entra.check() {
            let key = error.key();
            let hint = match key {
                "entra.tenant" => "for example tenant = \"contoso.onmicrosoft.com\"",
                "entra.client_id" => {
                    "for example client_id = \"00001111-aaaa-2222-bbbb-3333cccc4444\""
                }
                "entra.client_secret" if error == SettingsError::CredentialMissing => {
                    "for example client_secret_file = \"/run/secrets/client-secret\""
                }
                _ => "",
            };
            self.refuse(
                key,
                Causes(&error).to_string(),
                Some(hint).filter(|hint| !hint.is_empty()),
            );
        }
    }

    fn upstream(&mut self, config: &Config) {
        let settings = &config.upstream;
        for (key, span) in [
            ("upstream.connect_timeout", settings.connect_timeout),
            ("upstream.idle_timeout", settings.idle_timeout),
        ] {
            if span == Span::seconds(0) {
                self.refuse(key, "must be more than 0: it is always in force", None);
            }
        }
        // Nothing is dialled by a build.
        let built = Upstream::build(settings, 1, Lifecycle::new(), Metrics::new());
        let Err(error) = built else { return };
        let key = match &error {
            BuildError::Url(_) => "upstream.url",
            BuildError::Tls(error) => match error {
                TlsError::File(error) => {
                    let is = |key: &Option<PathBuf>| key.as_deref() == Some(error.file());
                    if is(&settings.ca_file) {
                        "upstream.ca_file"
                    } else if is(&settings.private_key_file) {
                        "upstream.private_key_file"
                    } else {
                        "upstream.certificate_file"
                    }
                }
                TlsError::Half if settings.certificate_file.is_none() => {
                    "upstream.private_key_file"
                }
                TlsError::Half => "upstream.certificate_file",
                TlsError::Unusable(_) if settings.certificate_file.is_none() => "upstream.ca_file",
                TlsError::Unusable(_) => "upstream.certificate_file",
            },
        };
        let message =
            error.source().map_or_else(|| error.to_string(), |cause| Causes(cause).to_string());
        self.refuse(key, message, None);
    }

    fn identity(&mut self, config: &Config) {
        let mut settings = config.identity.clone();
        // Which names are refused does not depend on the origin.
        let Ok(origin) = PublicUrl::parse("http://localhost") else { return };
        // The first wrong header ends a build, so each is noted, taken out and the rest tried again.
        while let Err(error) = Identity::build(settings.clone(), &origin) {
            let (IdentityError::Name(name)
            | IdentityError::Unusable(name)
            | IdentityError::Twice(name)
            | IdentityError::Claim(name)) = &error;
            let key = join("identity.headers", name);
            self.refuse_at(&["identity", "headers", name], &key, Causes(&error).to_string(), None);
            if settings.headers.remove(name).is_none() {
                return;
            }
        }
    }

    fn rules(&mut self, config: &Config) {
        let tenant = config.entra.tenant.as_deref().and_then(Tenant::parse);
        let allowed = config.entra.allowed_tenants.len();
        let single_tenant = tenant.is_none_or(|tenant| tenant.is_single(allowed));
        for (position, rule) in config.rules.iter().enumerate() {
            // One by one, so that every wrong rule is named.
            if let Err(error) = Rules::build(vec![rule.clone()], single_tenant) {
                let index = self.index_in_source("rules", position);
                let key = format!("rules[{index}].{}", error.flaw.key());
                self.refuse(&key, Causes(&error.flaw).to_string(), None);
            }
        }
    }

    /// Entries that were found wrong are no longer in the configuration, but count in its source.
    fn index_in_source(&self, list: &str, position: usize) -> usize {
        let mut lists = self.layers.iter().rev().filter_map(|layer| layer.find(&[list]));
        let Some(Content::List(items)) = lists.next().map(|node| &node.content) else {
            return position;
        };
        let mut present = items.iter().enumerate().filter(|(_, item)| item.is_some());
        present.nth(position).map_or(position, |(index, _)| index)
    }

    fn log(&mut self, config: &Config) {
        if let Err(error) = telemetry::check_level(&config.log.level) {
            self.refuse("log.level", Causes(&error).to_string(), None);
        }
    }

    fn session_keys(&mut self, config: &Config) {
        let session = &config.session;
        // Each key by itself first, so that all that are wrong are named.
        let mut broken = false;
        for (index, key) in session.keys.iter().enumerate() {
            if let Err(error) = Key::parse(key.expose()) {
                broken = true;
                self.refuse(&format!("session.keys[{index}]"), Causes(&error).to_string(), None);
            }
        }
        if broken {
            return;
        }
        let keys = match session.read_keys() {
            Ok(keys) => keys,
            Err(error @ KeysError::Missing) => {
                let hint = "for example keys_file = \"/run/secrets/session-keys\"";
                return self.refuse("session.keys", error.to_string(), Some(hint));
            }
            Err(error) => return self.refuse(&error.key(), Causes(&error).to_string(), None),
        };
        // Whether the keys go together does not depend on what they are bound to.
        let nothing =
            Binding { origin: String::new(), client_id: String::new(), tenant: String::new() };
        if let Err(error) = Keyring::new(keys, nothing) {
            let key = if session.keys.is_empty() { "session.keys_file" } else { "session.keys" };
            self.refuse(key, Causes(&error).to_string(), None);
        }
    }

    fn session_cookie(&mut self, config: &Config) {
        let session = &config.session;
        let name = session.cookie.strip_prefix("__Host-");
        if name.is_none() {
            let message = "must begin with __Host-, or any sibling domain could set it";
            self.refuse("session.cookie", message, Some("for example \"__Host-vestibule\""));
        }
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_some_and(|name| name.is_empty() || !name.bytes().all(token)) {
            // RFC 6265 §4.1.1: a cookie's name is an RFC 9110 token.
            let message = "expected letters, digits and - or _ after __Host-";
            self.refuse("session.cookie", message, None);
        }
        if session.cookie.len() > 64 {
            self.refuse("session.cookie", "expected at most 64 characters", None);
        }
        if !(1..=8).contains(&session.cookie_budget) {
            self.refuse("session.cookie_budget", "expected 1 to 8 cookies", None);
        }
    }

    fn session_times(&mut self, config: &Config) {
        let session = &config.session;
        let nothing = Span::seconds(0);
        for (key, span) in
            [("session.lifetime", session.lifetime), ("session.idle_timeout", session.idle_timeout)]
        {
            if span == nothing {
                self.refuse(key, "must be longer than nothing: no session would live", None);
            }
        }
        if session.lifetime == nothing {
            return;
        }
        for (key, span) in [
            ("session.idle_timeout", session.idle_timeout),
            ("session.renew_before", session.renew_before),
        ] {
            if span > session.lifetime {
                let message = format!("must not be longer than lifetime, {}", session.lifetime);
                self.refuse(key, message, None);
            }
        }
    }

    fn session_store(&mut self, config: &Config) {
        let Err(error) = config.session.redis() else { return };
        let hint = matches!(error, StoreSettingsError::Missing)
            .then_some("for example redis_url_file = \"/run/secrets/redis-url\"");
        self.refuse(error.key(), Causes(&error).to_string(), hint);
    }

    /// Notes a refusal of a key, unless something is already known to be wrong with it.
    fn refuse(&mut self, key: &str, message: impl Into<String>, hint: Option<&str>) {
        let steps: Vec<&str> = key.split(['.', '[', ']']).filter(|step| !step.is_empty()).collect();
        self.refuse_at(&steps, key, message, hint);
    }

    /// The same for a key with a free name, which may hold dots.
    fn refuse_at(
        &mut self,
        steps: &[&str],
        key: &str,
        message: impl Into<String>,
        hint: Option<&str>,
    ) {
        let same = |problem: &Problem| {
            let rest = problem.key.strip_prefix(key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let is_set = self.layers.iter().any(|layer| layer.find(steps).is_some());
        let misspelt = !is_set
            && self.found.meant.iter().any(|meant| {
                let rest = key.strip_prefix(meant.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
        if misspelt || self.found.problems.iter().any(same) {
            return;
        }
        let problem = Problem {
            key: key.to_owned(),
            place: self.place(key, steps),
            message: message.into(),
            hint: hint.map(str::to_owned),
        };
        self.found.problems.push(problem);
    }

    /// Who set a key; else the header of its section; else nobody.
    fn place(&self, key: &str, steps: &[&str]) -> Place {
        let (name, index) = match key.split_once('[') {
            Some((name, rest)) => (name, rest.trim_end_matches(']').parse().unwrap_or(0)),
            None => (key, 0),
        };
        let mut secrets = self.places.iter().filter(|(secret, _)| secret == name);
        if let Some((_, place)) = secrets.nth(index) {
            return place.clone();
        }
        for length in (1..=steps.len()).rev() {
            let steps = steps.get(..length).unwrap_or_default();
            let mut nodes = self.layers.iter().rev().filter_map(|layer| layer.find(steps));
            if let Some(node) = nodes.find(|node| node.place != Place::Nowhere) {
                return node.place.clone();
            }
        }
        Place::Nowhere
    }
}

/// A host and a port; whether the host resolves is seen when it is bound.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_fits = bracketed || !(host.is_empty() || host.contains([':', '/', ' ', '@']));
    host_fits && port.parse::<u16>().is_ok()
}
