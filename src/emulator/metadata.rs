//! Discovery: the metadata of a tenant, its keys, and the instance discovery of MSAL.

use http::StatusCode;
use serde_json::{Value, json};
use url::Url;

use crate::emulator::{
    aadsts::Failure,
    call::{self, Answer, Call},
    claims::{graph_base, issuer_v1, issuer_v2},
    directory::{CONSUMERS, TenantAlias},
    realm::Realm,
};

/// Which generation of endpoints is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    V1,
    V2,
}

/// The tenant as it stands in URLs of the answer, and in `issuer`.
fn names(realm: &Realm, alias: TenantAlias) -> (String, String) {
    match alias {
        TenantAlias::Common => ("common".to_owned(), "{tenantid}".to_owned()),
        TenantAlias::Organizations => ("organizations".to_owned(), "{tenantid}".to_owned()),
        TenantAlias::Consumers => ("consumers".to_owned(), CONSUMERS.to_owned()),
        TenantAlias::One(index) => {
            let id = realm.directory.tenant(index).map(|tenant| tenant.id.clone());
            let id = id.unwrap_or_default();
            (id.clone(), id)
        }
    }
}

/// `openid-configuration`, as recorded from Microsoft; without `code_challenge_methods_supported`
/// although S256 works.
pub(crate) fn document(realm: &Realm, call: &Call, alias: TenantAlias, of: Generation) -> Value {
    let base = &call.base;
    let (segment, tenant) = names(realm, alias);
    let (version, issuer) = match of {
        Generation::V2 => ("v2.0/", issuer_v2(base, &tenant)),
        Generation::V1 => ("", issuer_v1(base, &tenant)),
    };
    let appid = call.query.one("appid").map(|id| format!("?appid={id}")).unwrap_or_default();
    let host = base.split_once("://").map_or(base.as_str(), |(_, host)| host);
    let endpoint = |name: &str| format!("{base}/{segment}/oauth2/{version}{name}");
    let mut document = json!({
        "token_endpoint": endpoint("token"),
        "token_endpoint_auth_methods_supported":
            ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": format!("{base}/{segment}/discovery/{version}keys{appid}"),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer,
        "request_uri_parameter_supported": false,
        "userinfo_endpoint": format!("{}/oidc/userinfo", graph_base(base)),
        "authorization_endpoint": endpoint("authorize"),
        "device_authorization_endpoint": endpoint("devicecode"),
        "http_logout_supported": true,
        "frontchannel_logout_supported": true,
        "end_session_endpoint": endpoint("logout"),
        "claims_supported": [
            "sub", "iss", "cloud_instance_name", "cloud_instance_host_name",
            "cloud_graph_host_name", "msgraph_host", "aud", "exp", "iat", "auth_time", "acr",
            "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email",
        ],
        "kerberos_endpoint": format!("{base}/{segment}/kerberos"),
        "tenant_region_scope": "EU",
        "cloud_instance_name": host,
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": graph_base(base).split_once("://").map(|(_, host)| host),
        "rbac_url": "https://pas.windows.net",
    });
    // An alias lies in no region.
    if let (TenantAlias::Common | TenantAlias::Organizations, Some(members)) =
        (alias, document.as_object_mut())
    {
        members.insert("tenant_region_scope".to_owned(), Value::Null);
    }
    document
}

/// The JWK Set. Work keys say for which issuers they sign.
pub(crate) fn keys(realm: &Realm, call: &Call, alias: TenantAlias, of: Generation) -> Value {
    let (_, tenant) = names(realm, alias);
    let tenant = if alias == TenantAlias::Consumers { "{tenantid}" } else { tenant.as_str() };
    let mut set = realm.keys.jwks(&issuer_v2(&call.base, tenant), &call.base);
    if of == Generation::V1
        && let Some(keys) = set.get_mut("keys").and_then(Value::as_array_mut)
    {
        for key in keys.iter_mut().filter_map(Value::as_object_mut) {
            key.remove("issuer");
        }
    }
    set
}

/// `/common/discovery/instance`: which hosts are one and the same cloud.
pub(crate) fn instance(call: &Call) -> Answer {
    let asked = call.query.one("authorization_endpoint").and_then(|url| Url::parse(url).ok());
    let own = Url::parse(&call.base).ok();
    let (Some(asked), Some(own)) = (asked, own) else {
        let text = "The request must contain the following parameter: 'authorization_endpoint'.";
        return Failure::invalid_request(900_144, text).into_json(call);
    };
    let host = |url: &Url| match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    let (asked_host, own_host) = (host(&asked), host(&own));
    let public = [
        "login.microsoftonline.com",
        "login.windows.net",
        "login.microsoft.com",
        "sts.windows.net",
    ];
    if asked_host != own_host && !public.contains(&asked_host.as_str()) {
        let text =
            format!("Unknown or invalid instance. The authority host {asked_host} is unknown.");
        return Failure::new(50_049, "invalid_instance", text).into_json(call);
    }
    let tenant = asked.path_segments().and_then(|mut segments| segments.next()).unwrap_or("common");
    let mut metadata = vec![json!({
        "preferred_network": own_host,
        "preferred_cache": own_host,
        "aliases": [own_host],
    })];
    if !public.contains(&own_host.as_str()) {
        metadata.push(json!({
            "preferred_network": "login.microsoftonline.com",
            "preferred_cache": "login.windows.net",
            "aliases": public,
        }));
    } else if let Some(entry) = metadata.first_mut() {
        *entry = json!({
            "preferred_network": "login.microsoftonline.com",
            "preferred_cache": "login.windows.net",
            "aliases": public,
        });
    }
    let body = json!({
        "tenant_discovery_endpoint":
            format!("{}/{tenant}/v2.0/.well-known/openid-configuration", call.base),
        "api-version": "1.1",
        "metadata": metadata,
    });
    call::json(StatusCode::OK, &body)
}
