//! What the app registration in Microsoft's portal needs for this configuration.

use crate::{
    base::clock::rfc3339,
    config::Config,
    entra::{Named, Outlook, Tenant},
    sign_in::CALLBACK,
};

/// Where Microsoft tells us that a user has signed out elsewhere.
const FRONT_CHANNEL: &str = "/.auth/logout/frontchannel";

/// The list, for a person; `None` without a public origin.
pub(super) fn of(config: &Config) -> Option<String> {
    let origin = config.server.public_url.as_ref()?.origin();
    let client_id = config.entra.client_id.as_deref().unwrap_or_default();
    let tenant = config.entra.tenant.as_deref().unwrap_or_default();
    let tenant_hint = match Tenant::parse(tenant) {
        Some(Tenant::Domain(_)) => {
            "write entra.tenant as the GUID (\"Directory (tenant) ID\"): a domain can move"
        }
        Some(Tenant::Id(_)) => "entra.tenant is a GUID: good",
        _ => "several tenants can sign in: entra.allowed_tenants says which",
    };
    let credential = credential(config);
    Some(format!(
        "
App registration {client_id}, what it needs:
  1. Authentication: platform \"Web\" with exactly this redirect URI
       {origin}{CALLBACK}
     If browsers go to another page after sign-out, its URL is registered here, too.
  2. Authentication: nothing ticked under \"Implicit grant and hybrid flows\".
  3. Authentication: front-channel logout URL
       {origin}{FRONT_CHANNEL}
  4. If the app checks the access token: \"Expose an API\", api://{client_id} with a scope, that
     scope in entra.scopes, and \"requestedAccessTokenVersion\": 2 in the manifest.
  5. Token configuration, ID token: optional claims sid and login_hint; email only if it is used.
     App roles rather than groups; if groups, \"Groups assigned to the application\".
  6. Enterprise application: \"Assignment required\" yes, users or groups assigned, admin consent granted.
  7. Credential: {credential}.
  8. Tenant: {tenant_hint}.

"
    ))
}

/// What the registration has to know about the credential.
fn credential(config: &Config) -> String {
    match config.entra.outlook() {
        Some(Outlook::Certificate { thumbprint, not_after, .. }) => format!(
            "certificate with the thumbprint {thumbprint} (SHA-1), which expires on {}",
            rfc3339(not_after)
        ),
        Some(Outlook::FederatedToken(named)) => {
            let Named { issuer, subject, audience, .. } = named.unwrap_or_default();
            let or_unknown = |text: Option<String>| {
                // Whoever wrote the file is not believed to be kind to terminals.
                text.map_or_else(|| "as in its token".to_owned(), |text| format!("{text:?}"))
            };
            format!(
                "federated credential, letter by letter\n       issuer {}\n       subject {}\n       audience {}",
                or_unknown(issuer),
                or_unknown(subject),
                or_unknown(audience),
            )
        }
        Some(Outlook::Secret) | None if config.entra.client_secret.is_some() => {
            "note when the client secret expires; better keep it in a file (client_secret_file)"
                .to_owned()
        }
        Some(Outlook::Secret) | None => {
            "note when the client secret expires: Microsoft does not tell us".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_the_exact_urls() {
        let mut config = Config::default();
        assert_eq!(of(&config), None);
        config.server.public_url = Some("https://App.contoso.test:443".parse().unwrap());
        config.entra.tenant = Some("contoso.onmicrosoft.com".to_owned());
        let list = of(&config).unwrap();
        assert!(list.contains(" https://app.contoso.test/.auth/login/aad/callback\n"), "{list}");
        assert!(list.contains(" https://app.contoso.test/.auth/logout/frontchannel\n"), "{list}");
        assert!(list.contains("a domain can move"), "{list}");
    }
}
