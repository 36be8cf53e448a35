//! Where Microsoft is, which tenant we ask, and which issuers may therefore sign our users in.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// The one tenant of all personal Microsoft accounts.
pub(super) const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
/// What stands for the tenant in the issuer of multi-tenant metadata and keys.
const TENANT_ID: &str = "{tenantid}";

/// Microsoft's clouds that have a fixed login host; the newer sovereign ones are named by
/// `authority`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cloud {
    /// `login.microsoftonline.com`
    #[default]
    Public,
    /// `login.microsoftonline.us`
    UsGovernment,
    /// `login.partner.microsoftonline.cn`
    China,
}

impl Cloud {
    const ALL: [Self; 3] = [Self::Public, Self::UsGovernment, Self::China];

    /// The host that metadata and issuers of this cloud name.
    pub const fn login_host(self) -> &'static str {
        match self {
            Self::Public => "login.microsoftonline.com",
            Self::UsGovernment => "login.microsoftonline.us",
            Self::China => "login.partner.microsoftonline.cn",
        }
    }

    const fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Public => &["login.windows.net", "login.microsoft.com"],
            Self::UsGovernment => &["login.usgovcloudapi.net"],
            Self::China => &["login.chinacloudapi.cn"],
        }
    }

    fn of_host(host: &str) -> Option<Self> {
        let known = |cloud: &Self| cloud.login_host() == host || cloud.aliases().contains(&host);
        Self::ALL.into_iter().find(known)
    }
}

/// Whom we ask: one tenant, or one of Microsoft's names for many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenant {
    /// A tenant by its id, in lower case.
    Id(String),
    /// A tenant by one of its verified domains, in lower case.
    Domain(String),
    /// Work and school accounts of any tenant.
    Organizations,
    /// Work, school and personal accounts.
    Common,
    /// Personal accounts alone.
    Consumers,
}

impl Tenant {
    /// Reads a GUID, a domain or one of `organizations`, `common` and `consumers`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        match text.as_str() {
            "organizations" => Some(Self::Organizations),
            "common" => Some(Self::Common),
            "consumers" | CONSUMERS => Some(Self::Consumers),
            _ if is_guid(&text) => Some(Self::Id(text)),
            _ if is_domain(&text) => Some(Self::Domain(text)),
            _ => None,
        }
    }

    /// As in URLs.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Id(text) | Self::Domain(text) => text,
            Self::Organizations => "organizations",
            Self::Common => "common",
            Self::Consumers => "consumers",
        }
    }

    /// Whether every user is of one tenant, so that user names are unambiguous; `allowed` is how
    /// many tenants the configuration lists.
    pub const fn is_single(&self, allowed: usize) -> bool {
        match self {
            Self::Id(_) | Self::Domain(_) => true,
            Self::Organizations | Self::Common => allowed == 1,
            // Names of personal accounts are of every domain.
            Self::Consumers => false,
        }
    }

    /// Whether users of several tenants can come.
    pub const fn is_multi(&self) -> bool {
        matches!(self, Self::Organizations | Self::Common)
    }
}

/// A GUID in its usual form of 36 characters, in any case.
pub(super) fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        matches!(label.len(), 1..=63)
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.contains('.') && text.split('.').all(label)
}

/// Whether a URL may carry secrets: `https` anywhere, `http` on this machine alone.
pub(super) fn is_safe(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback(url),
        _ => false,
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A login host and the tenant that we ask there.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    base: Url,
    tenant: Tenant,
}

impl Authority {
    /// An authority; `base` has been found safe and to be nothing but an origin.
    pub(super) fn new(base: Url, tenant: Tenant) -> Self {
        Self { base, tenant }
    }

    /// The tenant as configured.
    pub(super) fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// The origin of the login host, as in `https://login.microsoftonline.com`.
    pub(super) fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// The address of the discovery document (`OpenID` Connect Discovery §4).
    pub(super) fn metadata_url(&self) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/{}/v2.0/.well-known/openid-configuration", self.tenant.as_str()));
        url
    }

    /// Whether metadata may send us to `url`: the authority's own origin, or another name of the
    /// same Microsoft cloud.
    pub(super) fn covers(&self, url: &Url) -> bool {
        if url.origin() == self.base.origin() {
            return true;
        }
        let same_cloud = match (self.cloud(), url.host_str().and_then(Cloud::of_host)) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => false,
        };
        same_cloud && url.scheme() == "https" && url.port().is_none()
    }

    fn cloud(&self) -> Option<Cloud> {
        self.base.host_str().and_then(Cloud::of_host)
    }

    /// The issuers that may sign our users in, if metadata with this `issuer` may speak for the
    /// tenant that was asked.
    pub(super) fn accept(&self, issuer: &str) -> Option<Issuer> {
        let hosts = match self.cloud() {
            Some(cloud) => vec![format!("https://{}", cloud.login_host()), self.origin()],
            None => vec![self.origin()],
        };
        let tenant = match &self.tenant {
            Tenant::Organizations | Tenant::Common => TENANT_ID,
            Tenant::Consumers => CONSUMERS,
            Tenant::Id(id) => id,
            Tenant::Domain(_) => return self.accept_any_tenant(&hosts, issuer),
        };
        let plain = hosts.iter().any(|host| issuer == v2(host, tenant));
        if self.tenant.is_multi() {
            return plain.then(|| Issuer::AnyTenant { template: issuer.to_owned() });
        }
        (plain || self.is_external_id(issuer, tenant))
            .then(|| Issuer::Tenant { issuer: issuer.to_owned(), tenant: tenant.to_owned() })
    }

    /// Metadata that was asked by a domain names the tenant's id, which is pinned from there on.
    fn accept_any_tenant(&self, hosts: &[String], issuer: &str) -> Option<Issuer> {
        let mut segments = issuer.rsplit('/');
        let (version, tenant) = (segments.next()?, segments.next()?);
        let fits = version == "v2.0"
            && is_guid(tenant)
            && tenant.bytes().all(|byte| !byte.is_ascii_uppercase())
            && (hosts.iter().any(|host| issuer == v2(host, tenant))
                || self.is_external_id(issuer, tenant));
        fits.then(|| Issuer::Tenant { issuer: issuer.to_owned(), tenant: tenant.to_owned() })
    }

    /// External ID names the tenant in the host, whatever name or custom domain was asked.
    fn is_external_id(&self, issuer: &str, tenant: &str) -> bool {
        self.cloud().is_none() && issuer == v2(&format!("https://{tenant}.ciamlogin.com"), tenant)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.origin(), self.tenant.as_str())
    }
}

fn v2(host: &str, tenant: &str) -> String {
    format!("{host}/{tenant}/v2.0")
}

/// The issuers that the metadata stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Issuer {
    /// One tenant's.
    Tenant {
        /// The issuer, character for character.
        issuer: String,
        /// The tenant's id.
        tenant: String,
    },
    /// Every tenant's: a template with `{tenantid}`.
    AnyTenant {
        /// The template.
        template: String,
    },
}

impl Issuer {
    /// Whether `issuer` is the one that `tenant` (a token's own `tid`) has here.
    pub(super) fn is(&self, issuer: &str, tenant: &str) -> bool {
        match self {
            Self::Tenant { issuer: ours, tenant: id } => issuer == ours && tenant == id,
            Self::AnyTenant { template } => is_guid(tenant) && fill(template, tenant) == issuer,
        }
    }

    /// Whether an authorization response may name `issuer` (RFC 9207 §2.4).
    pub(super) fn answers_as(&self, issuer: &str) -> bool {
        match self {
            Self::Tenant { issuer: ours, .. } => issuer == ours,
            Self::AnyTenant { template } => {
                issuer == template
                    || issuer.rsplit('/').nth(1).is_some_and(|tenant| self.is(issuer, tenant))
            }
        }
    }
}

/// Whether a key whose own issuer is `of_key` may sign for the token issuer `issuer` of `tenant`.
/// This keeps the keys of personal accounts from signing for a work tenant.
pub(super) fn key_signs_for(of_key: &str, issuer: &str, tenant: &str) -> bool {
    fill(of_key, tenant) == issuer
}

fn fill(template: &str, tenant: &str) -> String {
    template.replace(TENANT_ID, tenant)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "11111111-2222-3333-4444-555555555555";
    const OTHER: &str = "99999999-2222-3333-4444-555555555555";

    fn authority(base: &str, tenant: &str) -> Authority {
        Authority::new(base.parse().unwrap(), Tenant::parse(tenant).unwrap())
    }

    #[test]
    fn a_tenant_is_a_guid_a_domain_or_one_of_three_words() {
        for text in [ID, "contoso.onmicrosoft.com", "Common", "organizations", "consumers"] {
            let tenant = Tenant::parse(text).unwrap();
            assert_eq!(tenant.as_str(), text.to_ascii_lowercase());
        }
        assert_eq!(Tenant::parse(CONSUMERS), Some(Tenant::Consumers));
        for text in ["", "contoso", "a/b.c", "../x.y", "a b.com", "-a.com", "a..com", "{tenantid}"]
        {
            assert_eq!(Tenant::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_issuer_of_a_single_tenant_is_exact() {
        let ours = authority("https://login.microsoftonline.com", ID);
        let issuer = format!("https://login.microsoftonline.com/{ID}/v2.0");
        let accepted = ours.accept(&issuer).unwrap();
        assert!(accepted.is(&issuer, ID));
        assert!(!accepted.is(&issuer, OTHER));
        for wrong in [
            format!("https://login.microsoftonline.com/{OTHER}/v2.0"),
            format!("https://login.microsoftonline.com/{ID}/v2.0/"),
            format!("https://login.microsoftonline.com/{ID}"),
            format!("http://login.microsoftonline.com/{ID}/v2.0"),
            format!("https://login.microsoftonline.com.evil.test/{ID}/v2.0"),
            format!("https://sts.windows.net/{ID}/"),
            "https://login.microsoftonline.com/{tenantid}/v2.0".to_owned(),
            format!("https://{ID}.ciamlogin.com/{ID}/v2.0"),
        ] {
            assert_eq!(ours.accept(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_domain_is_pinned_to_the_tenant_that_the_metadata_names() {
        let ours = authority("https://login.microsoftonline.com", "contoso.com");
        let issuer = format!("https://login.microsoftonline.com/{ID}/v2.0");
        let accepted = ours.accept(&issuer).unwrap();
        assert_eq!(accepted, Issuer::Tenant { issuer, tenant: ID.to_owned() });
        for wrong in ["https://login.microsoftonline.com/{tenantid}/v2.0", "", "v2.0", "/v2.0"] {
            assert_eq!(ours.accept(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_template_stands_for_every_tenant_with_its_own_id() {
        let ours = authority("https://login.microsoftonline.com", "organizations");
        let accepted = ours.accept("https://login.microsoftonline.com/{tenantid}/v2.0").unwrap();
        let issuer = format!("https://login.microsoftonline.com/{ID}/v2.0");
        assert!(accepted.is(&issuer, ID));
        assert!(accepted.answers_as(&issuer));
        assert!(!accepted.is(&issuer, OTHER));
        assert!(!accepted.is("https://login.microsoftonline.com/{tenantid}/v2.0", "{tenantid}"));
        assert!(!accepted.is("https://login.microsoftonline.com/x/v2.0", "x"));
        assert_eq!(ours.accept(&issuer), None);
    }

    #[test]
    fn an_alias_of_a_cloud_has_the_clouds_issuer_and_endpoints() {
        let ours = authority("https://login.windows.net", ID);
        assert!(ours.accept(&format!("https://login.microsoftonline.com/{ID}/v2.0")).is_some());
        assert!(ours.covers(&"https://login.microsoftonline.com/x".parse().unwrap()));
        for elsewhere in [
            "https://login.microsoftonline.us/x",
            "https://login.microsoftonline.com:8443/x",
            "http://login.microsoftonline.com/x",
            "https://evil.test/login.microsoftonline.com",
        ] {
            assert!(!ours.covers(&elsewhere.parse().unwrap()), "{elsewhere}");
        }
    }

    #[test]
    fn external_id_names_its_tenant_in_the_host() {
        for base in ["https://contoso.ciamlogin.com", "https://login.contoso.test"] {
            let ours = authority(base, ID);
            assert!(ours.accept(&format!("https://{ID}.ciamlogin.com/{ID}/v2.0")).is_some());
            assert!(ours.accept(&format!("https://{OTHER}.ciamlogin.com/{OTHER}/v2.0")).is_none());
            assert!(ours.accept(&format!("https://{OTHER}.ciamlogin.com/{ID}/v2.0")).is_none());
        }
        let by_domain = authority("https://contoso.ciamlogin.com", "contoso.onmicrosoft.com");
        assert!(by_domain.accept(&format!("https://{ID}.ciamlogin.com/{ID}/v2.0")).is_some());
    }

    #[test]
    fn a_key_of_personal_accounts_does_not_sign_for_a_work_tenant() {
        let work = format!("https://login.microsoftonline.com/{ID}/v2.0");
        let template = "https://login.microsoftonline.com/{tenantid}/v2.0";
        let personal = format!("https://login.microsoftonline.com/{CONSUMERS}/v2.0");
        assert!(key_signs_for(template, &work, ID));
        assert!(!key_signs_for(&personal, &work, ID));
        assert!(key_signs_for(&personal, &personal, CONSUMERS));
    }

    #[test]
    fn plain_http_is_for_this_machine_alone() {
        for url in ["https://x.test", "http://localhost:1", "http://127.0.0.1", "http://[::1]:2"] {
            assert!(is_safe(&url.parse().unwrap()), "{url}");
        }
        for url in ["http://x.test", "http://localhost.evil.test", "ftp://localhost", "data:x"] {
            assert!(!is_safe(&url.parse().unwrap()), "{url}");
        }
    }
}
