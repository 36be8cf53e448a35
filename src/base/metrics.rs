//! Every metric that the proxy has, by name.

use std::{
    fmt::Write as _,
    sync::{Arc, OnceLock},
    time::Duration,
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use super::{process::Memory, replica::Replica};

/// One fixed label.
pub(super) type One = [(&'static str, &'static str); 1];
/// Two fixed labels.
type Two = [(&'static str, &'static str); 2];

/// The proxy's metrics; clones share them. Label values are fixed words, never text of a request.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    requests: Family<Two, Counter>,
    /// Those of [`DECISIONS`] and [`CLASSES`], found once: each request asks for one.
    usual_requests: Arc<[[OnceLock<Counter>; CLASSES.len()]; DECISIONS.len()]>,
    request_duration: Histogram,
    sign_ins: Family<One, Counter>,
    renewals: Family<One, Counter>,
    refusals: Family<One, Counter>,
    idle_closed: Counter,
    clients_gone: Counter,
    entra_duration: Family<Two, Histogram, fn() -> Histogram>,
    store_duration: Family<Two, Histogram, fn() -> Histogram>,
    upstream_duration: Histogram,
    upstream_errors: Family<One, Counter>,
    upstream_retries: Counter,
    dropped_set_cookies: Counter,
    session_cookie_bytes: Histogram,
    access_token_bytes: Histogram,
    seals: Family<One, Counter>,
    shelf_entries: Gauge,
    shelf_bytes: Gauge,
    shelf_lookups: Family<One, Counter>,
    connections: Gauge,
    connections_resting: Gauge,
    tunnels: Gauge,
    streams_ended: Family<One, Counter>,
    panics: Counter,
    replica: Replica,
}

/// What may be decided about a request.
const DECISIONS: [&str; 7] =
    ["allow", "anonymous", "sign_in", "login_required", "forbid", "own", "error"];
/// Classes of statuses; the last one is everything else, too.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Outcomes that alerts count one by one. They are there at zero from the start: Prometheus sees
/// no increase in a series that begins at one.
const SIGN_INS: [&str; 5] = ["begun", "succeeded", "refused", "loop", "too_large"];
const RENEWALS: [&str; 3] = ["renewed", "ended", "failed"];
const LOOKUPS: [&str; 2] = ["hit", "miss"];

const LATENCY: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];
const COOKIE_BYTES: [f64; 8] = [1024.0, 2048.0, 2816.0, 4096.0, 6144.0, 7168.0, 8192.0, 16_384.0];

fn latency() -> Histogram {
    Histogram::new(LATENCY)
}

fn sizes() -> Histogram {
    Histogram::new(COOKIE_BYTES)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Arc::default(),
            requests: Family::default(),
            usual_requests: Arc::default(),
            request_duration: latency(),
            sign_ins: Family::default(),
            renewals: Family::default(),
            refusals: Family::default(),
            idle_closed: Counter::default(),
            clients_gone: Counter::default(),
            entra_duration: Family::new_with_constructor(latency as fn() -> Histogram),
            store_duration: Family::new_with_constructor(latency as fn() -> Histogram),
            upstream_duration: latency(),
            upstream_errors: Family::default(),
            upstream_retries: Counter::default(),
            dropped_set_cookies: Counter::default(),
            session_cookie_bytes: sizes(),
            access_token_bytes: sizes(),
            seals: Family::default(),
            shelf_entries: Gauge::default(),
            shelf_bytes: Gauge::default(),
            shelf_lookups: Family::default(),
            connections: Gauge::default(),
            connections_resting: Gauge::default(),
            tunnels: Gauge::default(),
            streams_ended: Family::default(),
            panics: Counter::default(),
            replica: Replica::default(),
        };
        for (family, outcomes) in [
            (&metrics.sign_ins, &SIGN_INS[..]),
            (&metrics.renewals, &RENEWALS[..]),
            (&metrics.shelf_lookups, &LOOKUPS[..]),
        ] {
            for outcome in outcomes {
                drop(family.get_or_create(&[("outcome", outcome)]));
            }
        }
        metrics.registry = Arc::new(metrics.registered());
        metrics
    }

    fn registered(&self) -> Registry {
        let mut registry = Registry::with_prefix("vestibule");
        let r = &mut registry;
        r.register("requests", "Requests by decision and status class", self.requests.clone());
        r.register_with_unit(
            "request_duration",
            "From the request's head to the response's head",
            Unit::Seconds,
            self.request_duration.clone(),
        );
        r.register("sign_ins", "Sign-ins by outcome", self.sign_ins.clone());
        r.register("renewals", "Token renewals by outcome", self.renewals.clone());
        r.register("refusals", "Requests that were refused, by reason", self.refusals.clone());
        r.register_with_unit(
            "entra_request_duration",
            "Calls to Microsoft by endpoint and outcome",
            Unit::Seconds,
            self.entra_duration.clone(),
        );
        r.register_with_unit(
            "store_operation_duration",
            "Calls to the session store by operation and outcome",
            Unit::Seconds,
            self.store_duration.clone(),
        );
        r.register_with_unit(
            "upstream_duration",
            "From the request sent to the app until its response's head",
            Unit::Seconds,
            self.upstream_duration.clone(),
        );
        r.register(
            "upstream_errors",
            "Requests the app did not answer",
            self.upstream_errors.clone(),
        );
        r.register(
            "upstream_retries",
            "Requests sent again because the app had closed the connection",
            self.upstream_retries.clone(),
        );
        r.register(
            "dropped_set_cookies",
            "Set-Cookie fields of the app under our names",
            self.dropped_set_cookies.clone(),
        );
        r.register_with_unit(
            "session_cookie",
            "Size of a session in cookies",
            Unit::Bytes,
            self.session_cookie_bytes.clone(),
        );
        r.register_with_unit(
            "access_token",
            "Size of the access tokens that the app receives",
            Unit::Bytes,
            self.access_token_bytes.clone(),
        );
        r.register("seals", "Messages sealed, by purpose", self.seals.clone());
        r.register(
            "token_cache_entries",
            "Access tokens that did not fit in cookies, in memory",
            self.shelf_entries.clone(),
        );
        r.register_with_unit(
            "token_cache_size",
            "Memory that they take",
            Unit::Bytes,
            self.shelf_bytes.clone(),
        );
        r.register(
            "token_cache_lookups",
            "Looks for such a token, by outcome; each miss is one call to Microsoft at most",
            self.shelf_lookups.clone(),
        );
        self.register_connections(r);
        r.register("panics", "Requests that ended in a panic", self.panics.clone());
        self.replica.register(r);
        r.register("build", "This program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        r.register_collector(Box::new(Memory));
        registry
    }

    fn register_connections(&self, r: &mut Registry) {
        r.register("connections", "Open client connections", self.connections.clone());
        r.register(
            "connections_resting",
            "Those of them that wait for a request without keeping buffers for it",
            self.connections_resting.clone(),
        );
        r.register("tunnels", "Open WebSocket tunnels", self.tunnels.clone());
        r.register(
            "streams_ended",
            "Tunnels, running responses and uploads that were ended, by reason",
            self.streams_ended.clone(),
        );
        r.register(
            "idle_connections_closed",
            "Client connections that waited too long for their next request",
            self.idle_closed.clone(),
        );
        r.register(
            "clients_gone",
            "Requests whose client went away before there was an answer",
            self.clients_gone.clone(),
        );
    }

    /// A request was answered: what was decided (`allow`, `sign_in` …), the status, how long.
    pub fn request(&self, decision: &'static str, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        let code = CLASSES.get(class).copied().unwrap_or_default();
        let requests =
            || self.requests.get_or_create_owned(&[("decision", decision), ("code", code)]);
        let usual = DECISIONS.iter().position(|usual| *usual == decision);
        let usual = usual.and_then(|row| self.usual_requests.get(row)?.get(class));
        match usual {
            Some(counter) => counter.get_or_init(requests).inc(),
            None => requests().inc(),
        };
        self.request_duration.observe(took.as_secs_f64());
    }

    /// A sign-in ended.
    pub fn sign_in(&self, outcome: &'static str) {
        self.sign_ins.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// A renewal ended.
    pub fn renewal(&self, outcome: &'static str) {
        self.renewals.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// A request was refused.
    pub fn refusal(&self, reason: &'static str) {
        self.refusals.get_or_create(&[("reason", reason)]).inc();
    }

    /// A client's connection had waited long enough for its next request.
    pub fn idle_closed(&self) {
        self.idle_closed.inc();
    }

    /// A client went away before its answer.
    pub fn client_gone(&self) {
        self.clients_gone.inc();
    }

    /// A call to Microsoft ended.
    pub fn entra(&self, endpoint: &'static str, outcome: &'static str, took: Duration) {
        let labels = [("endpoint", endpoint), ("outcome", outcome)];
        self.entra_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A call to the session store ended.
    pub fn store(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        let labels = [("operation", operation), ("outcome", outcome)];
        self.store_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The app answered.
    pub fn upstream(&self, took: Duration) {
        self.upstream_duration.observe(took.as_secs_f64());
    }

    /// The app did not answer.
    pub fn upstream_error(&self, reason: &'static str) {
        self.upstream_errors.get_or_create(&[("reason", reason)]).inc();
    }

    /// A request was sent to the app again.
    pub fn upstream_retried(&self) {
        self.upstream_retries.inc();
    }

    /// The app tried to set one of our cookies.
    pub fn set_cookie_dropped(&self) {
        self.dropped_set_cookies.inc();
    }

    /// A session was written: its cookies' bytes (names and values), its access token's bytes.
    pub fn session_written(&self, cookie_bytes: usize, access_token_bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
        {
            self.session_cookie_bytes.observe(cookie_bytes as f64);
            self.access_token_bytes.observe(access_token_bytes as f64);
        }
    }

    /// A message was sealed.
    pub fn sealed(&self, purpose: &'static str) {
        self.seals.get_or_create(&[("purpose", purpose)]).inc();
    }

    /// An access token went on the shelf, which now holds so many and so many bytes.
    pub fn shelved(&self, entries: usize, bytes: u64) {
        self.shelf_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.shelf_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Somebody looked for an access token on the shelf.
    pub fn shelf_asked(&self, found: bool) {
        let outcome = if found { "hit" } else { "miss" };
        self.shelf_lookups.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Open client connections.
    pub fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// Those of them that wait for a request without keeping buffers for it.
    pub fn connections_resting(&self) -> &Gauge {
        &self.connections_resting
    }

    /// Open tunnels.
    pub fn tunnels(&self) -> &Gauge {
        &self.tunnels
    }

    /// Streams were ended before their sides wanted it.
    pub fn streams_ended(&self, reason: &'static str, streams: usize) {
        let counter = self.streams_ended.get_or_create(&[("reason", reason)]);
        counter.inc_by(u64::try_from(streams).unwrap_or(u64::MAX));
    }

    /// A request ended in a panic.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// What this replica says about itself.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Everything in the text format of `OpenMetrics`.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
            let _ = text.write_str("# EOF\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `promtool check metrics` and `OpenMetrics` ask for.
    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let metrics = Metrics::new();
        metrics.request("allow", 200, Duration::from_millis(3));
        metrics.entra("token", "ok", Duration::from_millis(90));
        metrics.session_written(3000, 2000);
        metrics.upstream_error("refused");
        let text = metrics.render();
        let mut kinds = 0;
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            kinds += 1;
            assert!(name.starts_with("vestibule_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert!(!name.ends_with("_total") && !name.ends_with("_count"), "{name}");
            if kind == "histogram" {
                assert!(name.ends_with("_seconds") || name.ends_with("_bytes"), "{name}");
            }
        }
        assert!(kinds > 10, "{text}");
        assert!(text.ends_with("# EOF\n"));
        for line in [
            "vestibule_requests_total{decision=\"allow\",code=\"2xx\"} 1",
            "vestibule_upstream_errors_total{reason=\"refused\"} 1",
            "vestibule_request_duration_seconds_count 1",
            "vestibule_session_cookie_bytes_sum 3000.0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in {text}");
        }
        let info = format!("vestibule_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&info), "{text}");
    }
}
