//! The `[entra]` section: which tenant, as which app, for which resource.

use std::{io::ErrorKind, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    authority::{Authority, CONSUMERS, Cloud, Tenant, is_guid, is_safe},
    credential::{ClientCredential, CredentialError},
    scopes::{Scopes, ScopesError},
};
use crate::base::secret::{Secret, SecretSource};

/// How Microsoft hands the code back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseMode {
    /// In the query: a Lax cookie is enough, and PKCE makes a leaked code useless.
    #[default]
    Query,
    /// In a cross-site POST: no code in URLs, but the jar cookie must be `SameSite=None`.
    FormPost,
}

impl ResponseMode {
    /// As Microsoft spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::FormPost => "form_post",
        }
    }
}

/// The `[entra]` section as typed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Microsoft's cloud: public, us-government or china.
    pub cloud: Cloud,
    /// Origin of the login host; overrides `cloud` (External ID, sovereign clouds, the emulator).
    pub authority: Option<String>,
    /// The tenant: its GUID or a domain of it, or organizations, common, consumers.
    pub tenant: Option<String>,
    /// GUIDs of the tenants whose users may come; required with organizations and common.
    pub allowed_tenants: Vec<String>,
    /// The GUID of the app registration.
    pub client_id: Option<String>,
    /// The app's client secret.
    pub client_secret: Option<Secret>,
    /// A file with the client secret, read again at each use.
    pub client_secret_file: Option<PathBuf>,
    /// Scopes of the one resource that the access token is for; openid, profile and
    /// `offline_access` are added.
    pub scopes: Vec<String>,
    /// How Microsoft hands the code back: query or `form_post`.
    pub response_mode: ResponseMode,
    /// `login`, `consent` or `select_account`, to be asked at every sign-in.
    pub prompt: Option<String>,
    /// The domain whose sign-in page is shown at once.
    pub domain_hint: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cloud: Cloud::default(),
            authority: None,
            tenant: None,
            allowed_tenants: Vec::new(),
            client_id: None,
            client_secret: None,
            client_secret_file: None,
            // The smallest scope that yields an access token; every directory grants it.
            scopes: vec!["User.Read".to_owned()],
            response_mode: ResponseMode::default(),
            prompt: None,
            domain_hint: None,
        }
    }
}

/// What is wrong with the section.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No authority that is safe to send secrets to.
    #[error(
        "expected the origin of a login host, such as \"https://login.microsoftonline.com\"; the tenant has its own key"
    )]
    Authority,
    /// Plain http towards another machine.
    #[error(
        "expected an https origin: the client secret and every token go there (http is allowed on loopback only)"
    )]
    AuthorityNotHttps,
    /// No tenant.
    #[error(
        "expected the tenant: its GUID, one of its domains, organizations, common or consumers"
    )]
    TenantMissing,
    /// Not a tenant.
    #[error(
        "expected a GUID, a domain such as \"contoso.onmicrosoft.com\", organizations, common or consumers"
    )]
    Tenant,
    /// Many tenants without a list.
    #[error(
        "expected the GUIDs of the tenants whose users may come: with organizations or common anybody with a Microsoft account could sign in"
    )]
    AllowedTenantsMissing,
    /// An entry that is not a tenant's GUID.
    #[error("expected GUIDs of tenants, found \"{0}\"")]
    AllowedTenant(String),
    /// A list that shuts out the tenant itself.
    #[error("expected the list to hold the tenant itself, or to be empty")]
    AllowedTenantsWithoutTenant,
    /// Work accounts alone, and yet personal ones allowed.
    #[error("expected no entry for personal accounts with organizations; use common")]
    PersonalAccounts,
    /// No client id.
    #[error("expected the application (client) id of the app registration, a GUID")]
    ClientIdMissing,
    /// Not a client id.
    #[error("expected a GUID, the application (client) id of the app registration")]
    ClientId,
    /// No credential.
    #[error("expected a credential: client_secret or client_secret_file")]
    CredentialMissing,
    /// Two credentials.
    #[error("expected one credential, found client_secret and client_secret_file")]
    TwoCredentials,
    /// Nothing in it.
    #[error("expected a client secret, found an empty text")]
    SecretEmpty,
    /// The id of a secret in place of the secret.
    #[error(
        "expected the secret's value; a GUID looks like the secret's id, which is another column of the portal"
    )]
    SecretIsId,
    /// The file cannot be read.
    #[error("expected a readable file with the client secret: {0}")]
    SecretFile(ErrorKind),
    /// The file holds nothing.
    #[error("expected a file with the client secret, found an empty one")]
    SecretFileEmpty,
    /// See [`ScopesError`].
    #[error(transparent)]
    Scopes(#[from] ScopesError),
    /// Not a prompt that makes sense at every sign-in.
    #[error("expected login, consent or select_account (none would leave nobody a way to sign in)")]
    Prompt,
    /// Not a hint.
    #[error("expected a domain such as \"contoso.com\", organizations or consumers")]
    DomainHint,
}

impl SettingsError {
    /// The key that is wrong.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Authority | Self::AuthorityNotHttps => "entra.authority",
            Self::TenantMissing | Self::Tenant => "entra.tenant",
            Self::AllowedTenantsMissing
            | Self::AllowedTenant(_)
            | Self::AllowedTenantsWithoutTenant
            | Self::PersonalAccounts => "entra.allowed_tenants",
            Self::ClientIdMissing | Self::ClientId => "entra.client_id",
            Self::CredentialMissing
            | Self::TwoCredentials
            | Self::SecretEmpty
            | Self::SecretIsId => "entra.client_secret",
            Self::SecretFile(_) | Self::SecretFileEmpty => "entra.client_secret_file",
            Self::Scopes(_) => "entra.scopes",
            Self::Prompt => "entra.prompt",
            Self::DomainHint => "entra.domain_hint",
        }
    }
}

/// The section once understood.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) authority: Authority,
    pub(super) allowed_tenants: Vec<String>,
    pub(super) client_id: String,
    pub(super) credential: ClientCredential,
    pub(super) scopes: Scopes,
    pub(super) response_mode: ResponseMode,
    pub(super) prompt: Option<&'static str>,
    pub(super) domain_hint: Option<String>,
}

impl Settings {
    /// Everything that is wrong with the section.
    pub fn check(&self) -> Vec<SettingsError> {
        self.parse().err().unwrap_or_default()
    }

    /// Understands the section.
    pub(super) fn parse(&self) -> Result<Parsed, Vec<SettingsError>> {
        let mut wrong = Vec::new();
        let base = keep(self.base(), &mut wrong);
        let tenant = keep(self.tenant(), &mut wrong);
        let allowed_tenants = self.allowed_tenants(tenant.as_ref(), &mut wrong);
        let client_id = keep(self.client_id(), &mut wrong);
        let credential = keep(self.credential(), &mut wrong);
        let scopes = keep(Scopes::parse(&self.scopes).map_err(Into::into), &mut wrong);
        let prompt = keep(self.prompt(), &mut wrong);
        let domain_hint = keep(self.domain_hint(), &mut wrong);
        match (base, tenant, client_id, credential, scopes, prompt, domain_hint) {
            (
                Some(base),
                Some(tenant),
                Some(client_id),
                Some(credential),
                Some(scopes),
                Some(prompt),
                Some(domain_hint),
            ) if wrong.is_empty() => Ok(Parsed {
                authority: Authority::new(base, tenant),
                allowed_tenants,
                client_id,
                credential,
                scopes,
                response_mode: self.response_mode,
                prompt,
                domain_hint,
            }),
            _ => Err(wrong),
        }
    }

    fn base(&self) -> Result<Url, SettingsError> {
        let of_cloud = format!("https://{}", self.cloud.login_host());
        let text = self.authority.as_deref().unwrap_or(&of_cloud);
        let url = Url::parse(text).map_err(|_| SettingsError::Authority)?;
        if url.scheme() == "http" && !is_safe(&url) {
            return Err(SettingsError::AuthorityNotHttps);
        }
        let is_origin = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if is_origin && is_safe(&url) { Ok(url) } else { Err(SettingsError::Authority) }
    }

    fn tenant(&self) -> Result<Tenant, SettingsError> {
        let text = self.tenant.as_deref().ok_or(SettingsError::TenantMissing)?;
        Tenant::parse(text).ok_or(SettingsError::Tenant)
    }

    fn allowed_tenants(
        &self,
        tenant: Option<&Tenant>,
        wrong: &mut Vec<SettingsError>,
    ) -> Vec<String> {
        let strange = self.allowed_tenants.iter().filter(|id| !is_guid(id));
        wrong.extend(strange.map(|id| SettingsError::AllowedTenant(id.clone())));
        let allowed: Vec<_> =
            self.allowed_tenants.iter().map(|id| id.to_ascii_lowercase()).collect();
        let has = |id: &str| allowed.iter().any(|allowed| allowed == id);
        match tenant {
            Some(tenant) if tenant.is_multi() && allowed.is_empty() => {
                wrong.push(SettingsError::AllowedTenantsMissing);
            }
            Some(Tenant::Organizations) if has(CONSUMERS) => {
                wrong.push(SettingsError::PersonalAccounts);
            }
            Some(Tenant::Id(id)) if !allowed.is_empty() && !has(id) => {
                wrong.push(SettingsError::AllowedTenantsWithoutTenant);
            }
            Some(Tenant::Consumers) if !allowed.is_empty() && !has(CONSUMERS) => {
                wrong.push(SettingsError::AllowedTenantsWithoutTenant);
            }
            _ => {}
        }
        allowed
    }

    /// In lower case, as tokens name it.
    fn client_id(&self) -> Result<String, SettingsError> {
        let text = self.client_id.as_deref().ok_or(SettingsError::ClientIdMissing)?;
        if is_guid(text) { Ok(text.to_ascii_lowercase()) } else { Err(SettingsError::ClientId) }
    }

    fn credential(&self) -> Result<ClientCredential, SettingsError> {
        let source = match (&self.client_secret, &self.client_secret_file) {
            (Some(_), Some(_)) => return Err(SettingsError::TwoCredentials),
            (None, None) => return Err(SettingsError::CredentialMissing),
            (Some(secret), None) if secret.expose().is_empty() => {
                return Err(SettingsError::SecretEmpty);
            }
            (Some(secret), None) if is_guid(secret.expose()) => {
                return Err(SettingsError::SecretIsId);
            }
            (Some(secret), None) => SecretSource::Inline(secret.clone().into_inner()),
            (None, Some(path)) => SecretSource::File(path.clone()),
        };
        let credential = ClientCredential::Secret(source);
        match credential.parameters() {
            Ok(_) => Ok(credential),
            Err(CredentialError::Unreadable(error)) => Err(SettingsError::SecretFile(error.kind())),
            Err(CredentialError::Empty) => Err(SettingsError::SecretFileEmpty),
        }
    }

    fn prompt(&self) -> Result<Option<&'static str>, SettingsError> {
        match self.prompt.as_deref() {
            None => Ok(None),
            Some("login") => Ok(Some("login")),
            Some("consent") => Ok(Some("consent")),
            Some("select_account") => Ok(Some("select_account")),
            Some(_) => Err(SettingsError::Prompt),
        }
    }

    fn domain_hint(&self) -> Result<Option<String>, SettingsError> {
        let Some(hint) = &self.domain_hint else { return Ok(None) };
        match Tenant::parse(hint) {
            Some(Tenant::Domain(_) | Tenant::Organizations | Tenant::Consumers) => {
                Ok(Some(hint.clone()))
            }
            _ => Err(SettingsError::DomainHint),
        }
    }
}

fn keep<T>(result: Result<T, SettingsError>, wrong: &mut Vec<SettingsError>) -> Option<T> {
    result.map_err(|error| wrong.push(error)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "11111111-2222-3333-4444-555555555555";

    fn good() -> Settings {
        Settings {
            tenant: Some("contoso.onmicrosoft.com".to_owned()),
            client_id: Some(ID.to_owned()),
            client_secret: Some(Secret::from("s3cret".to_owned())),
            ..Settings::default()
        }
    }

    fn wrong(change: impl FnOnce(&mut Settings)) -> Vec<SettingsError> {
        let mut settings = good();
        change(&mut settings);
        settings.check()
    }

    #[test]
    fn the_smallest_section_is_enough() {
        assert_eq!(good().check(), []);
    }

    #[test]
    fn an_empty_section_names_every_missing_key_at_once() {
        let keys: Vec<_> = Settings::default().check().iter().map(SettingsError::key).collect();
        assert_eq!(keys, ["entra.tenant", "entra.client_id", "entra.client_secret"]);
    }

    #[test]
    fn the_authority_is_an_https_origin_or_on_this_machine() {
        for text in
            ["https://login.microsoftonline.com/", "http://127.0.0.1:8080", "http://[::1]:1"]
        {
            assert_eq!(wrong(|s| s.authority = Some(text.to_owned())), [], "{text}");
        }
        for text in [
            "login.microsoftonline.com",
            "https://x.test/tenant",
            "https://u@x.test",
            "https://x?a",
        ] {
            let found = wrong(|s| s.authority = Some(text.to_owned()));
            assert_eq!(found, [SettingsError::Authority], "{text}");
        }
        let plain = wrong(|s| s.authority = Some("http://login.example.test".to_owned()));
        assert_eq!(plain, [SettingsError::AuthorityNotHttps]);
    }

    #[test]
    fn many_tenants_need_a_list_of_them() {
        for tenant in ["common", "organizations"] {
            let found = wrong(|s| s.tenant = Some(tenant.to_owned()));
            assert_eq!(found, [SettingsError::AllowedTenantsMissing]);
        }
        let listed = wrong(|s| {
            s.tenant = Some("organizations".to_owned());
            s.allowed_tenants = vec![ID.to_owned()];
        });
        assert_eq!(listed, []);
        let by_domain = wrong(|s| s.allowed_tenants = vec!["contoso.com".to_owned()]);
        assert_eq!(by_domain, [SettingsError::AllowedTenant("contoso.com".to_owned())]);
        let personal = wrong(|s| {
            s.tenant = Some("organizations".to_owned());
            s.allowed_tenants = vec![CONSUMERS.to_owned()];
        });
        assert_eq!(personal, [SettingsError::PersonalAccounts]);
        let itself = wrong(|s| {
            s.tenant = Some(ID.to_owned());
            s.allowed_tenants = vec![CONSUMERS.to_owned()];
        });
        assert_eq!(itself, [SettingsError::AllowedTenantsWithoutTenant]);
    }

    #[test]
    fn exactly_one_credential_is_given_and_it_is_not_the_secrets_id() {
        assert_eq!(wrong(|s| s.client_secret = None), [SettingsError::CredentialMissing]);
        let two = wrong(|s| s.client_secret_file = Some("secret.txt".into()));
        assert_eq!(two, [SettingsError::TwoCredentials]);
        let id = wrong(|s| s.client_secret = Some(Secret::from(ID.to_owned())));
        assert_eq!(id, [SettingsError::SecretIsId]);
        let empty = wrong(|s| s.client_secret = Some(Secret::from(String::new())));
        assert_eq!(empty, [SettingsError::SecretEmpty]);
        let gone = wrong(|s| {
            s.client_secret = None;
            s.client_secret_file = Some("/nonexistent/secret".into());
        });
        assert_eq!(gone.first().map(SettingsError::key), Some("entra.client_secret_file"));
    }

    #[test]
    fn a_prompt_or_hint_that_nobody_could_satisfy_is_refused() {
        assert_eq!(wrong(|s| s.prompt = Some("none".to_owned())), [SettingsError::Prompt]);
        assert_eq!(wrong(|s| s.prompt = Some("select_account".to_owned())), []);
        let hint = wrong(|s| s.domain_hint = Some("a b".to_owned()));
        assert_eq!(hint, [SettingsError::DomainHint]);
    }

    #[test]
    fn the_secret_is_in_no_error_and_in_no_rendering() {
        let mut settings = good();
        settings.client_secret_file = Some("secret.txt".into());
        let said = format!("{:?}{:?}{}", settings.check(), settings, serde_json::json!(settings));
        assert!(!said.contains("s3cret"), "{said}");
    }
}
