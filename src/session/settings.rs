//! `[session]`: the keys that seal a session, its cookie, and how long it lives.

use std::{io, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::redis::{Address, AddressError};
use crate::{
    base::{
        secret::{ExposeSecret, Secret, SecretSource, read_file},
        units::{ByteSize, Span},
    },
    sealing::{Key, KeyError, key_file},
};

/// `[session]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// 32 random bytes each, base64 (`vestibule keygen` prints one). The first seals, all open.
    pub keys: Vec<Secret>,
    /// The same, one a line; blank lines and lines that begin with `#` do not count.
    pub keys_file: Option<PathBuf>,
    /// Name of the session cookie. `__Host-` keeps sibling domains from setting it.
    pub cookie: String,
    /// Absolute, from sign-in: after it the user signs in again, however active.
    pub lifetime: Span,
    /// How long a session lives without a request.
    pub idle_timeout: Span,
    /// How long before its expiry an access token is renewed; at most half of the token's life.
    pub renew_before: Span,
    /// Largest form that is kept in the browser over a sign-in; 0 keeps none.
    pub form_limit: ByteSize,
    /// For apps with `#routes`: a small page instead of the redirect remembers the fragment.
    pub keep_fragment: bool,
    /// Most cookies of 4096 bytes that one session may need; proxies on the way bound the sum.
    pub cookie_budget: usize,
    /// Memory for access tokens that did not fit in the cookies.
    pub token_cache: ByteSize,
    /// Where sessions are kept: in the browser's cookies, or in Redis.
    pub store: StoreKind,
    /// The Redis that all replicas share: `redis://`, `rediss://` (TLS), `redis+cluster://` or
    /// `redis+sentinel://`, with `user:password@`.
    pub redis_url: Option<Secret>,
    /// The same from a file, read again at each connection.
    pub redis_url_file: Option<PathBuf>,
}

/// Where sessions are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// In the browser's cookies: nothing to run.
    #[default]
    Cookie,
    /// In Redis: sign-out ends a session on all replicas.
    Redis,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            keys_file: None,
            cookie: "__Host-vestibule".to_owned(),
            // A working day: nobody signs in twice, nothing outlives the night.
            lifetime: Span::hours(8),
            idle_timeout: Span::hours(1),
            // Covers clock skew and one back-off of Microsoft's token endpoint.
            renew_before: Span::minutes(5),
            // More than people type; what is larger is an upload.
            form_limit: ByteSize::kib(64),
            // Most apps have no routes behind #, and a redirect is faster than a page.
            keep_fragment: false,
            // Three cookies of 4 KB no longer fit the 8 KB header limit of common apps.
            cookie_budget: 2,
            // Five thousand users with the largest tokens that Microsoft issues.
            token_cache: ByteSize::mib(64),
            // No server to run; what Redis adds is sign-out that ends stolen cookies, too.
            store: StoreKind::Cookie,
            redis_url: None,
            redis_url_file: None,
        }
    }
}

/// Why there are no session keys. Names the key that has to change, and never a key's text.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Neither `keys` nor `keys_file`.
    #[error("session keys are needed: `vestibule keygen` prints one")]
    Missing,
    /// `keys` and `keys_file`.
    #[error("give either keys or keys_file, not both")]
    Both,
    /// One of `keys` is no session key.
    #[error("{source}")]
    Key {
        /// Which, from 0.
        index: usize,
        /// Why not.
        source: KeyError,
    },
    /// `keys_file` cannot be read.
    #[error("cannot read {}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `keys_file` holds something else than session keys.
    #[error("in {}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong in it.
        #[source]
        source: KeyError,
    },
}

impl KeysError {
    /// The key of the configuration that has to change.
    pub fn key(&self) -> String {
        match self {
            Self::Missing => "session.keys".to_owned(),
            Self::Both | Self::Unreadable { .. } | Self::File { .. } => {
                "session.keys_file".to_owned()
            }
            Self::Key { index, .. } => format!("session.keys[{index}]"),
        }
    }
}

/// Why there is no Redis to keep sessions in. Never a URL's text: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum StoreSettingsError {
    /// `store = "redis"` without a URL.
    #[error("is needed with store = \"redis\"")]
    Missing,
    /// A URL without `store = "redis"`.
    #[error("does nothing without store = \"redis\"")]
    Idle {
        /// It was given as a file.
        file: bool,
    },
    /// `redis_url` and `redis_url_file`.
    #[error("give either redis_url or redis_url_file, not both")]
    Both,
    /// `redis_url` is no URL of Redis.
    #[error(transparent)]
    Address(AddressError),
    /// `redis_url_file` cannot be read.
    #[error("cannot read {}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `redis_url_file` holds no URL of Redis.
    #[error("in {}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong in it.
        #[source]
        source: AddressError,
    },
}

impl StoreSettingsError {
    /// The key of the configuration that has to change.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Missing | Self::Idle { file: false } | Self::Address(_) => "session.redis_url",
            Self::Idle { file: true }
            | Self::Both
            | Self::Unreadable { .. }
            | Self::File { .. } => "session.redis_url_file",
        }
    }
}

impl Settings {
    /// Whether Redis is reached over a network without TLS.
    pub fn redis_is_in_clear(&self) -> bool {
        let Ok(Some(source)) = self.redis() else { return false };
        let url = source.read().map(|url| Address::parse(url.expose_secret()));
        matches!(url, Ok(Ok(address)) if address.is_in_clear())
    }

    /// Where the URL of Redis is; `None` where the cookies keep the sessions.
    ///
    /// # Errors
    /// See [`StoreSettingsError`].
    pub fn redis(&self) -> Result<Option<SecretSource>, StoreSettingsError> {
        let wanted = self.store == StoreKind::Redis;
        match (&self.redis_url, &self.redis_url_file) {
            (Some(_), Some(_)) => Err(StoreSettingsError::Both),
            (None, None) if wanted => Err(StoreSettingsError::Missing),
            (None, None) => Ok(None),
            (_, file) if !wanted => Err(StoreSettingsError::Idle { file: file.is_some() }),
            (Some(url), None) => {
                Address::parse(url.expose()).map_err(StoreSettingsError::Address)?;
                Ok(Some(SecretSource::Inline(url.clone().into_inner())))
            }
            (None, Some(file)) => {
                let text = read_file(file).map_err(|source| StoreSettingsError::Unreadable {
                    file: file.clone(),
                    source,
                })?;
                Address::parse(text.expose_secret())
                    .map_err(|source| StoreSettingsError::File { file: file.clone(), source })?;
                Ok(Some(SecretSource::File(file.clone())))
            }
        }
    }

    /// The session keys, from `keys` or from `keys_file` as it is now.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub fn read_keys(&self) -> Result<Vec<Key>, KeysError> {
        match (&self.keys_file, self.keys.as_slice()) {
            (None, []) => Err(KeysError::Missing),
            (Some(_), [_, ..]) => Err(KeysError::Both),
            (None, keys) => {
                let keys = keys.iter().enumerate().map(|(index, key)| {
                    Key::parse(key.expose()).map_err(|source| KeysError::Key { index, source })
                });
                keys.collect()
            }
            (Some(file), []) => {
                let text = read_file(file)
                    .map_err(|source| KeysError::Unreadable { file: file.clone(), source })?;
                key_file::parse_keys(text.expose_secret())
                    .map_err(|source| KeysError::File { file: file.clone(), source })
            }
        }
    }
}
