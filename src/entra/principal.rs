//! Who: a user of one tenant, identified by (tenant id, object id), with names, roles and groups.

use std::{fmt, sync::Arc};

use serde_json::{Map, Value};

/// Claims of the protocol, of no use once the token has been verified. `iss` and `aud` follow from
/// the tenant and the configuration.
const NOISE: &[&str] = &[
    "_claim_sources",
    "aio",
    "at_hash",
    "aud",
    "azp",
    "azpacr",
    "c_hash",
    "cc",
    "exp",
    "iat",
    "iss",
    "nbf",
    "nonce",
    "puid",
    "rh",
    "uti",
    "ver",
];

/// Who is signed in. Clones are cheap.
#[derive(Clone)]
pub struct Principal(Arc<Known>);

struct Known {
    claims: Map<String, Value>,
    roles: Vec<String>,
    groups: Vec<String>,
}

impl Principal {
    /// Reads the claims of a verified token.
    pub(super) fn of(claims: &Map<String, Value>) -> Option<Self> {
        let kept = claims.iter().filter(|(name, _)| is_kept(name));
        Self::restore(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// The principal that was sealed into a session. Give it nothing but claims that came from
    /// [`Principal::claims`] and that nobody else could have written: nothing is checked here.
    pub fn restore(claims: Map<String, Value>) -> Option<Self> {
        let names = ["tid", "oid", "sub"];
        let complete = names.iter().all(|name| text(&claims, name).is_some());
        complete.then(|| {
            let (roles, groups) = (texts(&claims, "roles"), texts(&claims, "groups"));
            Self(Arc::new(Known { claims, roles, groups }))
        })
    }

    /// What is known of the user: the token's claims without those of the protocol.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.0.claims
    }

    /// The tenant that the user signed in to (`tid`).
    pub fn tenant_id(&self) -> &str {
        self.text("tid").unwrap_or_default()
    }

    /// The user in that tenant (`oid`); immutable.
    pub fn object_id(&self) -> &str {
        self.text("oid").unwrap_or_default()
    }

    /// The user for this app (`sub`); immutable, and another for every app.
    pub fn subject(&self) -> &str {
        self.text("sub").unwrap_or_default()
    }

    /// The name that the user signs in with (`preferred_username`). It can change hands.
    pub fn user_name(&self) -> Option<&str> {
        self.text("preferred_username")
    }

    /// The name to show (`name`).
    pub fn name(&self) -> Option<&str> {
        self.text("name")
    }

    /// An address to write to (`email`). Nobody may be let in for it: users can choose it.
    pub fn email(&self) -> Option<&str> {
        self.text("email")
    }

    /// The user's app roles.
    pub fn roles(&self) -> &[String] {
        &self.0.roles
    }

    /// The object ids of the user's groups, as far as the token names them.
    pub fn groups(&self) -> &[String] {
        &self.0.groups
    }

    /// Whether the user has more groups than a token can hold; then it names none.
    pub fn has_group_overage(&self) -> bool {
        let claims = &self.0.claims;
        let elsewhere = claims.get("_claim_names").and_then(|names| names.get("groups"));
        elsewhere.is_some() || claims.get("hasgroups").and_then(Value::as_bool) == Some(true)
    }

    /// The session at Microsoft (`sid`), for front-channel sign-out.
    pub fn session_id(&self) -> Option<&str> {
        self.text("sid")
    }

    /// What signs the same user in or out again without the account picker (`login_hint`).
    pub fn login_hint(&self) -> Option<&str> {
        self.text("login_hint")
    }

    /// Whether both are the same user of the same tenant, for the same app.
    pub fn is_same_user(&self, other: &Self) -> bool {
        self.tenant_id() == other.tenant_id()
            && self.object_id() == other.object_id()
            && self.subject() == other.subject()
    }

    /// The principal after a renewal: what the newer token says. Groups and roles survive a token
    /// that does not mention them, since whether a renewal brings them is a matter of the app's
    /// registration; what was taken away ends with the session. An empty list is a mention.
    #[must_use]
    pub fn renewed_by(&self, newer: &Self) -> Self {
        let mut claims = newer.claims().clone();
        for name in ["groups", "roles"] {
            if let Some(former) = self.claims().get(name) {
                claims.entry(name).or_insert_with(|| former.clone());
            }
        }
        Self::restore(claims).unwrap_or_else(|| newer.clone())
    }

    fn text(&self, name: &str) -> Option<&str> {
        text(&self.0.claims, name)
    }
}

/// Ids alone: names and addresses do not belong in logs.
impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("tid", &self.tenant_id())
            .field("oid", &self.object_id())
            .finish_non_exhaustive()
    }
}

fn is_kept(name: &str) -> bool {
    // `xms_edov` says whether the email's domain is the tenant's own; the other `xms_` are opaque.
    let opaque = name.starts_with("xms_") && name != "xms_edov";
    !opaque && !NOISE.contains(&name)
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Texts of a list; one lone text is a list of one.
fn texts(claims: &Map<String, Value>, name: &str) -> Vec<String> {
    match claims.get(name) {
        Some(Value::Array(values)) => {
            values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(Value::String(text)) => vec![text.clone()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn principal(more: Value) -> Principal {
        let mut claims = json!({ "tid": "t", "oid": "o", "sub": "s" });
        let (Some(fields), Value::Object(more)) = (claims.as_object_mut(), more) else {
            panic!("objects");
        };
        fields.extend(more);
        Principal::of(claims.as_object().unwrap()).unwrap()
    }

    #[test]
    fn claims_of_the_protocol_are_left_out() {
        let alice = principal(json!({
            "aud": "a", "iss": "i", "exp": 1, "nonce": "n", "uti": "u", "rh": "r", "aio": "x",
            "xms_st": {}, "xms_edov": true, "sid": "session", "login_hint": "O.hint",
            "preferred_username": "alice@contoso.test", "name": "Alice", "email": "a@b.test",
        }));
        let kept: Vec<_> = alice.claims().keys().map(String::as_str).collect();
        assert_eq!(
            kept,
            [
                "email",
                "login_hint",
                "name",
                "oid",
                "preferred_username",
                "sid",
                "sub",
                "tid",
                "xms_edov"
            ]
        );
        assert_eq!(alice.session_id(), Some("session"));
        assert_eq!(alice.login_hint(), Some("O.hint"));
        assert_eq!(alice.user_name(), Some("alice@contoso.test"));
    }

    #[test]
    fn a_sealed_principal_comes_back_whole_or_not_at_all() {
        let alice = principal(json!({ "roles": ["Admin"], "groups": ["g1", "g2", 3] }));
        let restored = Principal::restore(alice.claims().clone()).unwrap();
        assert!(restored.is_same_user(&alice));
        assert_eq!(restored.roles(), ["Admin"]);
        assert_eq!(restored.groups(), ["g1", "g2"]);
        for name in ["tid", "oid", "sub"] {
            let mut claims = alice.claims().clone();
            claims.insert(name.to_owned(), json!(""));
            assert!(Principal::restore(claims).is_none(), "{name}");
        }
    }

    #[test]
    fn another_tenant_object_or_subject_is_another_user() {
        let alice = principal(json!({}));
        for other in [json!({ "tid": "x" }), json!({ "oid": "x" }), json!({ "sub": "x" })] {
            assert!(!alice.is_same_user(&principal(other)));
        }
    }

    #[test]
    fn groups_and_roles_survive_a_renewal_that_brings_none() {
        let before = principal(json!({ "roles": ["Admin"], "groups": ["g1"], "name": "Alice" }));
        let after = before.renewed_by(&principal(json!({ "name": "Alice B." })));
        assert_eq!((after.roles(), after.groups()), (before.roles(), before.groups()));
        assert_eq!(after.name(), Some("Alice B."));
        let after = before.renewed_by(&principal(json!({ "roles": ["Reader"], "groups": [] })));
        assert_eq!(after.roles(), ["Reader"]);
        assert!(after.groups().is_empty());
    }

    #[test]
    fn groups_survive_a_renewal_that_says_there_are_too_many_to_name() {
        let before = principal(json!({ "groups": ["g1"] }));
        for overage in
            [json!({ "_claim_names": { "groups": "src1" } }), json!({ "hasgroups": true })]
        {
            let newer = principal(overage);
            assert!(newer.has_group_overage());
            assert_eq!(before.renewed_by(&newer).groups(), ["g1"]);
        }
    }
}
