//! The part of Microsoft Graph that sign-in touches: who am I, and which groups am I in.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use http::{
    HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use serde_json::{Value, json};

use crate::emulator::{
    assertion,
    call::{self, Answer, Call},
    claims::graph_base,
    directory::{Group, User},
    ids,
    realm::Realm,
    scopes::{GRAPH, GRAPH_ID},
    signing, timestamp,
};

/// Entries on a page unless `$top` says otherwise, and at most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 999;

/// What Graph refuses.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    /// A claims challenge.
    claims: Option<String>,
}

const fn refusal(status: StatusCode, code: &'static str, message: &'static str) -> Refusal {
    Refusal { status, code, message, claims: None }
}

const fn unauthorized(message: &'static str) -> Refusal {
    refusal(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken", message)
}

/// Answers `/v1.0/…` and `/oidc/userinfo`.
pub(crate) fn answer(realm: &Realm, call: &Call, segments: &[&str]) -> Answer {
    match respond(realm, call, segments) {
        Ok(body) => call::json(StatusCode::OK, &body),
        Err(refusal) => refuse(call, &refusal),
    }
}

fn respond(realm: &Realm, call: &Call, segments: &[&str]) -> Result<Value, Refusal> {
    let (user, scp) = bearer(realm, call)?;
    let (method, base) = (&call.method, graph_base(&call.base));
    let may_read = scp.iter().any(|scope| {
        matches!(
            scope.to_ascii_lowercase().as_str(),
            "user.read"
                | "user.readbasic.all"
                | "user.read.all"
                | "user.readwrite"
                | "user.readwrite.all"
                | "directory.read.all"
                | "directory.readwrite.all"
                | "groupmember.read.all"
        )
    });
    let rest = match segments {
        ["oidc", "userinfo"] => return Ok(userinfo(user)),
        ["v1.0", "me", rest @ ..] => rest,
        ["v1.0", "users", who, rest @ ..] if user.answers_to(who) => rest,
        _ => {
            return Err(refusal(
                StatusCode::BAD_REQUEST,
                "BadRequest",
                "Resource not found for the segment.",
            ));
        }
    };
    if !may_read {
        return Err(refusal(
            StatusCode::FORBIDDEN,
            "Authorization_RequestDenied",
            "Insufficient privileges to complete the operation.",
        ));
    }
    match rest {
        [] if method == Method::GET => Ok(me(realm, user, &base)),
        [action] if action.eq_ignore_ascii_case("getMemberObjects") && method == Method::POST => {
            member_objects(call, user, &base)
        }
        [list, ..] if list.eq_ignore_ascii_case("transitiveMemberOf") && method == Method::GET => {
            member_of(call, user, &base)
        }
        _ => Err(refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            "Request_BadRequest",
            "Specified HTTP method is not allowed for the request target.",
        )),
    }
}

/// The user whom the access token stands for, and its scopes.
fn bearer<'r>(realm: &'r Realm, call: &Call) -> Result<(&'r User, Vec<String>), Refusal> {
    let token = call
        .header(AUTHORIZATION)
        .and_then(|header| header.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| unauthorized("Access token is empty."))?;
    let malformed = || unauthorized("CompactToken parsing failed with error code: 80049217");
    let parsed = assertion::read(token).ok_or_else(malformed)?;
    // What was signed is not what the bearer sees: the nonce was hashed before.
    let mut header = parsed.raw_header();
    signing::hash_nonce(&mut header);
    let (_, payload) = parsed.signed().split_once('.').ok_or_else(malformed)?;
    let signed = format!("{}.{payload}", signing::encoded_header(&header));
    let kid = parsed.header("kid").unwrap_or_default();
    if !realm.keys.verify(kid, signed.as_bytes(), parsed.signature()) {
        return Err(unauthorized("Signing key is invalid, or the signature does not match."));
    }
    let ours = parsed.audiences().iter().any(|aud| aud == GRAPH_ID || aud == GRAPH);
    if !ours {
        return Err(unauthorized("Access token validation failure. Invalid audience."));
    }
    let expires = parsed.claims().get("exp").and_then(Value::as_i64).unwrap_or_default();
    if expires <= call.now {
        return Err(unauthorized("Lifetime validation failed, the token is expired."));
    }
    let tid = parsed.claim("tid").unwrap_or_default();
    let oid = parsed.claim("oid").unwrap_or_default();
    let (place, user) = realm.directory.user_by_oid(tid, oid).ok_or_else(|| {
        unauthorized("The identity of the calling application could not be established.")
    })?;
    if parsed.claims().contains_key("xms_cc") && is_revoked(realm, place, parsed.claim("uti")) {
        let nbf = call.now.to_string();
        let challenge = json!({ "access_token": { "nbf": { "essential": true, "value": nbf } } });
        let mut refusal = unauthorized(
            "Continuous access evaluation resulted in challenge with result: \
             InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp",
        );
        refusal.claims = Some(challenge.to_string());
        return Err(refusal);
    }
    let scopes = parsed.claim("scp").unwrap_or_default();
    Ok((user, scopes.split(' ').map(str::to_owned).collect()))
}

fn is_revoked(realm: &Realm, user: usize, uti: Option<&str>) -> bool {
    let bytes = uti.and_then(|uti| BASE64_URL_SAFE_NO_PAD.decode(uti).ok());
    let sequence = bytes.and_then(|bytes| bytes.first_chunk().copied()).map(u64::from_be_bytes);
    sequence.is_some_and(|sequence| realm.administration.is_revoked(user, sequence))
}

fn refuse(call: &Call, refusal: &Refusal) -> Answer {
    let body = json!({
        "error": {
            "code": refusal.code,
            "message": refusal.message,
            "innerError": {
                "date": timestamp::of_graph(call.now),
                "request-id": call.trace_id,
                "client-request-id": call.correlation_id,
            },
        },
    });
    let mut answer = call::json(refusal.status, &body);
    if refusal.status == StatusCode::UNAUTHORIZED {
        let mut line = format!(
            "Bearer realm=\"\", authorization_uri=\"{}/common/oauth2/authorize\", client_id=\"{GRAPH_ID}\"",
            call.base
        );
        if let Some(claims) = &refusal.claims {
            line.push_str(", errorDescription=\"Continuous access evaluation resulted in challenge\", error=\"insufficient_claims\", claims=\"");
            BASE64_STANDARD.encode_string(claims, &mut line);
            line.push('"');
        }
        if let Ok(line) = HeaderValue::from_str(&line) {
            answer.headers_mut().insert(WWW_AUTHENTICATE, line);
        }
    }
    answer
}

fn me(realm: &Realm, user: &User, base: &str) -> Value {
    let (given, family) = user.display_name().split_once(' ').unwrap_or((user.display_name(), ""));
    json!({
        "@odata.context": format!("{base}/v1.0/$metadata#users/$entity"),
        "businessPhones": [],
        "displayName": user.display_name(),
        "givenName": given,
        "jobTitle": user.entry.job_title,
        "mail": user.entry.name,
        "mobilePhone": null,
        "officeLocation": null,
        "preferredLanguage": null,
        "surname": family,
        "userPrincipalName": user.principal_name(realm.directory.tenant(user.tenant)),
        "id": user.oid,
    })
}

fn userinfo(user: &User) -> Value {
    let (given, family) = user.display_name().split_once(' ').unwrap_or((user.display_name(), ""));
    json!({
        "sub": ids::text_of(&format!("sub:{GRAPH_ID}:{}:{}", user.tenant_id, user.oid)),
        "name": user.display_name(),
        "family_name": family,
        "given_name": given,
        "email": user.entry.name,
    })
}

fn member_objects(call: &Call, user: &User, base: &str) -> Result<Value, Refusal> {
    let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    if !body.get("securityEnabledOnly").is_some_and(Value::is_boolean) {
        return Err(refusal(
            StatusCode::BAD_REQUEST,
            "Request_BadRequest",
            "A value is required for parameter 'securityEnabledOnly'.",
        ));
    }
    let ids: Vec<&str> = user.groups.iter().map(|group| group.id.as_str()).collect();
    Ok(json!({
        "@odata.context": format!("{base}/v1.0/$metadata#Collection(Edm.String)"),
        "value": ids,
    }))
}

fn member_of(call: &Call, user: &User, base: &str) -> Result<Value, Refusal> {
    let number = |name: &str| call.query.one(name).map(str::parse::<usize>).transpose();
    let (Ok(top), Ok(skip)) = (number("$top"), number("$skiptoken")) else {
        return Err(refusal(
            StatusCode::BAD_REQUEST,
            "Request_BadRequest",
            "Invalid page size specified.",
        ));
    };
    let (top, skip) = (top.unwrap_or(PAGE), skip.unwrap_or(0));
    if top == 0 || top > LARGEST_PAGE {
        return Err(refusal(
            StatusCode::BAD_REQUEST,
            "Request_UnsupportedQuery",
            "Invalid page size specified. Must be between 1 and 999 inclusive.",
        ));
    }
    let select = call.query.one("$select");
    let page = user
        .groups
        .iter()
        .skip(skip)
        .take(top)
        .map(|group| entry(group, select))
        .collect::<Vec<_>>();
    let mut body = json!({
        "@odata.context": format!("{base}/v1.0/$metadata#directoryObjects"),
        "value": page,
    });
    if skip + top < user.groups.len() {
        let after = (skip + top).to_string();
        let query = call.query.query_with(&["$skiptoken"], &[("$skiptoken", &after)]);
        let next = format!("{base}{}?{query}", call.path);
        if let Some(body) = body.as_object_mut() {
            body.insert("@odata.nextLink".to_owned(), next.into());
        }
    }
    Ok(body)
}

fn entry(group: &Group, select: Option<&str>) -> Value {
    let mut entry = json!({
        "@odata.type": "#microsoft.graph.group",
        "id": group.id,
        "displayName": group.name,
        "mailEnabled": false,
        "securityEnabled": true,
        "groupTypes": [],
    });
    if let (Some(select), Some(entry)) = (select, entry.as_object_mut()) {
        let wanted: Vec<&str> = select.split(',').map(str::trim).collect();
        entry.retain(|name, _| name.starts_with('@') || wanted.contains(&name.as_str()));
    }
    entry
}
