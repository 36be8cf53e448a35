//! A session as what is packed of it, and back.

use super::{Session, Told, packing::Contents, wound::Wound};
use crate::entra::{Principal, TokenSet};

impl Contents {
    /// What is kept of `session`; the raw ID token only where somebody is handed it.
    pub(super) fn of(session: &Session, keep_id_token: bool) -> Self {
        Self {
            claims: session.principal.claims().clone(),
            access_token: Some(session.tokens.access_token.clone()),
            refresh_token: session.tokens.refresh_token.clone(),
            id_token: session.tokens.id_token.clone().filter(|_| keep_id_token),
            scope: session.tokens.scope.clone(),
            expires_at: session.tokens.expires_at,
            obtained_at: session.obtained_at,
            signed_in_at: session.signed_in_at,
            seen_at: session.seen_at,
            id: session.id,
            generation: session.generation,
        }
    }

    /// The session, unless the claims name nobody.
    pub(super) fn into_session(self) -> Option<Session> {
        Some(Session {
            id: self.id,
            generation: self.generation,
            signed_in_at: self.signed_in_at,
            seen_at: self.seen_at,
            obtained_at: self.obtained_at,
            principal: Principal::restore(self.claims)?,
            has_access_token: self.access_token.is_some(),
            stored: None,
            wound: Wound::default(),
            told: Told::default(),
            tokens: TokenSet {
                access_token: self.access_token.unwrap_or_default(),
                refresh_token: self.refresh_token,
                id_token: self.id_token,
                expires_at: self.expires_at,
                scope: self.scope,
            },
        })
    }
}
