//! What can be wrong with the `[entra]` section, each tied to its key.

use std::io::ErrorKind;

use super::{credential::CertificateError, scopes::ScopesError};

pub(super) const CLIENT_SECRET: &str = "client_secret";
pub(super) const CLIENT_SECRET_FILE: &str = "client_secret_file";
pub(super) const CERTIFICATE_FILE: &str = "certificate_file";
pub(super) const PRIVATE_KEY_FILE: &str = "private_key_file";
pub(super) const FEDERATED_TOKEN_FILE: &str = "federated_token_file";

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
    #[error(
        "expected a credential: client_secret or client_secret_file, certificate_file with private_key_file, or federated_token_file"
    )]
    CredentialMissing,
    /// Two credentials.
    #[error("expected one credential, found {0} and {1}")]
    TwoCredentials(&'static str, &'static str),
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
    /// A certificate without a key, or the other way round.
    #[error("certificate_file and private_key_file belong together")]
    HalfACertificate {
        /// Which key is not there.
        missing: &'static str,
    },
    /// The certificate is of no use.
    #[error(transparent)]
    Certificate(CertificateError),
    /// The certificate's key is of no use, or not the certificate's.
    #[error(transparent)]
    PrivateKey(CertificateError),
    /// The token's file cannot be read.
    #[error("expected a readable file with a federated token: {0}")]
    TokenFile(ErrorKind),
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
    pub fn key(&self) -> &'static str {
        match self {
            Self::Authority | Self::AuthorityNotHttps => "entra.authority",
            Self::TenantMissing | Self::Tenant => "entra.tenant",
            Self::AllowedTenantsMissing
            | Self::AllowedTenant(_)
            | Self::AllowedTenantsWithoutTenant
            | Self::PersonalAccounts => "entra.allowed_tenants",
            Self::ClientIdMissing | Self::ClientId => "entra.client_id",
            Self::CredentialMissing | Self::SecretEmpty | Self::SecretIsId => "entra.client_secret",
            Self::TwoCredentials(first, _) => in_section(first),
            Self::SecretFile(_) | Self::SecretFileEmpty => "entra.client_secret_file",
            Self::HalfACertificate { missing } => in_section(missing),
            Self::Certificate(_) => "entra.certificate_file",
            Self::PrivateKey(_) => "entra.private_key_file",
            Self::TokenFile(_) => "entra.federated_token_file",
            Self::Scopes(_) => "entra.scopes",
            Self::Prompt => "entra.prompt",
            Self::DomainHint => "entra.domain_hint",
        }
    }
}

/// The path of a credential's key.
fn in_section(name: &str) -> &'static str {
    match name {
        CLIENT_SECRET_FILE => "entra.client_secret_file",
        CERTIFICATE_FILE => "entra.certificate_file",
        PRIVATE_KEY_FILE => "entra.private_key_file",
        FEDERATED_TOKEN_FILE => "entra.federated_token_file",
        _ => "entra.client_secret",
    }
}
