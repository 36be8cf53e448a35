//! Token answers: what a grant is worth, signed.

use serde_json::{Value, json};

use crate::emulator::{
    aadsts::Failure,
    call::Call,
    claims::{self, ClaimsRequest, Subject},
    client_auth::Client,
    faults::Fault,
    grants::Grant,
    ids, mutations,
    realm::Realm,
    scopes::{Resource, ResourceScopes},
    signing::{self, Signer},
    token,
};

/// What token answers are made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Issue<'r> {
    pub(crate) realm: &'r Realm,
    pub(crate) call: &'r Call,
    pub(crate) client: Client<'r>,
    pub(crate) claims: &'r ClaimsRequest,
    pub(crate) fault: Option<&'r Fault>,
    pub(crate) nonce: Option<&'r str>,
}

impl Issue<'_> {
    /// A whole token answer.
    pub(crate) fn tokens(
        &self,
        grant: &Grant,
        resource: Option<ResourceScopes>,
        wants_id_token: bool,
    ) -> Result<Value, Failure> {
        let realm = self.realm;
        let user = realm.directory.user(grant.user).ok_or_else(token::gone)?;
        let tenant = realm.directory.tenant(grant.tenant).ok_or_else(token::gone)?;
        let subject = Subject {
            base: &self.call.base,
            user,
            tenant,
            client: (self.client.place, self.client.app),
            grant,
            now: self.call.now,
        };
        let asked_nothing = resource.is_none();
        let resource = resource.unwrap_or_else(ResourceScopes::graph);
        let life = realm.lifetimes.access_token(self.claims.handles_cae());
        let (access_token, scope) = self.access_token(&subject, &resource, life);
        let scope = if asked_nothing {
            // OpenID scopes alone give a Graph token that the userinfo endpoint accepts.
            grant.scopes.granted(Some(&ResourceScopes::graph()), &realm.directory)
        } else {
            scope
        };
        let mut body = json!({
            "token_type": "Bearer",
            "scope": scope,
            "expires_in": life,
            "ext_expires_in": life,
            "access_token": access_token,
        });
        let mut set = |name: &str, value: Value| {
            if let Some(body) = body.as_object_mut() {
                body.insert(name.to_owned(), value);
            }
        };
        if realm.lifetimes.refresh_in {
            set("refresh_in", (life / 2).into());
        }
        if grant.scopes.openid && wants_id_token {
            let claims = subject.id_token(self.nonce, self.claims);
            if let Some(token) = mutations::id_token(realm, claims, self.fault) {
                set("id_token", token.into());
            }
        }
        if self.call.form.one("client_info") == Some("1") {
            set("client_info", claims::client_info(user).into());
        }
        if grant.scopes.offline_access {
            let expires = self.call.now + realm.lifetimes.refresh_token();
            let token = realm.grants.issue_refresh_token(grant.clone(), expires);
            set("refresh_token", token.into());
        }
        Ok(body)
    }

    /// The access token and the scopes that it carries.
    pub(crate) fn access_token(
        &self,
        subject: &Subject<'_>,
        of: &ResourceScopes,
        life: i64,
    ) -> (String, String) {
        let directory = &self.realm.directory;
        let names: Vec<String> = of.granted(directory).into_iter().collect();
        let (exp, acr) = (self.call.now + life, self.client.method.acr());
        let scope = subject.grant.scopes.granted(Some(of), directory);
        let api = match of.resource {
            Resource::Graph => None,
            Resource::App(place) => directory.app_at(place).map(|app| (place, app)),
        };
        let (mut claims, is_v2) = match api {
            None => {
                let open = &subject.grant.scopes;
                let mut scp = names;
                for (name, on) in
                    [("openid", open.openid), ("profile", open.profile), ("email", open.email)]
                {
                    if on {
                        scp.push(name.to_owned());
                    }
                }
                (subject.graph_token(&scp.join(" "), exp, acr), false)
            }
            Some(api) => (
                subject.api_token(api, &of.written, &names.join(" "), exp, acr),
                api.1.entry.access_token_version == Some(2),
            ),
        };
        if self.claims.handles_cae() {
            claims.insert("xms_cc".to_owned(), json!(["CP1"]));
        }
        if let Some(fault) = self.fault {
            claims.extend(fault.access_token_claims.clone());
        }
        (self.sign(&Value::Object(claims), api.is_none(), is_v2), scope)
    }

    fn sign(&self, claims: &Value, is_graph: bool, is_v2: bool) -> String {
        self.realm.keys.sign(Signer::Work, claims, |header| {
            if !is_v2 && let Some(kid) = header.get("kid").cloned() {
                set(header, "x5t", kid);
            }
            if !is_graph {
                return None;
            }
            set(header, "nonce", ids::random_text(43).into());
            let shown = header.clone();
            signing::hash_nonce(header);
            Some(shown)
        })
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}
