//! Claims of ID tokens and of access tokens in their versions (`v1`, `v2`, Graph's own).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::emulator::{
    directory::{App, CONSUMERS, Tenant, User},
    grants::Grant,
    ids,
    scopes::{GRAPH, GRAPH_ID},
};

/// Entra dates tokens back by five minutes, so that slow clocks accept them.
const BACKDATED: i64 = 300;
/// An ID token lives an hour.
pub(crate) const ID_TOKEN_LIFE: i64 = 3600;
/// More groups than this are not in a JWT but behind a link.
const MOST_GROUPS: usize = 200;

/// Who and what a token is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'r> {
    pub(crate) base: &'r str,
    pub(crate) user: &'r User,
    pub(crate) tenant: &'r Tenant,
    /// The client, with its place in the directory.
    pub(crate) client: (usize, &'r App),
    pub(crate) grant: &'r Grant,
    pub(crate) now: i64,
}

/// `iss` of v2 tokens.
pub(crate) fn issuer_v2(base: &str, tenant: &str) -> String {
    format!("{base}/{tenant}/v2.0")
}

/// `iss` of v1 tokens: a host of its own at Microsoft, ours where we have but one.
pub(crate) fn issuer_v1(base: &str, tenant: &str) -> String {
    if base == "https://login.microsoftonline.com" {
        format!("https://sts.windows.net/{tenant}/")
    } else {
        format!("{base}/{tenant}/")
    }
}

/// Where Graph answers.
pub(crate) fn graph_base(base: &str) -> String {
    if base == "https://login.microsoftonline.com" { GRAPH.to_owned() } else { base.to_owned() }
}

/// base64url JSON of the home object id and the home tenant.
pub(crate) fn client_info(user: &User) -> String {
    let info = json!({ "uid": user.home_oid, "utid": user.home_tenant_id });
    BASE64_URL_SAFE_NO_PAD.encode(info.to_string())
}

/// What authorize and token requests ask for in `claims` (`OpenID` Connect Core §5.5).
#[derive(Clone, Debug, Default)]
pub(crate) struct ClaimsRequest {
    pub(crate) id_token: Vec<String>,
    pub(crate) contexts: Vec<String>,
    pub(crate) capabilities: Vec<String>,
}

impl ClaimsRequest {
    /// `None`: not a JSON object.
    pub(crate) fn parse(text: Option<&str>) -> Option<Self> {
        let Some(text) = text else { return Some(Self::default()) };
        let request: Map<String, Value> = serde_json::from_str(text).ok()?;
        let member = |name: &str| request.get(name).and_then(Value::as_object);
        let id_token = member("id_token");
        let access_token = member("access_token");
        let mut contexts = values(access_token, "acrs");
        contexts.extend(values(id_token, "acrs"));
        Some(Self {
            id_token: id_token.map(|names| names.keys().cloned().collect()).unwrap_or_default(),
            contexts,
            capabilities: values(access_token, "xms_cc"),
        })
    }

    pub(crate) fn handles_cae(&self) -> bool {
        self.capabilities.iter().any(|capability| capability.eq_ignore_ascii_case("cp1"))
    }
}

/// `value` and `values` of one claim of a claims request.
fn values(claims: Option<&Map<String, Value>>, name: &str) -> Vec<String> {
    let Some(wanted) = claims.and_then(|claims| claims.get(name)) else { return Vec::new() };
    let one = wanted.get("value").and_then(Value::as_str).map(str::to_owned);
    let several = wanted.get("values").and_then(Value::as_array);
    let several = several.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    one.into_iter().chain(several).collect()
}

impl Subject<'_> {
    /// Pairwise: the same person is somebody else to every app.
    fn sub(&self, app: &str) -> String {
        ids::text_of(&format!("sub:{app}:{}:{}", self.tenant.id, self.user.oid))
    }

    /// Token id of 22 characters. Its first half is the grant's place in the order of grants, so
    /// that Graph can tell a token from before a revocation.
    fn uti(&self) -> String {
        let mut bytes: [u8; 16] = ids::random_bytes();
        for (byte, of) in bytes.iter_mut().zip(self.grant.sequence.to_be_bytes()) {
            *byte = of;
        }
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn rh(&self) -> String {
        format!(
            "1.A{}AAAA.",
            ids::text_of(&format!("rh:{}:{}", self.tenant.id, self.client.1.client_id))
        )
    }

    /// Times, opaque members and the person.
    fn common(&self, exp: i64, app: &str) -> Map<String, Value> {
        let issued = self.now - BACKDATED;
        let mut claims = Map::new();
        let mut set = |name: &str, value: Value| {
            claims.insert(name.to_owned(), value);
        };
        set("iat", issued.into());
        set("nbf", issued.into());
        set("exp", exp.into());
        set("aio", format!("A{}==", ids::random_text(93)).into());
        set("oid", self.user.oid.as_str().into());
        set("rh", self.rh().into());
        set("sub", self.sub(app).into());
        set("tid", self.tenant.id.as_str().into());
        set("uti", self.uti().into());
        if self.user.is_guest() {
            let home = &self.user.home_tenant_id;
            let idp = match home.as_str() {
                CONSUMERS => "live.com".to_owned(),
                home => issuer_v1(self.base, home),
            };
            set("idp", idp.into());
        }
        claims
    }

    /// `groups`, or the pointer to them.
    fn groups(&self, claims: &mut Map<String, Value>, of: &App) {
        if !of.entry.groups_claim || self.user.groups.is_empty() {
            return;
        }
        if self.user.groups.len() > MOST_GROUPS {
            let endpoint =
                format!("{}/v1.0/users/{}/getMemberObjects", graph_base(self.base), self.user.oid);
            claims.insert("_claim_names".to_owned(), json!({ "groups": "src1" }));
            let sources = json!({ "src1": { "endpoint": endpoint } });
            claims.insert("_claim_sources".to_owned(), sources);
        } else {
            let groups = self.user.groups.iter().map(|group| group.id.as_str().into()).collect();
            claims.insert("groups".to_owned(), Value::Array(groups));
        }
    }

    fn roles(&self, claims: &mut Map<String, Value>, of: usize) {
        let roles: Vec<Value> = self.user.roles(of).into_iter().map(Into::into).collect();
        if !roles.is_empty() {
            claims.insert("roles".to_owned(), Value::Array(roles));
        }
    }

    fn contexts(&self) -> Value {
        self.grant.contexts.iter().map(|context| Value::from(context.as_str())).collect()
    }

    /// The ID token of the client.
    pub(crate) fn id_token(
        &self,
        nonce: Option<&str>,
        request: &ClaimsRequest,
    ) -> Map<String, Value> {
        let (place, client) = self.client;
        let mut claims = self.common(self.now + ID_TOKEN_LIFE, &client.client_id);
        let always = ["sid".to_owned(), "login_hint".to_owned()];
        let optional = client.entry.optional_claims.as_deref().unwrap_or(&always);
        let wants =
            |name: &str| optional.iter().chain(&request.id_token).any(|wanted| wanted == name);
        let mut set = |name: &str, value: Value| {
            claims.insert(name.to_owned(), value);
        };
        set("aud", client.client_id.as_str().into());
        set("iss", issuer_v2(self.base, &self.tenant.id).into());
        set("ver", "2.0".into());
        set("name", self.user.display_name().into());
        set("preferred_username", self.user.entry.name.as_str().into());
        if let Some(nonce) = nonce {
            set("nonce", nonce.into());
        }
        if self.grant.scopes.email || self.user.is_guest() || wants("email") {
            set("email", self.user.entry.name.as_str().into());
        }
        if wants("sid") {
            set("sid", self.grant.sid.as_str().into());
        }
        if wants("login_hint") {
            set("login_hint", self.user.login_hint.as_str().into());
        }
        if wants("auth_time") {
            set("auth_time", self.grant.auth_time.into());
        }
        if wants("acct") {
            set("acct", u8::from(self.user.is_guest()).into());
        }
        if wants("upn") {
            set("upn", self.user.principal_name(Some(self.tenant)).into());
        }
        if wants("acrs") && !self.grant.contexts.is_empty() {
            set("acrs", self.contexts());
        }
        let (given, family) = self.names();
        if wants("given_name") {
            set("given_name", given.into());
        }
        if wants("family_name") {
            set("family_name", family.into());
        }
        self.groups(&mut claims, client);
        self.roles(&mut claims, place);
        claims
    }

    /// An access token for the API of `api`, in the version that its manifest accepts.
    pub(crate) fn api_token(
        &self,
        (place, api): (usize, &App),
        written: &str,
        scp: &str,
        exp: i64,
        acr: &str,
    ) -> Map<String, Value> {
        let mut claims = self.common(exp, &api.client_id);
        self.groups(&mut claims, api);
        self.roles(&mut claims, place);
        let mut set = |name: &str, value: Value| {
            claims.insert(name.to_owned(), value);
        };
        set("scp", scp.into());
        set("name", self.user.display_name().into());
        set("sid", self.grant.sid.as_str().into());
        if !self.grant.contexts.is_empty() {
            set("acrs", self.contexts());
        }
        if api.entry.access_token_version == Some(2) {
            set("aud", api.client_id.as_str().into());
            set("iss", issuer_v2(self.base, &self.tenant.id).into());
            set("azp", self.client.1.client_id.as_str().into());
            set("azpacr", acr.into());
            set("preferred_username", self.user.entry.name.as_str().into());
            set("ver", "2.0".into());
        } else {
            set("aud", written.into());
            self.version_one(&mut claims, acr);
        }
        claims
    }

    /// An access token for Graph, which only Graph may read.
    pub(crate) fn graph_token(&self, scp: &str, exp: i64, acr: &str) -> Map<String, Value> {
        let mut claims = self.common(exp, GRAPH_ID);
        self.version_one(&mut claims, acr);
        let mut set = |name: &str, value: Value| {
            claims.insert(name.to_owned(), value);
        };
        let puid = ids::guid_of(&self.user.oid).replace('-', "").to_ascii_uppercase();
        set("aud", GRAPH_ID.into());
        set("scp", scp.into());
        set("acct", u8::from(self.user.is_guest()).into());
        set("acrs", self.contexts());
        set("app_displayname", self.client.1.entry.name.as_str().into());
        set("idtyp", "user".into());
        set("platf", "3".into());
        set("puid", format!("1003{puid:.12}").into());
        set("sid", self.grant.sid.as_str().into());
        set("signin_state", json!(["kmsi"]));
        set("tenant_region_scope", "EU".into());
        set("wids", json!(["b79fbf4d-3ef9-4689-8143-76b194e85509"]));
        set("xms_ftd", ids::random_text(56).into());
        set("xms_idrel", "1 24".into());
        set("xms_st", json!({ "sub": self.sub(&self.client.1.client_id) }));
        set("xms_tcdt", 1_577_836_800.into());
        claims
    }

    fn version_one(&self, claims: &mut Map<String, Value>, acr: &str) {
        let (given, family) = self.names();
        let upn = self.user.principal_name(Some(self.tenant));
        let mut set = |name: &str, value: Value| {
            claims.insert(name.to_owned(), value);
        };
        set("iss", issuer_v1(self.base, &self.tenant.id).into());
        set("acr", "1".into());
        set("amr", if self.grant.mfa { json!(["pwd", "mfa"]) } else { json!(["pwd"]) });
        set("appid", self.client.1.client_id.as_str().into());
        set("appidacr", acr.into());
        set("family_name", family.into());
        set("given_name", given.into());
        set("ipaddr", "192.0.2.10".into());
        set("name", self.user.display_name().into());
        set("unique_name", upn.as_str().into());
        set("upn", upn.into());
        set("ver", "1.0".into());
    }

    fn names(&self) -> (&str, &str) {
        self.user.display_name().split_once(' ').unwrap_or((self.user.display_name(), ""))
    }
}
