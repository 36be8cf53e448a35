//! What metrics say about the configuration in use: which one it is, since when, and how long its
//! certificates last.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::assembly::Lasting;
use crate::{
    base::{clock::rfc3339, pem, x509::Facts},
    config::Config,
    sealing::Keyring,
};

/// Seconds before its end in which a certificate is worth a line of the log.
const NEAR: i64 = 30 * 86_400;

/// Told when the configuration is taken into use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vitals {
    hash: u64,
    /// The key in the configuration, and the certificate's last second.
    certificates: [(&'static str, Option<i64>); 2],
}

impl Vitals {
    /// Reads the certificates' files.
    pub(super) fn of(config: &Config, keyring: &Keyring) -> Self {
        let expires = |file: &Option<PathBuf>| {
            let chain = pem::certificates(file.as_ref()?).ok()?;
            Some(Facts::read(chain.first()?)?.not_after)
        };
        let certificates = [
            ("server.tls", expires(&config.server.tls.certificate_file)),
            ("upstream", expires(&config.upstream.certificate_file)),
        ];
        Self { hash: hash(config, keyring), certificates }
    }

    /// From now on this is in use.
    pub(super) fn tell(&self, lasting: &Lasting) {
        let now = lasting.clock.unix();
        lasting.metrics.replica().configured(now, self.hash);
        for (place, expires) in self.certificates {
            lasting.metrics.replica().certificate(place, expires);
            if let Some(expires) = expires.filter(|expires| expires - now < NEAR) {
                tracing::warn!(
                    certificate = place,
                    expires = rfc3339(expires),
                    "a certificate has ended, or ends soon"
                );
            }
        }
    }
}

/// The same for replicas whose sessions and rules are the same. Of secrets only the ids of the
/// session keys are in it, which stand in every cookie. Six bytes: a metric is a double.
fn hash(config: &Config, keyring: &Keyring) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(config.to_toml().unwrap_or_default());
    for id in keyring.ids() {
        hasher.update(id);
    }
    hasher.finalize().iter().take(6).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealing::{Binding, Key};

    fn keyring(keys: &[Key]) -> Keyring {
        let binding = Binding {
            origin: "https://app.contoso.com".to_owned(),
            client_id: "client".to_owned(),
            tenant: "tenant".to_owned(),
        };
        let copies = keys.iter().map(|key| Key::parse(&key.to_text()).unwrap()).collect();
        Keyring::new(copies, binding).unwrap()
    }

    #[test]
    fn replicas_agree_on_the_hash_until_a_rule_a_key_or_the_keys_order_differs() {
        let (one, two) = (Key::generate().unwrap(), Key::generate().unwrap());
        let keys = [one, two];
        let mut config = Config::default();
        let hash_now = hash(&config, &keyring(&keys));
        assert_eq!(hash(&config, &keyring(&keys)), hash_now);
        assert!(hash_now > 0 && hash_now < 1 << 48, "{hash_now}");
        assert_ne!(hash(&config, &keyring(&keys[..1])), hash_now);
        config.log.user = true;
        assert_ne!(hash(&config, &keyring(&keys)), hash_now);
        config.log.user = false;
        let [one, two] = keys;
        assert_ne!(hash(&config, &keyring(&[two, one])), hash_now);
    }
}
