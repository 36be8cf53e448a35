//! The token endpoint: grants in, tokens out.

use http::{Method, StatusCode, header::ORIGIN};
use serde_json::{Value, json};

use crate::emulator::{
    aadsts::Failure,
    call::{self, Answer, Call},
    claims::ClaimsRequest,
    client_auth::{self, Client},
    directory::{App, TenantAlias, User},
    faults::Fault,
    grants::Grant,
    ids,
    issue::Issue,
    on_behalf_of,
    realm::Realm,
    scopes::Scopes,
};

/// Answers a token request. `fault` may spoil what is right otherwise.
pub(crate) fn answer(
    realm: &Realm,
    call: &Call,
    alias: TenantAlias,
    fault: Option<&Fault>,
) -> Answer {
    match redeem(realm, call, alias, fault) {
        Ok(body) => call::json(StatusCode::OK, &body),
        Err(failure) => failure.into_json(call),
    }
}

fn redeem(
    realm: &Realm,
    call: &Call,
    alias: TenantAlias,
    fault: Option<&Fault>,
) -> Result<Value, Failure> {
    if call.method != Method::POST {
        let text =
            format!("The endpoint only accepts POST requests. Received a {} request.", call.method);
        return Err(Failure::invalid_request(900_561, text));
    }
    let grant_type = call.form.one("grant_type").ok_or_else(|| Failure::missing("grant_type"))?;
    if call.form.one("resource").is_some() {
        let text = "The 'resource' request parameter is not supported.";
        return Err(Failure::invalid_request(901_002, text));
    }
    if call.headers.contains_key(ORIGIN) {
        let text = "Cross-origin token redemption is permitted only for the 'Single-Page \
                    Application' client-type.";
        return Err(Failure::invalid_request(9_002_326, text));
    }
    let client = client_auth::authenticate(realm, call)?;
    admits_tenant(realm, client.app, alias)?;
    let request = claims_request(call.form.one("claims"))?;
    match grant_type {
        "authorization_code" => by_code(realm, call, alias, client, &request, fault),
        "refresh_token" => by_refresh_token(realm, call, alias, client, &request, fault),
        "client_credentials" => on_behalf_of::app_only(realm, call, alias, client, fault),
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            on_behalf_of::for_user(realm, call, alias, client, &request, fault)
        }
        other => {
            let text = format!("The app requested an unsupported grant type '{other}'.");
            Err(Failure::new(70_003, "unsupported_grant_type", text))
        }
    }
}

pub(crate) fn claims_request(text: Option<&str>) -> Result<ClaimsRequest, Failure> {
    ClaimsRequest::parse(text).ok_or_else(|| {
        Failure::invalid_request(9_002_313, "Invalid request. The 'claims' parameter is not JSON.")
    })
}

/// Whether an app may be used at this tenant.
pub(crate) fn admits_tenant(realm: &Realm, app: &App, alias: TenantAlias) -> Result<(), Failure> {
    match alias {
        _ if app.entry.multi_tenant => Ok(()),
        TenantAlias::One(tenant) if app.tenant == tenant => Ok(()),
        TenantAlias::One(tenant) => {
            let directory = realm.directory.tenant(tenant).map(|tenant| tenant.name.as_str());
            let mut failure = client_auth::unknown_app(&app.client_id);
            failure.text = failure.text.replace(
                "in the directory",
                &format!("in the directory '{}'", directory.unwrap_or_default()),
            );
            Err(failure)
        }
        _ => {
            let text = format!(
                "Application '{}'({}) is not configured as a multi-tenant application. Usage of \
                 the /common endpoint is not supported for such apps created after '10/15/2018'. \
                 Use a tenant-specific endpoint or configure the application to be multi-tenant.",
                app.client_id, app.entry.name
            );
            Err(Failure::invalid_request(50_194, text))
        }
    }
}

fn by_code(
    realm: &Realm,
    call: &Call,
    alias: TenantAlias,
    client: Client<'_>,
    request: &ClaimsRequest,
    fault: Option<&Fault>,
) -> Result<Value, Failure> {
    let text = call.form.one("code").ok_or_else(|| Failure::missing("code"))?;
    let code = realm.grants.take_code(text, call.now)?;
    let redirect_uri =
        call.form.one("redirect_uri").ok_or_else(|| Failure::missing("redirect_uri"))?;
    if code.grant.app != client.place {
        let text = "Provided grant is invalid or malformed. The code was issued to another client.";
        return Err(Failure::invalid_grant(70_000, text));
    }
    if code.redirect_uri != redirect_uri {
        let text = format!(
            "The reply address '{redirect_uri}' does not match the reply address '{}' provided \
             when requesting Authorization code.",
            code.redirect_uri
        );
        return Err(Failure::new(500_112, "invalid_client", text));
    }
    if matches!(alias, TenantAlias::One(tenant) if tenant != code.grant.tenant) {
        let text = "The provided authorization code was issued for another tenant and cannot be \
                    redeemed here.";
        return Err(Failure::invalid_grant(700_005, text));
    }
    let verifier = call.form.one("code_verifier");
    let admitted = match (&code.challenge, verifier) {
        (None, None) => true,
        (Some(challenge), Some(verifier)) => challenge.admits(verifier),
        _ => false,
    };
    if !admitted {
        let text = "The Code_Verifier does not match the code_challenge supplied in the \
                    authorization request.";
        return Err(Failure::invalid_grant(501_481, text));
    }
    let mut grant = code.grant;
    realm.administration.upholds(&grant)?;
    let asked = asked_scopes(realm, call)?;
    let resource = match &asked {
        Some(asked) => asked.only_resource()?.cloned(),
        None => None,
    };
    if let Some(asked) = &asked {
        check_consent(realm, &grant, client, asked)?;
        grant.scopes.extend(asked);
    }
    let resource = resource.or_else(|| grant.scopes.resources.first().cloned());
    // The authorize request's claims hold for its code as well.
    let mut wanted = claims_request(code.claims.as_deref())?;
    wanted.id_token.extend(request.id_token.iter().cloned());
    wanted.capabilities.extend(request.capabilities.iter().cloned());
    check_contexts(call, &grant, request)?;
    let issue = Issue { realm, call, client, claims: &wanted, fault, nonce: code.nonce.as_deref() };
    issue.tokens(&grant, resource, true)
}

fn by_refresh_token(
    realm: &Realm,
    call: &Call,
    alias: TenantAlias,
    client: Client<'_>,
    request: &ClaimsRequest,
    fault: Option<&Fault>,
) -> Result<Value, Failure> {
    let text = call.form.one("refresh_token").ok_or_else(|| Failure::missing("refresh_token"))?;
    let mut grant = realm.grants.refresh(text, call.now)?;
    if grant.app != client.place {
        let text = "Provided grant is invalid or malformed. The refresh token was issued to \
                    another client.";
        return Err(Failure::invalid_grant(70_000, text).sub("bad_token"));
    }
    realm.administration.upholds(&grant)?;
    grant.user = at_tenant(realm, grant.user, alias)?;
    let user = realm.directory.user(grant.user).ok_or_else(gone)?;
    grant.tenant = user.tenant;
    realm.administration.admits((grant.user, user), (client.place, client.app)).map_err(
        |mut failure| {
            failure.error = "invalid_grant".into();
            failure
        },
    )?;
    if realm.administration.wants_mfa(user) && !grant.mfa {
        let mut failure = Failure::invalid_grant(
            50_076,
            "Due to a configuration change made by your administrator, or because you moved to a \
             new location, you must use multi-factor authentication to access the resource.",
        )
        .sub("basic_action");
        failure.claims =
            Some(json!({ "access_token": { "capolids": { "essential": true, "values": [ids::guid_of("policy:mfa")] } } }).to_string());
        return Err(failure);
    }
    check_contexts(call, &grant, request)?;
    let asked = asked_scopes(realm, call)?;
    let (resource, wants_id_token) = match &asked {
        Some(asked) => {
            check_consent(realm, &grant, client, asked)?;
            // Scopes that span resources give a token for the first.
            (asked.resources.first().cloned(), asked.openid)
        }
        None => (None, grant.scopes.openid),
    };
    if let Some(asked) = &asked {
        grant.scopes.extend(asked);
    }
    let resource = resource.or_else(|| grant.scopes.resources.first().cloned());
    let issue = Issue { realm, call, client, claims: request, fault, nonce: None };
    issue.tokens(&grant, resource, wants_id_token)
}

/// The same person's account in the tenant that is asked.
fn at_tenant(realm: &Realm, user: usize, alias: TenantAlias) -> Result<usize, Failure> {
    let person = realm.directory.user(user).ok_or_else(gone)?;
    let TenantAlias::One(tenant) = alias else { return Ok(user) };
    let there = |other: &User| {
        other.tenant == tenant
            && other.home_oid == person.home_oid
            && other.home_tenant_id == person.home_tenant_id
    };
    if person.tenant == tenant {
        return Ok(user);
    }
    realm.directory.users().iter().position(there).ok_or_else(|| {
        let text = format!(
            "User account '{}' from identity provider does not exist in the tenant and cannot \
             access the application. The account needs to be added as an external user in the \
             tenant first.",
            person.entry.name
        );
        Failure::invalid_grant(50_020, text)
    })
}

pub(crate) fn gone() -> Failure {
    Failure::invalid_grant(50_034, "The user account does not exist in the directory.")
}

/// `scope` of a token request; present but empty is an error of its own.
pub(crate) fn asked_scopes(realm: &Realm, call: &Call) -> Result<Option<Scopes>, Failure> {
    match call.form.one("scope") {
        Some(text) => Scopes::parse(text, &realm.directory).map(Some),
        None if call.form.iter().any(|(name, _)| name == "scope") => {
            let text = "Provided value for the input parameter scope can't be empty when \
                        requesting an access token using the provided authorization code.";
            Err(Failure::new(28_003, "invalid_scope", text))
        }
        None => Ok(None),
    }
}

fn check_consent(
    realm: &Realm,
    grant: &Grant,
    client: Client<'_>,
    asked: &Scopes,
) -> Result<(), Failure> {
    let app = (client.place, client.app);
    if realm.administration.missing_consent(grant.user, app, &asked.names()).is_empty() {
        return Ok(());
    }
    Err(consent_missing(client.app))
}

pub(crate) fn consent_missing(app: &App) -> Failure {
    let text = format!(
        "The user or administrator has not consented to use the application with ID '{}' named \
         '{}'. Send an interactive authorization request for this user and resource.",
        app.client_id, app.entry.name
    );
    Failure::invalid_grant(65_001, text).sub("consent_required")
}

/// Authentication contexts cannot be satisfied without the user.
fn check_contexts(call: &Call, grant: &Grant, request: &ClaimsRequest) -> Result<(), Failure> {
    if request.contexts.iter().all(|context| grant.contexts.contains(context)) {
        return Ok(());
    }
    let mut failure = Failure::new(
        50_076,
        "interaction_required",
        "Due to a configuration change made by your administrator, or because you moved to a new \
         location, you must use multi-factor authentication to access the resource.",
    )
    .sub("basic_action");
    failure.claims = call.form.one("claims").map(str::to_owned);
    Err(failure)
}
