//! Who exists: tenants, apps and users, looked up the ways Entra's URLs and parameters name them.

use std::collections::BTreeSet;

use rustls_pki_types::CertificateDer;
use url::Url;

use crate::emulator::{
    population,
    scenario::{AppEntry, UserEntry},
};

/// The tenant of personal Microsoft accounts.
pub(crate) const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) apps: Vec<App>,
    pub(crate) users: Vec<User>,
}

#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) id: String,
    pub(crate) domains: Vec<String>,
    pub(crate) name: String,
}

/// The tenant segment of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TenantAlias {
    /// Work and personal accounts.
    Common,
    /// Work accounts of any tenant.
    Organizations,
    /// Personal accounts.
    Consumers,
    /// One tenant, by its place in the directory.
    One(usize),
}

#[derive(Debug)]
pub(crate) struct App {
    pub(crate) entry: AppEntry,
    pub(crate) client_id: String,
    pub(crate) tenant: usize,
    /// DER of the certificates that may sign client assertions.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) name: String,
}

#[derive(Debug)]
pub(crate) struct User {
    pub(crate) entry: UserEntry,
    pub(crate) oid: String,
    pub(crate) tenant: usize,
    pub(crate) tenant_id: String,
    /// Home object id and home tenant: differ from `oid` and `tenant_id` for guests.
    pub(crate) home_oid: String,
    pub(crate) home_tenant_id: String,
    pub(crate) groups: Vec<Group>,
    /// (app, role value)
    pub(crate) roles: BTreeSet<(usize, String)>,
    /// Opaque value of the `login_hint` claim.
    pub(crate) login_hint: String,
}

impl Directory {
    /// The tenant segment of a URL in any case; `None`: there is no such tenant.
    pub(crate) fn tenant_alias(&self, segment: &str) -> Option<TenantAlias> {
        match segment.to_ascii_lowercase().as_str() {
            "common" => Some(TenantAlias::Common),
            "organizations" => Some(TenantAlias::Organizations),
            "consumers" | CONSUMERS => Some(TenantAlias::Consumers),
            _ => population::find_tenant(&self.tenants, segment).map(TenantAlias::One),
        }
    }

    pub(crate) fn tenant(&self, index: usize) -> Option<&Tenant> {
        self.tenants.get(index)
    }

    pub(crate) fn tenants(&self) -> &[Tenant] {
        &self.tenants
    }

    pub(crate) fn apps(&self) -> &[App] {
        &self.apps
    }

    pub(crate) fn app(&self, client_id: &str) -> Option<(usize, &App)> {
        self.apps
            .iter()
            .enumerate()
            .find(|(_, app)| app.client_id.eq_ignore_ascii_case(client_id.trim()))
    }

    pub(crate) fn app_at(&self, index: usize) -> Option<&App> {
        self.apps.get(index)
    }

    pub(crate) fn users(&self) -> &[User] {
        &self.users
    }

    pub(crate) fn user(&self, index: usize) -> Option<&User> {
        self.users.get(index)
    }

    /// The user whom a user name, an object id or an opaque `login_hint` names, where `alias`
    /// lets that user in.
    pub(crate) fn find_user(&self, hint: &str, alias: TenantAlias) -> Option<usize> {
        self.users.iter().position(|user| user.answers_to(hint) && user.is_in(alias))
    }

    /// The user with this object id in this tenant.
    pub(crate) fn user_by_oid(&self, tenant_id: &str, oid: &str) -> Option<(usize, &User)> {
        self.users
            .iter()
            .enumerate()
            .find(|(_, user)| user.oid == oid && user.tenant_id == tenant_id)
    }
}

impl User {
    /// App roles of this user for the app.
    pub(crate) fn roles(&self, app: usize) -> Vec<&str> {
        self.roles.iter().filter(|(of, _)| *of == app).map(|(_, role)| role.as_str()).collect()
    }

    pub(crate) fn display_name(&self) -> &str {
        self.entry.display_name.as_deref().unwrap_or(&self.entry.name)
    }

    pub(crate) fn is_guest(&self) -> bool {
        self.entry.guest_of.is_some()
    }

    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.entry.name.eq_ignore_ascii_case(name)
    }

    /// Whether a hint (user name, object id, opaque hint) means this user.
    pub(crate) fn answers_to(&self, hint: &str) -> bool {
        self.is_called(hint) || self.oid.eq_ignore_ascii_case(hint) || self.login_hint == hint
    }

    pub(crate) fn is_in(&self, alias: TenantAlias) -> bool {
        match alias {
            TenantAlias::One(tenant) => self.tenant == tenant,
            TenantAlias::Common => true,
            TenantAlias::Organizations => self.tenant_id != CONSUMERS,
            TenantAlias::Consumers => self.tenant_id == CONSUMERS,
        }
    }

    /// The user principal name; a guest's is `frank_fabrikam.test#EXT#@contoso…`.
    pub(crate) fn principal_name(&self, tenant: Option<&Tenant>) -> String {
        match tenant.and_then(|tenant| tenant.domains.first()) {
            Some(domain) if self.is_guest() => {
                format!("{}#EXT#@{domain}", self.entry.name.replace('@', "_"))
            }
            _ => self.entry.name.clone(),
        }
    }
}

impl App {
    /// Whether a browser may be sent to `uri`: an exact entry, or one that differs in the port of
    /// localhost alone (learn.microsoft.com: "Redirect URI restrictions and limitations").
    pub(crate) fn allows_redirect(&self, uri: &str) -> bool {
        let Ok(asked) = Url::parse(uri) else { return false };
        if asked.fragment().is_some() {
            return false;
        }
        if self.entry.any_loopback_redirect_uri && is_loopback(&asked) {
            return true;
        }
        self.entry.redirect_uris.iter().any(|registered| {
            if registered == uri {
                return true;
            }
            let Ok(mut registered) = Url::parse(registered) else { return false };
            if is_loopback(&asked) {
                // Failing only for URLs that cannot have a port, which then stay as they are.
                let _ = registered.set_port(asked.port());
            }
            registered == asked
        })
    }

    /// The app-id URIs of its own API.
    pub(crate) fn identifies_as(&self, resource: &str) -> bool {
        let bare = resource.strip_prefix("api://").unwrap_or(resource);
        bare.eq_ignore_ascii_case(&self.client_id)
            || self.entry.identifier_uris.iter().any(|uri| uri == resource)
    }
}

fn is_loopback(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && matches!(url.host_str(), Some("localhost" | "127.0.0.1"))
}
