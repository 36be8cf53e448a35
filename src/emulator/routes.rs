//! The ordered table of paths, and what happens to every request on its way.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header::HOST};
use hyper::body::Incoming;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    base::body::Body,
    emulator::{
        aadsts::Failure,
        authorize,
        call::{self, Answer, Call},
        client_auth, consent,
        directory::TenantAlias,
        faults::{Endpoint, Fault},
        graph,
        metadata::{self, Generation},
        pages,
        realm::Realm,
        request_log::LoggedRequest,
        scripted, sign_out, token,
    },
};

/// The largest request body.
const BODY_CAP: u64 = 1 << 20;

/// What a path leads to.
#[derive(Clone, Copy, Debug)]
enum Route<'p> {
    Faults,
    Requests,
    Home,
    ErrorText,
    Instance,
    /// Graph itself, and its `OpenID` user info.
    Graph,
    UserInfo,
    Metadata(&'p str, Generation),
    Keys(&'p str, Generation),
    Authorize(&'p str),
    Token(&'p str),
    Logout(&'p str),
    AdminConsent(&'p str),
    Unknown,
}

impl<'p> Route<'p> {
    /// Tenants stand first in a path, so the fixed words come before them in the table.
    fn at(segments: &[&'p str]) -> Self {
        match segments {
            ["_emulator", "faults"] => Self::Faults,
            ["_emulator", "requests"] => Self::Requests,
            [] | [""] => Self::Home,
            ["error"] => Self::ErrorText,
            ["common", "discovery", "instance"] => Self::Instance,
            ["v1.0", ..] => Self::Graph,
            ["oidc", "userinfo"] => Self::UserInfo,
            [tenant, "v2.0", ".well-known", "openid-configuration"] => {
                Self::Metadata(tenant, Generation::V2)
            }
            [tenant, ".well-known", "openid-configuration"] => {
                Self::Metadata(tenant, Generation::V1)
            }
            [tenant, "discovery", "v2.0", "keys"] => Self::Keys(tenant, Generation::V2),
            [tenant, "discovery", "keys"] => Self::Keys(tenant, Generation::V1),
            [tenant, "oauth2", "v2.0", "authorize"] => Self::Authorize(tenant),
            [tenant, "oauth2", "v2.0", "token"] => Self::Token(tenant),
            [tenant, "oauth2", "v2.0", "logout"] => Self::Logout(tenant),
            [tenant, "v2.0", "adminconsent"] => Self::AdminConsent(tenant),
            _ => Self::Unknown,
        }
    }

    /// Its name in the request log.
    const fn name(self) -> &'static str {
        match self {
            Self::Faults | Self::Requests => "control",
            Self::Home | Self::ErrorText => "page",
            Self::Instance => "instance",
            Self::Graph => "graph",
            Self::UserInfo => "userinfo",
            Self::Metadata(..) => "metadata",
            Self::Keys(..) => "keys",
            Self::Authorize(_) => "authorize",
            Self::Token(_) => "token",
            Self::Logout(_) => "logout",
            Self::AdminConsent(_) => "adminconsent",
            Self::Unknown => "unknown",
        }
    }

    /// Where faults may wait for it.
    const fn endpoint(self) -> Option<Endpoint> {
        match self {
            Self::Graph => Some(Endpoint::Graph),
            Self::Metadata(..) => Some(Endpoint::Metadata),
            Self::Keys(..) => Some(Endpoint::Keys),
            Self::Authorize(_) => Some(Endpoint::Authorize),
            Self::Token(_) => Some(Endpoint::Token),
            Self::Logout(_) => Some(Endpoint::Logout),
            _ => None,
        }
    }

    const fn tenant(self) -> Option<&'p str> {
        match self {
            Self::Metadata(tenant, _)
            | Self::Keys(tenant, _)
            | Self::Authorize(tenant)
            | Self::Token(tenant)
            | Self::Logout(tenant)
            | Self::AdminConsent(tenant) => Some(tenant),
            _ => None,
        }
    }
}

/// Answers one request.
pub(crate) async fn handle(
    realm: Arc<Realm>,
    scheme: &'static str,
    address: SocketAddr,
    request: Request<Incoming>,
) -> Answer {
    let (head, body) = request.into_parts();
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let base = match host {
        Some(host) => format!("{scheme}://{}", host.to_ascii_lowercase()),
        None => format!("{scheme}://{address}"),
    };
    let body = match Body::stream(body, None).read(BODY_CAP).await {
        Ok(body) => body,
        Err(error) => {
            tracing::debug!(%error, "the emulator could not read a request");
            Bytes::new()
        }
    };
    let call = Call::new(head, body, base, realm.now());
    let path = call.path.to_ascii_lowercase();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let route = Route::at(&segments);
    let grant_type = call.form.one("grant_type");
    let fault = route.endpoint().and_then(|endpoint| realm.armed.meet(endpoint, grant_type));
    if let Some(delay) = fault.as_ref().and_then(|fault| fault.delay) {
        // The delay *is* what was asked for.
        sleep(delay.duration()).await;
    }
    let answer = faulted(&realm, &call, route, fault.as_ref()).await;
    let returned_id = call.headers.contains_key("return-client-request-id")
        || call.headers.contains_key("client-request-id");
    let answer = call::with_service_headers(
        answer,
        &call.trace_id,
        returned_id.then_some(call.correlation_id.as_str()),
    );
    log(&realm, &call, route, answer.status(), fault.is_some());
    answer
}

async fn faulted(realm: &Realm, call: &Call, route: Route<'_>, fault: Option<&Fault>) -> Answer {
    let Some(fault) = fault else { return respond(realm, call, route, None) };
    // A bare OAuth error of authorize travels to the app, which authorize itself must do.
    let at_app = matches!(route, Route::Authorize(_))
        && fault.status.is_none()
        && fault.body.is_none()
        && fault.location.is_none();
    let answer = if fault.replaces() && !at_app {
        scripted::answer(fault, call)
    } else {
        respond(realm, call, route, Some(fault))
    };
    scripted::bend(fault, answer).await
}

fn respond(realm: &Realm, call: &Call, route: Route<'_>, fault: Option<&Fault>) -> Answer {
    let alias = match route.tenant() {
        None => TenantAlias::Common,
        Some(segment) => match realm.directory.tenant_alias(segment) {
            Some(alias) => alias,
            None => return unknown_tenant(call, route, segment),
        },
    };
    match route {
        Route::Faults => set_fault(realm, call),
        Route::Requests => call::json(StatusCode::OK, &json!(realm.log.all())),
        Route::Home => pages::home(realm, call),
        Route::ErrorText => pages::error_text(call),
        Route::Instance => metadata::instance(call),
        Route::Graph | Route::UserInfo => {
            let segments: Vec<&str> = call.path.trim_start_matches('/').split('/').collect();
            graph::answer(realm, call, &segments)
        }
        Route::Metadata(_, of) => call::public_json(&metadata::document(realm, call, alias, of)),
        Route::Keys(_, of) => call::public_json(&metadata::keys(realm, call, alias, of)),
        Route::Authorize(_) => authorize::answer(realm, call, alias, fault),
        Route::Token(_) => token::answer(realm, call, alias, fault),
        Route::Logout(_) => sign_out::answer(realm, call),
        Route::AdminConsent(_) => consent::answer(realm, call, alias),
        Route::Unknown => pages::not_found(call),
    }
}

fn unknown_tenant(call: &Call, route: Route<'_>, segment: &str) -> Answer {
    let text = format!(
        "Tenant '{segment}' not found. Check to make sure you have the correct tenant ID and are \
         signing into the correct cloud. Check with your subscription administrator, this may \
         happen if there are no active subscriptions for the tenant."
    );
    match route {
        Route::Metadata(..) | Route::Keys(..) => {
            Failure::new(90_002, "invalid_tenant", text).into_json(call)
        }
        Route::Token(_) => Failure::invalid_request(90_002, text).into_json(call),
        _ => pages::failure(call, &Failure::invalid_request(90_002, text)),
    }
}

/// `POST /_emulator/faults`.
fn set_fault(realm: &Realm, call: &Call) -> Answer {
    let refuse =
        |status: StatusCode, message: String| call::json(status, &json!({ "error": message }));
    if call.method != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "faults are set by POST".to_owned());
    }
    match Fault::parse(&call.body) {
        Ok(fault) => {
            if let Some(name) = realm.unknown_user(&fault) {
                return refuse(StatusCode::BAD_REQUEST, format!("there is no user {name}"));
            }
            realm.fault(fault);
            call::no_content()
        }
        Err(error) => refuse(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

fn log(realm: &Realm, call: &Call, route: Route<'_>, status: StatusCode, faulted: bool) {
    let is_token = matches!(route, Route::Token(_));
    let claimed = client_auth::claimed(call);
    let owned = |name: &str| call.param(name).map(str::to_owned);
    let request = LoggedRequest {
        endpoint: route.name().to_owned(),
        method: call.method.to_string(),
        path: call.path.clone(),
        grant_type: is_token.then(|| owned("grant_type")).flatten(),
        client_id: if is_token { claimed.client_id } else { owned("client_id") },
        scope: owned("scope"),
        client_authentication: is_token.then(|| claimed.method.name().to_owned()),
        prompt: owned("prompt"),
        claims: call.param("claims").is_some(),
        correlation_id: call.correlation_id.clone(),
        status: status.as_u16(),
        faulted,
    };
    tracing::debug!(
        endpoint = request.endpoint,
        method = request.method,
        status = request.status,
        grant_type = request.grant_type,
        faulted,
        "the emulator answered"
    );
    realm.log.add(request);
}
