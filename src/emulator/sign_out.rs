//! Single sign-out: the account leaves the browser's session, its apps hear of it, and the
//! browser returns where it may.

use http::StatusCode;
use url::Url;

use crate::emulator::{
    browser::{COOKIE, SignedIn},
    call::{self, Answer, Call},
    claims::issuer_v2,
    client_auth::unpadded,
    pages,
    realm::Realm,
};

/// Answers `logout`, GET or POST.
pub(crate) fn answer(realm: &Realm, call: &Call) -> Answer {
    let accounts = realm.browsers.accounts(call.cookie(COOKIE));
    let hint = call.param("logout_hint").map(str::to_owned).or_else(|| hinted_by_token(call));
    let chosen = call.param("_user");
    let is = |account: &&SignedIn, name: &str| {
        realm.directory.user(account.user).is_some_and(|user| user.answers_to(name))
    };
    // A user name is no logout_hint: only the opaque value of the `login_hint` claim is.
    let hinted = hint.as_deref().and_then(|hint| {
        accounts.iter().find(|account| {
            realm
                .directory
                .user(account.user)
                .is_some_and(|user| user.login_hint == hint || user.oid == hint)
        })
    });
    let leaving = match (chosen, hinted, accounts.as_slice()) {
        (Some(name), _, _) => accounts.iter().find(|account| is(account, name)),
        (None, Some(account), _) => Some(account),
        (None, None, [only]) => Some(only),
        (None, None, []) => None,
        (None, None, several) => return pick(realm, call, several),
    };
    let Some(leaving) = leaving else {
        // Without an active session nobody is sent back.
        return call::page(StatusCode::OK, pages::signed_out(&[], None));
    };
    if let Some(cookie) = call.cookie(COOKIE) {
        realm.browsers.forget(cookie, leaving.user);
    }
    let back = return_address(realm, call);
    let frames = frames(realm, call, leaving);
    match back {
        Some(back) if frames.is_empty() => call::redirect(&back),
        back => call::page(StatusCode::OK, pages::signed_out(&frames, back.as_deref())),
    }
}

fn pick(realm: &Realm, call: &Call, accounts: &[SignedIn]) -> Answer {
    let params = if call.form.iter().next().is_some() { &call.form } else { &call.query };
    let tiles: Vec<pages::Tile> = accounts
        .iter()
        .filter_map(|account| realm.directory.user(account.user))
        .map(|user| {
            let query = params.query_with(&["_user"], &[("_user", &user.oid)]);
            pages::Tile::new(user, true, format!("?{query}"))
        })
        .collect();
    call::page(StatusCode::OK, pages::pick_sign_out(&tiles))
}

/// The object id in an `id_token_hint`. It chooses among accounts that are signed in anyway, so
/// its signature does not matter.
fn hinted_by_token(call: &Call) -> Option<String> {
    let token = call.param("id_token_hint")?;
    let payload = unpadded(token.split('.').nth(1)?)?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    Some(claims.get("oid")?.as_str()?.to_owned())
}

/// `post_logout_redirect_uri`, if it is a registered redirect URI, with `state`.
fn return_address(realm: &Realm, call: &Call) -> Option<String> {
    let uri = call.param("post_logout_redirect_uri")?;
    if !realm.directory.apps().iter().any(|app| app.allows_redirect(uri)) {
        return None;
    }
    let mut url = Url::parse(uri).ok()?;
    if let Some(state) = call.param("state") {
        url.query_pairs_mut().append_pair("state", state);
    }
    Some(url.into())
}

/// Front-channel logout URLs of the apps that the session has signed in to.
fn frames(realm: &Realm, call: &Call, account: &SignedIn) -> Vec<String> {
    let tenant =
        realm.directory.user(account.user).map(|user| user.tenant_id.clone()).unwrap_or_default();
    account
        .apps
        .iter()
        .filter_map(|place| realm.directory.app_at(*place))
        .filter_map(|app| {
            let mut url = Url::parse(app.entry.frontchannel_logout_uri.as_deref()?).ok()?;
            url.query_pairs_mut().append_pair("sid", &account.sid);
            if app.entry.frontchannel_iss {
                url.query_pairs_mut().append_pair("iss", &issuer_v2(&call.base, &tenant));
            }
            Some(url.into())
        })
        .collect()
}
