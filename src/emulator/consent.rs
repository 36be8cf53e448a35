//! Admin consent: `/{tenant}/v2.0/adminconsent`.

use http::StatusCode;
use url::Url;

use crate::emulator::{
    aadsts::Failure,
    call::{self, Answer, Call},
    client_auth,
    directory::TenantAlias,
    pages,
    realm::Realm,
    scopes::Scopes,
};

/// A page with two answers, and what follows from them.
pub(crate) fn answer(realm: &Realm, call: &Call, alias: TenantAlias) -> Answer {
    match decide(realm, call, alias) {
        Ok(answer) => answer,
        Err(failure) => pages::failure(call, &failure),
    }
}

fn decide(realm: &Realm, call: &Call, alias: TenantAlias) -> Result<Answer, Failure> {
    let client_id = call.query.one("client_id").ok_or_else(|| Failure::missing("client_id"))?;
    let (place, app) =
        realm.directory.app(client_id).ok_or_else(|| client_auth::unknown_app(client_id))?;
    let redirect_uri =
        call.query.one("redirect_uri").ok_or_else(|| Failure::missing("redirect_uri"))?;
    let target = Url::parse(redirect_uri).ok().filter(|_| app.allows_redirect(redirect_uri));
    let Some(mut target) = target else {
        let text = format!(
            "The redirect URI '{redirect_uri}' specified in the request does not match the redirect URIs configured for the application '{client_id}'."
        );
        return Err(Failure::invalid_request(50_011, text));
    };
    if alias == TenantAlias::Common {
        let text = "Admin consent cannot be given at 'common'.";
        return Err(Failure::invalid_request(900_144, text));
    }
    let scope = call.query.one("scope").unwrap_or(".default");
    let names = Scopes::parse(scope, &realm.directory)?.names();
    let tenant = match alias {
        TenantAlias::One(index) => index,
        _ => 0,
    };
    let tenant = realm.directory.tenant(tenant).map(|tenant| tenant.id.clone()).unwrap_or_default();
    match call.query.one("_consent") {
        None => {
            let choice =
                |answer: &str| format!("?{}", call.query.query_with(&[], &[("_consent", answer)]));
            let html = pages::admin_consent(&app.entry.name, &names, &choice("yes"), &choice("no"));
            return Ok(call::page(StatusCode::OK, html));
        }
        Some("yes") => {
            for (user, _) in realm
                .directory
                .users()
                .iter()
                .enumerate()
                .filter(|(_, user)| user.tenant_id == tenant)
            {
                realm.administration.consent(user, place, &names);
            }
            target
                .query_pairs_mut()
                .append_pair("admin_consent", "True")
                .append_pair("tenant", &tenant)
                .append_pair("scope", scope);
        }
        Some(_) => {
            let failure = Failure::new(
                65_004,
                "access_denied",
                "User declined to consent to access the app.",
            );
            target.query_pairs_mut().extend_pairs(failure.parameters(call));
        }
    }
    if let Some(state) = call.query.one("state") {
        target.query_pairs_mut().append_pair("state", state);
    }
    Ok(call::redirect(target.as_str()))
}
