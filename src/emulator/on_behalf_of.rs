//! The grants without a browser: an app for itself, and an API on behalf of its caller.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::emulator::{
    aadsts::Failure,
    assertion,
    call::Call,
    claims::{self, ClaimsRequest},
    client_auth::Client,
    directory::{App, TenantAlias},
    faults::Fault,
    grants::Grant,
    ids,
    issue::Issue,
    realm::Realm,
    scopes::{DEFAULT, GRAPH_ID, Resource, Scopes},
    signing::Signer,
    token,
};

/// `client_credentials`: one resource's `.default`, no refresh token, no ID token.
pub(crate) fn app_only(
    realm: &Realm,
    call: &Call,
    alias: TenantAlias,
    client: Client<'_>,
    fault: Option<&Fault>,
) -> Result<Value, Failure> {
    let asked = token::asked_scopes(realm, call)?.ok_or_else(|| Failure::missing("scope"))?;
    let of = asked.only_resource()?.filter(|of| of.names.contains(DEFAULT)).ok_or_else(|| {
        let text = "The provided value for scope is not valid. Client credential flows must have \
                    a scope value with /.default suffixed to the resource identifier \
                    (application ID URI).";
        Failure::new(1_002_012, "invalid_scope", text)
    })?;
    let TenantAlias::One(tenant) = alias else {
        let text = "No tenant-identifying information found in either the request or implied by \
                    any provided credentials.";
        return Err(Failure::invalid_request(50_059, text));
    };
    let tenant =
        realm.directory.tenant(tenant).map(|tenant| tenant.id.as_str()).unwrap_or_default();
    let life = realm.lifetimes.access_token(false);
    let api = match of.resource {
        Resource::Graph => None,
        Resource::App(place) => realm.directory.app_at(place),
    };
    let mut claims = app_claims(call, client, tenant, call.now + life, api, &of.written);
    if let Some(fault) = fault {
        claims.extend(fault.access_token_claims.clone());
    }
    let token = realm.keys.sign(Signer::Work, &Value::Object(claims), |_| None);
    Ok(json!({
        "token_type": "Bearer",
        "expires_in": life,
        "ext_expires_in": life,
        "access_token": token,
    }))
}

fn app_claims(
    call: &Call,
    client: Client<'_>,
    tenant: &str,
    exp: i64,
    api: Option<&App>,
    written: &str,
) -> Map<String, Value> {
    let id = &client.app.client_id;
    let principal = ids::guid_of(&format!("service principal:{tenant}:{id}"));
    let claims = json!({
        "iat": call.now - 300,
        "nbf": call.now - 300,
        "exp": exp,
        "aio": ids::random_text(60),
        "idtyp": "app",
        "oid": principal,
        "rh": format!("1.A{}.", ids::text_of(&principal)),
        "sub": principal,
        "tid": tenant,
        "uti": ids::random_text(22),
    });
    let acr = client.method.acr();
    let more = match api {
        Some(api) if api.entry.access_token_version == Some(2) => json!({
            "aud": api.client_id,
            "iss": claims::issuer_v2(&call.base, tenant),
            "azp": id,
            "azpacr": acr,
            "ver": "2.0",
        }),
        _ => json!({
            "aud": if api.is_some() { written } else { GRAPH_ID },
            "iss": claims::issuer_v1(&call.base, tenant),
            "appid": id,
            "appidacr": acr,
            "ver": "1.0",
        }),
    };
    [claims, more].into_iter().filter_map(|part| part.as_object().cloned()).flatten().collect()
}

/// `urn:ietf:params:oauth:grant-type:jwt-bearer` with `requested_token_use=on_behalf_of`.
pub(crate) fn for_user(
    realm: &Realm,
    call: &Call,
    alias: TenantAlias,
    client: Client<'_>,
    request: &ClaimsRequest,
    fault: Option<&Fault>,
) -> Result<Value, Failure> {
    if call.form.one("requested_token_use") != Some("on_behalf_of") {
        return Err(Failure::missing("requested_token_use"));
    }
    let invalid = |text: &str| Failure::invalid_grant(50_013, text).status(400);
    let text = call.form.one("assertion").ok_or_else(|| Failure::missing("assertion"))?;
    let assertion = assertion::read(text)
        .filter(|token| {
            let kid = token.header("kid").unwrap_or_default();
            realm.keys.verify(kid, token.signed().as_bytes(), token.signature())
        })
        .ok_or_else(|| {
            invalid("Assertion failed signature validation. [Reason - Key was found, but use of the key to verify the signature failed.]")
        })?;
    if !assertion.is_timely(call.now) {
        return Err(Failure::invalid_grant(
            500_133,
            "Assertion is not within its valid time range.",
        ));
    }
    if !assertion.audiences().iter().any(|audience| client.app.identifies_as(audience)) {
        return Err(invalid(
            "Assertion audience does not match the Client app presenting the assertion.",
        ));
    }
    let tid = assertion.claim("tid").unwrap_or_default();
    let oid = assertion.claim("oid").unwrap_or_default();
    let (place, user) = realm
        .directory
        .user_by_oid(tid, oid)
        .filter(|(_, user)| user.is_in(alias))
        .ok_or_else(|| invalid("Assertion contains no user of this tenant."))?;
    realm.administration.admits((place, user), (client.place, client.app))?;
    let scopes: Scopes =
        token::asked_scopes(realm, call)?.ok_or_else(|| Failure::missing("scope"))?;
    let resource = scopes.only_resource()?.cloned();
    let grant = Grant {
        user: place,
        app: client.place,
        tenant: user.tenant,
        scopes,
        sid: assertion.claim("sid").map_or_else(ids::random_guid, str::to_owned),
        auth_time: call.now,
        mfa: false,
        contexts: BTreeSet::new(),
        sequence: realm.grants.next_sequence(),
    };
    let wants_id_token = grant.scopes.openid;
    let issue = Issue { realm, call, client, claims: request, fault, nonce: None };
    issue.tokens(&grant, resource, wants_id_token)
}
