//! The `[entra]` section: which tenant, as which app, for which resource.

use std::{path::PathBuf, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    authority::{Authority, CONSUMERS, Cloud, Tenant, is_guid, is_safe},
    credential::{ClientCertificate, ClientCredential, CredentialError, Outlook},
    scopes::Scopes,
    settings_error::{
        CERTIFICATE_FILE, CLIENT_SECRET, CLIENT_SECRET_FILE, FEDERATED_TOKEN_FILE,
        PRIVATE_KEY_FILE, SettingsError,
    },
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
    /// A certificate of the app registration in PEM, instead of a secret; read again when it
    /// changes.
    pub certificate_file: Option<PathBuf>,
    /// The RSA key of `certificate_file` in PEM, without a passphrase; it signs with PS256.
    pub private_key_file: Option<PathBuf>,
    /// A token of a federated issuer, instead of a secret, read again at each use; unless another
    /// credential is given, `AZURE_FEDERATED_TOKEN_FILE` is its default.
    pub federated_token_file: Option<PathBuf>,
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
            certificate_file: None,
            private_key_file: None,
            federated_token_file: None,
            // The smallest scope that yields an access token; every directory grants it.
            scopes: vec!["User.Read".to_owned()],
            response_mode: ResponseMode::default(),
            prompt: None,
            domain_hint: None,
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

    /// The keys of all credentials that are named; there should be one.
    pub fn credentials_named(&self) -> Vec<&'static str> {
        // The halves of a certificate are one.
        let certificate = match self.certificate_file {
            Some(_) => CERTIFICATE_FILE,
            None => PRIVATE_KEY_FILE,
        };
        let candidates = [
            (CLIENT_SECRET, self.client_secret.is_some()),
            (CLIENT_SECRET_FILE, self.client_secret_file.is_some()),
            (certificate, self.certificate_file.is_some() || self.private_key_file.is_some()),
            (FEDERATED_TOKEN_FILE, self.federated_token_file.is_some()),
        ];
        candidates.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect()
    }

    /// What can be told about the credential without asking Microsoft; `None` for one that cannot
    /// be used.
    pub fn outlook(&self) -> Option<Outlook> {
        Some(self.credential().ok()?.outlook())
    }

    fn credential(&self) -> Result<ClientCredential, SettingsError> {
        if let [first, second, ..] = *self.credentials_named() {
            return Err(SettingsError::TwoCredentials(first, second));
        }
        let credential = if let Some(secret) = &self.client_secret {
            if secret.expose().is_empty() {
                return Err(SettingsError::SecretEmpty);
            }
            if is_guid(secret.expose()) {
                return Err(SettingsError::SecretIsId);
            }
            ClientCredential::Secret(SecretSource::Inline(secret.clone().into_inner()))
        } else if let Some(path) = &self.client_secret_file {
            ClientCredential::Secret(SecretSource::File(path.clone()))
        } else if let Some(path) = &self.federated_token_file {
            ClientCredential::federated(path.clone())
        } else {
            ClientCredential::Certificate(Arc::new(self.certificate()?))
        };
        match credential.check() {
            Ok(()) => Ok(credential),
            Err(CredentialError::TokenUnreadable { source, .. }) => {
                Err(SettingsError::TokenFile(source.kind()))
            }
            Err(CredentialError::Unreadable(error)) => Err(SettingsError::SecretFile(error.kind())),
            Err(_) => Err(SettingsError::SecretFileEmpty),
        }
    }

    fn certificate(&self) -> Result<ClientCertificate, SettingsError> {
        let (certificate, key) = match (&self.certificate_file, &self.private_key_file) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => return Err(SettingsError::CredentialMissing),
            (None, Some(_)) => {
                return Err(SettingsError::HalfACertificate { missing: CERTIFICATE_FILE });
            }
            (Some(_), None) => {
                return Err(SettingsError::HalfACertificate { missing: PRIVATE_KEY_FILE });
            }
        };
        ClientCertificate::load(certificate, key).map_err(|error| {
            if error.is_of_key(key) {
                SettingsError::PrivateKey(error)
            } else {
                SettingsError::Certificate(error)
            }
        })
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
    use std::io::ErrorKind;

    use super::{super::tests::Pair, *};

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
        assert_eq!(two, [SettingsError::TwoCredentials("client_secret", "client_secret_file")]);
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
    fn every_pair_of_credentials_is_one_too_many() {
        let keys =
            ["client_secret_file", "certificate_file", "private_key_file", "federated_token_file"];
        let set = |settings: &mut Settings, key: &str| {
            let file = Some(PathBuf::from("/nonexistent"));
            match key {
                "client_secret_file" => settings.client_secret_file = file,
                "certificate_file" => settings.certificate_file = file,
                "private_key_file" => settings.private_key_file = file,
                _ => settings.federated_token_file = file,
            }
        };
        for (at, first) in keys.iter().enumerate() {
            for second in &keys[at + 1..] {
                let found = wrong(|settings| {
                    settings.client_secret = None;
                    set(settings, first);
                    set(settings, second);
                });
                let told: Vec<_> = found.iter().map(ToString::to_string).collect();
                if (*first, *second) == ("certificate_file", "private_key_file") {
                    assert!(told[0].contains("cannot read /nonexistent"), "{told:?}");
                } else {
                    let expected = format!("expected one credential, found {first} and {second}");
                    assert_eq!(told, [expected]);
                    assert_eq!(found[0].key(), format!("entra.{first}"));
                }
            }
            let beside_secret = wrong(|settings| set(settings, first));
            assert_eq!(beside_secret, [SettingsError::TwoCredentials("client_secret", first)]);
        }
    }

    #[test]
    fn a_certificate_is_whole_and_each_fault_is_at_its_key() {
        let pair = Pair::new("settings", 0);
        let other = Pair::new("settings-other", 1);
        let wrong = |certificate: Option<&PathBuf>, key: Option<&PathBuf>| {
            let found = wrong(|settings| {
                settings.client_secret = None;
                settings.certificate_file = certificate.cloned();
                settings.private_key_file = key.cloned();
            });
            found.iter().map(SettingsError::key).collect::<Vec<_>>()
        };
        assert_eq!(wrong(Some(&pair.certificate), Some(&pair.key)), [""; 0]);
        assert_eq!(wrong(Some(&pair.certificate), None), ["entra.private_key_file"]);
        assert_eq!(wrong(None, Some(&pair.key)), ["entra.certificate_file"]);
        assert_eq!(wrong(Some(&other.certificate), Some(&pair.key)), ["entra.private_key_file"]);
        assert_eq!(wrong(Some(&pair.key), Some(&pair.key)), ["entra.certificate_file"]);
        assert_eq!(
            wrong(Some(&pair.certificate), Some(&pair.certificate)),
            ["entra.private_key_file"]
        );
        let gone = PathBuf::from("/nonexistent");
        assert_eq!(wrong(Some(&gone), Some(&pair.key)), ["entra.certificate_file"]);
        assert_eq!(wrong(Some(&pair.certificate), Some(&gone)), ["entra.private_key_file"]);
    }

    #[test]
    fn a_federated_token_may_come_later_but_its_file_must_be_there() {
        let file = std::env::temp_dir().join(format!("vestibule-settings-{}", std::process::id()));
        let federated = || {
            let mut settings = Settings { client_secret: None, ..good() };
            settings.federated_token_file = Some(file.clone());
            settings
        };
        assert_eq!(federated().check(), [SettingsError::TokenFile(ErrorKind::NotFound)]);
        std::fs::write(&file, "").unwrap();
        assert_eq!(federated().check(), []);
        assert_eq!(federated().outlook(), Some(Outlook::FederatedToken(None)));
        std::fs::remove_file(&file).unwrap();
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
