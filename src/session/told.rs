//! What the app is told about a session: made once, not once per request.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use http::HeaderMap;

/// The header fields that tell the app who is signed in, kept beside the session that they were
/// made from.
#[derive(Default)]
pub struct Told(ArcSwapOption<Fields>);

/// Header fields, and whose they are.
pub struct Fields {
    teller: Teller,
    headers: HeaderMap,
}

/// Who tells: one configuration. Sessions stay open over a reload, and what the former
/// configuration said about them must not be said again.
#[derive(Clone, Debug, Default)]
pub struct Teller(Arc<()>);

impl Told {
    /// The fields of this teller; made by `make` where they are not at hand.
    pub fn by(&self, teller: &Teller, make: impl FnOnce() -> HeaderMap) -> Arc<Fields> {
        if let Some(fields) = self.0.load_full().filter(|fields| fields.teller.is(teller)) {
            return fields;
        }
        let fields = Arc::new(Fields { teller: teller.clone(), headers: make() });
        self.0.store(Some(Arc::clone(&fields)));
        fields
    }
}

impl Fields {
    /// The fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

impl Teller {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Clone for Told {
    /// Nothing: whoever clones a session is about to change it, and then other fields hold.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Told {
    /// The fields are tokens and claims.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fields").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::AUTHORIZATION};

    use super::*;

    fn fields(token: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(token))])
    }

    #[test]
    fn the_fields_are_made_once_for_each_teller_and_again_for_a_clone() {
        let (told, teller) = (Told::default(), Teller::default());
        assert_eq!(told.by(&teller, || fields("old")).headers(), &fields("old"));
        assert_eq!(told.by(&teller, || fields("new")).headers(), &fields("old"));
        assert_eq!(told.clone().by(&teller, || fields("new")).headers(), &fields("new"));
        let reloaded = Teller::default();
        assert_eq!(told.by(&reloaded, || fields("new")).headers(), &fields("new"));
        assert_eq!(told.by(&reloaded, || fields("newer")).headers(), &fields("new"));
    }

    #[test]
    fn tokens_are_not_in_debug_output() {
        let told = Told::default();
        let fields = told.by(&Teller::default(), || fields("CANARY"));
        assert!(!format!("{told:?}{fields:?}").contains("CANARY"));
    }
}
