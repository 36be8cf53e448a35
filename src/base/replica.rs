//! What a replica says about itself: its configuration, its limits, and how old is what it knows.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::metrics::One;

/// Gauges about one running proxy; clones share them. Times are seconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    configuration_reloads: Family<One, Counter>,
    configuration_stale: Gauge,
    configuration_applied: Gauge,
    configuration_hash: Gauge,
    entra_fetched: Family<One, Gauge>,
    certificate_expiry: Family<One, Gauge>,
    connections_limit: Gauge,
    ready: Gauge,
    started: Gauge,
}

impl Replica {
    pub(super) fn register(&self, r: &mut Registry) {
        // Prometheus sees no increase in a series that begins at one.
        for outcome in ["applied", "failed"] {
            drop(self.configuration_reloads.get_or_create(&[("outcome", outcome)]));
        }
        r.register(
            "configuration_reloads",
            "Changed configurations, by outcome",
            self.configuration_reloads.clone(),
        );
        r.register(
            "configuration_stale",
            "1 while a changed configuration is broken and the one before it is in use",
            self.configuration_stale.clone(),
        );
        r.register_with_unit(
            "configuration_applied_timestamp",
            "When the configuration in use was taken over, in Unix time",
            Unit::Seconds,
            self.configuration_applied.clone(),
        );
        r.register(
            "configuration_hash",
            "The same number on replicas with the same configuration and session keys",
            self.configuration_hash.clone(),
        );
        r.register_with_unit(
            "entra_fetched_timestamp",
            "When a document of Microsoft's was last fetched, in Unix time",
            Unit::Seconds,
            self.entra_fetched.clone(),
        );
        r.register_with_unit(
            "certificate_expiry_timestamp",
            "When a certificate of ours ends, in Unix time",
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
        r.register(
            "connections_limit",
            "Most open client connections: server.limits.connections",
            self.connections_limit.clone(),
        );
        r.register("ready", "1 while /readyz answers 200", self.ready.clone());
        r.register_with_unit(
            "started_timestamp",
            "When the process started, in Unix time",
            Unit::Seconds,
            self.started.clone(),
        );
    }

    /// A changed configuration was taken over, or not.
    pub fn reloaded(&self, applied: bool) {
        let outcome = if applied { "applied" } else { "failed" };
        self.configuration_stale.set(i64::from(!applied));
        self.configuration_reloads.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// A configuration is in use from now on: the first one, or one that was taken over.
    pub fn configured(&self, now: i64, hash: u64) {
        self.configuration_applied.set(now);
        self.configuration_hash.set(i64::try_from(hash).unwrap_or(i64::MAX));
    }

    /// A document of Microsoft's was fetched, and is in use.
    pub fn entra_fetched(&self, document: &'static str, now: i64) {
        self.entra_fetched.get_or_create(&[("document", document)]).set(now);
    }

    /// When the certificate of a section ends, in seconds since 1970; `None` when it has none.
    pub fn certificate(&self, section: &'static str, expires: Option<i64>) {
        let labels = [("certificate", section)];
        match expires {
            Some(expires) => _ = self.certificate_expiry.get_or_create(&labels).set(expires),
            None => _ = self.certificate_expiry.remove(&labels),
        }
    }

    /// The most client connections at a time.
    pub fn limit_connections(&self, most: usize) {
        self.connections_limit.set(i64::try_from(most).unwrap_or(i64::MAX));
    }

    /// Whether requests are welcome.
    pub fn ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    /// The process began.
    pub fn started(&self, now: i64) {
        self.started.set(now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Metrics;

    #[test]
    fn the_end_of_a_certificate_is_there_as_long_as_there_is_a_certificate() {
        let metrics = Metrics::new();
        let line =
            "vestibule_certificate_expiry_timestamp_seconds{certificate=\"entra\"} 1800000000";
        for (at, is_there) in [(None, false), (Some(1_800_000_000), true), (None, false)] {
            metrics.replica().certificate("entra", at);
            let text = metrics.render();
            assert_eq!(text.lines().any(|found| found == line), is_there, "{text}");
        }
    }
}
