//! What was asked, for assertions: endpoints, grants, outcomes; no secret and no token.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

/// Requests kept; counts go on for ever.
const KEPT: usize = 10_000;

/// One request that the emulator has answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LoggedRequest {
    /// `authorize`, `token`, `keys`, `metadata`, `logout`, `graph`, `instance`, `userinfo`,
    /// `adminconsent`, `control`, `page` or `unknown`.
    pub endpoint: String,
    /// HTTP method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// `grant_type` of a token request.
    pub grant_type: Option<String>,
    /// `client_id`, where one was given.
    pub client_id: Option<String>,
    /// `scope`, where one was given.
    pub scope: Option<String>,
    /// How the client showed who it is: `client_secret_post`, `client_secret_basic`,
    /// `private_key_jwt` or `none`.
    pub client_authentication: Option<String>,
    /// `prompt` of an authorize request.
    pub prompt: Option<String>,
    /// Whether a `claims` parameter was sent.
    pub claims: bool,
    /// `client-request-id`.
    pub correlation_id: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// Whether a fault shaped the answer.
    pub faulted: bool,
}

#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    kept: VecDeque<LoggedRequest>,
    counts: HashMap<String, usize>,
}

impl RequestLog {
    pub(crate) fn add(&self, request: LoggedRequest) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        *entries.counts.entry(request.endpoint.clone()).or_default() += 1;
        entries.kept.push_back(request);
        if entries.kept.len() > KEPT {
            entries.kept.pop_front();
        }
    }

    pub(crate) fn all(&self) -> Vec<LoggedRequest> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.kept.iter().cloned().collect()
    }

    pub(crate) fn count(&self, endpoint: &str) -> usize {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.counts.get(endpoint).copied().unwrap_or_default()
    }
}
