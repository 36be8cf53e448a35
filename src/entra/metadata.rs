//! The discovery document: which addresses and which issuers belong to our tenant.
//!
//! It decides where secrets go, so nothing in it is believed that leads away from the configured
//! authority.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use serde_json::{Map, Value};
use tokio::{sync::Mutex, time::timeout};
use url::Url;

use super::{
    authority::{Authority, Issuer, is_safe},
    error::{Endpoint, EntraError},
    wire::{Wire, object},
};
use crate::base::outbound::OutboundError;

/// After a failure everybody fails at once for so many seconds, or each would wait for its own.
const PAUSE: i64 = 5;

/// Why a discovery document is not believed.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// A field is missing, or is not an address.
    #[error("{0} is missing or not an address")]
    Missing(&'static str),
    /// An issuer that is not the configured tenant's (`OpenID` Connect Discovery §4.3).
    #[error("the issuer is not that of the configured authority and tenant")]
    Issuer,
    /// An address elsewhere.
    #[error("{0} leads away from the configured authority")]
    Elsewhere(&'static str),
}

/// Longest that a request waits for a document that nobody knows yet. The fetch goes on without it,
/// and a person who is told to try again soon is better off than one who looks at nothing.
const PATIENCE: Duration = Duration::from_secs(3);

/// What we use of a discovery document.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    pub(super) issuer: Issuer,
    pub(super) authorization: Url,
    pub(super) token: Url,
    pub(super) keys: Url,
    pub(super) end_session: Option<Url>,
    /// Whether authorization responses name their issuer (RFC 9207 §3).
    pub(super) names_issuer_in_responses: bool,
}

impl Metadata {
    fn read(authority: &Authority, document: &Map<String, Value>) -> Result<Self, MetadataError> {
        let address = |name: &'static str| -> Result<Url, MetadataError> {
            let text = document.get(name).and_then(Value::as_str);
            let url: Url =
                text.and_then(|text| text.parse().ok()).ok_or(MetadataError::Missing(name))?;
            let plain = url.username().is_empty()
                && url.password().is_none()
                && url.fragment().is_none()
                && is_safe(&url);
            if plain && authority.covers(&url) {
                Ok(url)
            } else {
                Err(MetadataError::Elsewhere(name))
            }
        };
        let issuer = document
            .get("issuer")
            .and_then(Value::as_str)
            .ok_or(MetadataError::Missing("issuer"))?;
        Ok(Self {
            issuer: authority.accept(issuer).ok_or(MetadataError::Issuer)?,
            authorization: address("authorization_endpoint")?,
            token: address("token_endpoint")?,
            keys: address("jwks_uri")?,
            end_session: match document.get("end_session_endpoint") {
                None => None,
                Some(_) => Some(address("end_session_endpoint")?),
            },
            names_issuer_in_responses: document
                .get("authorization_response_iss_parameter_supported")
                .and_then(Value::as_bool)
                .unwrap_or(false),
        })
    }
}

/// The last good discovery document. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct MetadataCache(Arc<State>);

#[derive(Debug)]
struct State {
    wire: Wire,
    authority: Authority,
    known: ArcSwapOption<Metadata>,
    /// One fetch at a time; holds when the last one failed.
    gate: Mutex<Option<i64>>,
}

impl MetadataCache {
    pub(super) fn new(wire: Wire, authority: Authority) -> Self {
        Self(Arc::new(State {
            wire,
            authority,
            known: ArcSwapOption::empty(),
            gate: Mutex::new(None),
        }))
    }

    /// What is known, without asking.
    pub(super) fn known(&self) -> Option<Arc<Metadata>> {
        self.0.known.load_full()
    }

    /// Takes over what another cache of the same authority knows.
    pub(super) fn adopt(&self, former: &Self) {
        self.0.known.store(former.known());
    }

    /// The last good document; the first caller fetches it.
    pub(super) async fn current(&self) -> Result<Arc<Metadata>, EntraError> {
        match self.known() {
            Some(known) => Ok(known),
            None => timeout(PATIENCE, self.detached(false))
                .await
                .unwrap_or(Err(EntraError::Pausing { endpoint: Endpoint::Metadata })),
        }
    }

    /// Fetches the document again; what was known stays when that fails.
    pub(super) async fn refresh(&self) -> Result<Arc<Metadata>, EntraError> {
        self.detached(true).await
    }

    /// On a task of its own: the browser that happened to ask first may go away.
    async fn detached(&self, again: bool) -> Result<Arc<Metadata>, EntraError> {
        let state = Arc::clone(&self.0);
        let task = self.0.wire.outbound().runtime().spawn(async move { state.load(again).await });
        task.await.unwrap_or_else(|_| {
            Err(EntraError::Unreachable {
                endpoint: Endpoint::Metadata,
                source: OutboundError::Cancelled,
            })
        })
    }
}

impl State {
    async fn load(&self, again: bool) -> Result<Arc<Metadata>, EntraError> {
        let mut failed_at = self.gate.lock().await;
        if !again {
            if let Some(known) = self.known.load_full() {
                return Ok(known);
            }
            let now = self.wire.clock().unix();
            if failed_at.is_some_and(|at| (at..at + PAUSE).contains(&now)) {
                return Err(EntraError::Pausing { endpoint: Endpoint::Metadata });
            }
        }
        let fetched = self.fetch().await;
        *failed_at = fetched.is_err().then(|| self.wire.clock().unix());
        let metadata = Arc::new(fetched?);
        self.known.store(Some(Arc::clone(&metadata)));
        let now = self.wire.clock().unix();
        self.wire.metrics().replica().entra_fetched(Endpoint::Metadata.word(), now);
        Ok(metadata)
    }

    async fn fetch(&self) -> Result<Metadata, EntraError> {
        let body = self.wire.fetch(Endpoint::Metadata, &self.authority.metadata_url()).await?;
        Ok(Metadata::read(&self.authority, &object(Endpoint::Metadata, &body)?)?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::authority::Tenant, *};

    const ID: &str = "11111111-2222-3333-4444-555555555555";

    fn document() -> Value {
        let base = format!("https://login.microsoftonline.com/{ID}");
        json!({
            "issuer": format!("{base}/v2.0"),
            "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
            "token_endpoint": format!("{base}/oauth2/v2.0/token"),
            "jwks_uri": format!("{base}/discovery/v2.0/keys"),
            "end_session_endpoint": format!("{base}/oauth2/v2.0/logout"),
        })
    }

    fn read(document: &Value) -> Result<Metadata, MetadataError> {
        let base = "https://login.microsoftonline.com".parse().unwrap();
        let authority = Authority::new(base, Tenant::parse(ID).unwrap());
        Metadata::read(&authority, document.as_object().unwrap())
    }

    #[test]
    fn microsofts_document_is_believed() {
        let metadata = read(&document()).unwrap();
        assert!(metadata.token.path().ends_with("/oauth2/v2.0/token"));
        assert!(!metadata.names_issuer_in_responses);
    }

    #[test]
    fn an_address_elsewhere_is_not_believed() {
        for name in ["authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint"]
        {
            for address in [
                "https://evil.test/keys",
                "http://login.microsoftonline.com/x",
                "https://login.microsoftonline.com:444/x",
                "https://login.microsoftonline.com@evil.test/x",
                "https://user@login.microsoftonline.com/x",
                "https://login.microsoftonline.com.evil.test/x",
            ] {
                let mut document = document();
                document[name] = json!(address);
                let found = read(&document);
                assert!(matches!(found, Err(MetadataError::Elsewhere(_))), "{name} {address}");
            }
        }
    }

    #[test]
    fn a_missing_or_malformed_field_is_named() {
        for name in ["issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"] {
            for value in [Value::Null, json!(1), json!({})] {
                let mut document = document();
                document[name] = value;
                assert!(
                    matches!(read(&document), Err(MetadataError::Missing(found)) if found == name)
                );
            }
        }
    }

    #[test]
    fn another_tenants_document_is_not_believed() {
        let mut document = document();
        document["issuer"] = json!("https://login.microsoftonline.com/{tenantid}/v2.0");
        assert!(matches!(read(&document), Err(MetadataError::Issuer)));
    }
}
