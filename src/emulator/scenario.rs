//! What the emulated Entra contains: tenants, apps, groups, roles, users, lifetimes, faults.

use serde::Deserialize;

use crate::{
    base::{
        document::{self, DocumentError},
        secret::Secret,
        units::Span,
    },
    emulator::faults::Fault,
};

/// The contents of one emulator. [`Scenario::default`] has one tenant, one app and users of every
/// size; a file replaces the lists that it names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Tenants; the first is the one a client is told.
    pub tenants: Vec<TenantEntry>,
    /// App registrations; the first is the one a client is told.
    pub apps: Vec<AppEntry>,
    /// Security groups, for users to name. A user may also name a group that is not listed.
    pub groups: Vec<GroupEntry>,
    /// App roles and who has them.
    pub roles: Vec<RoleEntry>,
    /// Accounts.
    pub users: Vec<UserEntry>,
    /// Life of an access token; unset: random between 60 and 90 minutes, as at Microsoft.
    pub token_lifetime: Option<Span>,
    /// Life of an authorization code.
    pub code_lifetime: Span,
    /// Life of a refresh token that is not used.
    pub refresh_token_lifetime: Span,
    /// Whether token answers carry `refresh_in` (half of the life).
    pub refresh_in: bool,
    /// HTTP status of `invalid_client` answers: 401 unless said.
    pub invalid_client_status: u16,
    /// Faults that are armed from the start.
    pub faults: Vec<Fault>,
}

/// A tenant.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantEntry {
    /// GUID; unset: follows from the first domain.
    pub id: Option<String>,
    /// Verified domains; any of them names the tenant in a URL.
    pub domains: Vec<String>,
    /// Display name.
    pub name: String,
}

/// An app registration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a registration")]
pub struct AppEntry {
    /// Display name.
    pub name: String,
    /// GUID; unset: follows from the name.
    pub client_id: Option<String>,
    /// Client secret.
    pub client_secret: Option<Secret>,
    /// Domain or GUID of the tenant that it is registered in; unset: the first one.
    pub tenant: Option<String>,
    /// Whether `organizations`, `common` and foreign tenants may be used.
    pub multi_tenant: bool,
    /// Registered redirect URIs.
    pub redirect_uris: Vec<String>,
    /// Whether any `http://localhost`, `http://127.0.0.1` or https twin counts as registered.
    pub any_loopback_redirect_uri: bool,
    /// Front-channel logout URL.
    pub frontchannel_logout_uri: Option<String>,
    /// Whether front-channel calls carry `iss` beside `sid`; Microsoft's mostly do not.
    pub frontchannel_iss: bool,
    /// Certificates (PEM text) whose keys may sign client assertions.
    pub certificates: Vec<String>,
    /// The same, as files.
    pub certificate_files: Vec<std::path::PathBuf>,
    /// Federated identity credentials.
    pub federated_credentials: Vec<FederatedEntry>,
    /// A public client: a credential is refused.
    pub public: bool,
    /// Scopes of its own API, `api://<client_id>/<scope>`.
    pub scopes: Vec<String>,
    /// App-id URIs besides `api://<client_id>`.
    pub identifier_uris: Vec<String>,
    /// The manifest's `accessTokenAcceptedVersion`: 1 or 2. Unset is 1, as at Microsoft.
    pub access_token_version: Option<u8>,
    /// Whether tokens carry `groups`.
    pub groups_claim: bool,
    /// Whether a user needs a role (or an entry in `assigned_users`) to sign in.
    pub assignment_required: bool,
    /// Users who are assigned without a role.
    pub assigned_users: Vec<String>,
    /// Whether users are asked for consent; otherwise an admin has granted everything.
    pub ask_consent: bool,
    /// Optional claims of ID tokens; unset: `sid`, `login_hint`.
    pub optional_claims: Option<Vec<String>>,
}

/// A federated identity credential of an app.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederatedEntry {
    /// Exact `iss`.
    pub issuer: String,
    /// Exact `sub`.
    pub subject: String,
    /// Accepted `aud` values.
    #[serde(default = "exchange_audience")]
    pub audiences: Vec<String>,
    /// The issuer's keys: JWK Set as JSON text.
    pub jwks: Option<String>,
    /// The same, as a file that is read at each use.
    pub jwks_file: Option<std::path::PathBuf>,
}

fn exchange_audience() -> Vec<String> {
    vec!["api://AzureADTokenExchange".to_owned()]
}

/// A security group.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupEntry {
    /// Display name.
    pub name: String,
    /// GUID; unset: follows from the name.
    pub id: Option<String>,
}

/// An app role.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleEntry {
    /// The value in the `roles` claim.
    pub value: String,
    /// Name or `client_id` of the app; unset: the first one.
    pub app: Option<String>,
    /// Users who have it.
    pub users: Vec<String>,
    /// Groups whose members have it.
    pub groups: Vec<String>,
}

/// An account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserEntry {
    /// User name, such as `alice@contoso.test`.
    pub name: String,
    /// Display name; unset: the user name.
    pub display_name: Option<String>,
    /// Object id; unset: follows from the user name and the tenant.
    pub id: Option<String>,
    /// Domain or GUID of the tenant; unset: the first one.
    pub tenant: Option<String>,
    /// Domain or GUID of the home tenant of a guest. It need not be a tenant of the scenario.
    pub guest_of: Option<String>,
    /// Groups by name or GUID.
    pub groups: Vec<String>,
    /// That many further groups are made up: `Team 001`, `Team 002` …
    pub generated_groups: usize,
    /// App roles of the first app.
    pub roles: Vec<String>,
    /// A password to ask for; unset: one click signs in.
    pub password: Option<Secret>,
    /// Whether a second factor (a button) is asked for at each new browser session.
    pub mfa: bool,
    /// Job title, for Graph.
    pub job_title: Option<String>,
}

impl Scenario {
    /// Reads a scenario file; `name` is its path, for the error.
    ///
    /// # Errors
    /// Not TOML, an unknown key, or a value that is not what was expected.
    pub fn parse(name: &str, text: &str) -> Result<Self, DocumentError> {
        document::parse(name, text)
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            tenants: vec![TenantEntry {
                id: Some("c0ffee00-7e57-4c0d-9a5e-000000000001".to_owned()),
                domains: texts(&["contoso.onmicrosoft.com", "contoso.test"]),
                name: "Contoso".to_owned(),
            }],
            apps: vec![default_app()],
            groups: Vec::new(),
            roles: vec![
                role("Reader", &["erin@contoso.test", "zoe@contoso.test"]),
                role("Admin", &["erin@contoso.test"]),
            ],
            users: default_users(),
            token_lifetime: None,
            code_lifetime: Span::minutes(10),
            refresh_token_lifetime: Span::hours(90 * 24),
            refresh_in: false,
            invalid_client_status: 401,
            faults: Vec::new(),
        }
    }
}

fn default_app() -> AppEntry {
    AppEntry {
        name: "Legacy app".to_owned(),
        client_id: Some("0a11ce00-7e57-4a99-8d00-000000000001".to_owned()),
        client_secret: Some("emulator~secret.that-everybody.may_know".to_owned().into()),
        multi_tenant: true,
        any_loopback_redirect_uri: true,
        scopes: texts(&["access_as_user", "reports.read"]),
        access_token_version: Some(2),
        groups_claim: true,
        ..AppEntry::default()
    }
}

fn default_users() -> Vec<UserEntry> {
    let user = |name: &str, display: &str, title: &str, generated_groups| UserEntry {
        name: name.to_owned(),
        display_name: Some(display.to_owned()),
        job_title: Some(title.to_owned()),
        generated_groups,
        ..UserEntry::default()
    };
    vec![
        user("alice@contoso.test", "Alice Adams", "Accountant", 0),
        user("bob@contoso.test", "Bob Brown", "Engineer", 10),
        user("carol@contoso.test", "Carol Clark", "Head of Engineering", 150),
        user("grace@contoso.test", "Grace Green", "Architect", 200),
        user("dave@contoso.test", "Dave Davis", "In every group there is", 250),
        user("erin@contoso.test", "Erin Evans", "Administrator", 3),
        user("zoe@contoso.test", "Zoë Müller-Ångström", "Translator", 1),
        UserEntry {
            guest_of: Some("fabrikam.test".to_owned()),
            ..user("frank@fabrikam.test", "Frank Foster", "Guest from Fabrikam", 1)
        },
    ]
}

fn role(value: &str, users: &[&str]) -> RoleEntry {
    RoleEntry { value: value.to_owned(), users: texts(users), ..RoleEntry::default() }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}
