//! From a scenario to the directory: names resolved, ids made up, contradictions refused.

use std::{collections::BTreeSet, fs, io, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::emulator::{
    directory::{App, Directory, Group, Tenant, User},
    ids,
    scenario::{AppEntry, FederatedEntry, RoleEntry, Scenario, UserEntry},
};

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Nothing to sign in to, or nobody to sign in.
    #[error("the scenario has no {0}")]
    Empty(&'static str),
    /// A tenant has neither an id nor a domain.
    #[error("a tenant needs an id or a domain")]
    NamelessTenant,
    /// A name that is referred to does not exist.
    #[error("{0} is not in the scenario")]
    Unknown(String),
    /// An id that is not a GUID.
    #[error("{0} is not a GUID")]
    NotAGuid(String),
    /// Two entries have the same name.
    #[error("{0} is in the scenario twice")]
    Twice(String),
    /// A client certificate cannot be used.
    #[error("the certificate of the app {0} is not PEM")]
    Certificate(String, #[source] rustls_pki_types::pem::Error),
    /// A file of the scenario cannot be read.
    #[error("{} cannot be read", .0.display())]
    File(PathBuf, #[source] io::Error),
}

impl Directory {
    pub(crate) fn new(scenario: &Scenario) -> Result<Self, ScenarioError> {
        let tenants = tenants(scenario)?;
        let apps = apps(scenario, &tenants)?;
        let mut users: Vec<User> = Vec::with_capacity(scenario.users.len());
        for entry in &scenario.users {
            let user = user(entry, scenario, &tenants, &apps)?;
            if users.iter().any(|other| other.is_called(&entry.name) && other.oid == user.oid) {
                return Err(ScenarioError::Twice(entry.name.clone()));
            }
            users.push(user);
        }
        if users.is_empty() {
            return Err(ScenarioError::Empty("users"));
        }
        for role in &scenario.roles {
            assign(role, &apps, &mut users)?;
        }
        Ok(Self { tenants, apps, users })
    }
}

fn tenants(scenario: &Scenario) -> Result<Vec<Tenant>, ScenarioError> {
    let mut tenants = Vec::with_capacity(scenario.tenants.len());
    for entry in &scenario.tenants {
        let id = match (&entry.id, entry.domains.first()) {
            (Some(id), _) => checked_guid(id)?,
            (None, Some(domain)) => tenant_guid(domain),
            (None, None) => return Err(ScenarioError::NamelessTenant),
        };
        if tenants.iter().any(|other: &Tenant| other.id == id) {
            return Err(ScenarioError::Twice(id));
        }
        tenants.push(Tenant { id, domains: entry.domains.clone(), name: entry.name.clone() });
    }
    if tenants.is_empty() { Err(ScenarioError::Empty("tenants")) } else { Ok(tenants) }
}

fn tenant_guid(domain: &str) -> String {
    ids::guid_of(&format!("tenant:{}", domain.to_ascii_lowercase()))
}

pub(crate) fn find_tenant(tenants: &[Tenant], name: &str) -> Option<usize> {
    tenants.iter().position(|tenant| {
        tenant.id.eq_ignore_ascii_case(name)
            || tenant.domains.iter().any(|domain| domain.eq_ignore_ascii_case(name))
    })
}

fn tenant_or_first(tenants: &[Tenant], name: Option<&str>) -> Result<usize, ScenarioError> {
    let Some(name) = name else { return Ok(0) };
    find_tenant(tenants, name).ok_or_else(|| ScenarioError::Unknown(format!("the tenant {name}")))
}

fn checked_guid(text: &str) -> Result<String, ScenarioError> {
    if ids::is_guid(text) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(ScenarioError::NotAGuid(text.to_owned()))
    }
}

fn apps(scenario: &Scenario, tenants: &[Tenant]) -> Result<Vec<App>, ScenarioError> {
    let mut apps = Vec::with_capacity(scenario.apps.len());
    for entry in &scenario.apps {
        let client_id = match &entry.client_id {
            Some(id) => checked_guid(id)?,
            None => ids::guid_of(&format!("app:{}", entry.name)),
        };
        if apps.iter().any(|other: &App| other.client_id == client_id) {
            return Err(ScenarioError::Twice(client_id));
        }
        let tenant = tenant_or_first(tenants, entry.tenant.as_deref())?;
        let certificates = certificates(entry)?;
        for FederatedEntry { jwks_file, .. } in &entry.federated_credentials {
            if let Some(path) = jwks_file {
                fs::metadata(path).map_err(|error| ScenarioError::File(path.clone(), error))?;
            }
        }
        apps.push(App { entry: entry.clone(), client_id, tenant, certificates });
    }
    if apps.is_empty() { Err(ScenarioError::Empty("apps")) } else { Ok(apps) }
}

fn certificates(entry: &AppEntry) -> Result<Vec<CertificateDer<'static>>, ScenarioError> {
    let mut texts = entry.certificates.clone();
    for path in &entry.certificate_files {
        let text =
            fs::read_to_string(path).map_err(|error| ScenarioError::File(path.clone(), error))?;
        texts.push(text);
    }
    texts
        .iter()
        .map(|text| {
            CertificateDer::from_pem_slice(text.as_bytes())
                .map_err(|error| ScenarioError::Certificate(entry.name.clone(), error))
        })
        .collect()
}

fn user(
    entry: &UserEntry,
    scenario: &Scenario,
    tenants: &[Tenant],
    apps: &[App],
) -> Result<User, ScenarioError> {
    let tenant = tenant_or_first(tenants, entry.tenant.as_deref())?;
    let tenant_id = tenants.get(tenant).map(|tenant| tenant.id.clone()).unwrap_or_default();
    let name = entry.name.to_ascii_lowercase();
    let oid = match &entry.id {
        Some(id) => checked_guid(id)?,
        None => ids::guid_of(&format!("user:{tenant_id}:{name}")),
    };
    let (home_oid, home_tenant_id) = match &entry.guest_of {
        None => (oid.clone(), tenant_id.clone()),
        Some(home) => {
            let home = find_tenant(tenants, home).and_then(|index| tenants.get(index)).map_or_else(
                || if ids::is_guid(home) { home.clone() } else { tenant_guid(home) },
                |tenant| tenant.id.clone(),
            );
            (ids::guid_of(&format!("user:{home}:{name}")), home)
        }
    };
    let mut groups: Vec<Group> =
        entry.groups.iter().map(|group| named_group(group, scenario)).collect();
    groups.extend((1..=entry.generated_groups).map(|number| {
        let name = format!("Team {number:03}");
        Group { id: ids::guid_of(&format!("group:{name}")), name }
    }));
    let mut roles = BTreeSet::new();
    if !apps.is_empty() {
        roles.extend(entry.roles.iter().map(|role| (0, role.clone())));
    }
    let opaque = format!("{}.{}", ids::text_of(&format!("hint:{oid}:1")), oid);
    let login_hint =
        format!("O.{}", BASE64_URL_SAFE_NO_PAD.encode(format!("{opaque}:{}", ids::text_of(&oid))));
    let entry = entry.clone();
    Ok(User { entry, oid, tenant, tenant_id, home_oid, home_tenant_id, groups, roles, login_hint })
}

fn named_group(name: &str, scenario: &Scenario) -> Group {
    let listed = scenario
        .groups
        .iter()
        .find(|group| group.name == name || group.id.as_deref() == Some(name));
    match listed {
        Some(group) => Group {
            id: group.id.clone().unwrap_or_else(|| ids::guid_of(&format!("group:{name}"))),
            name: group.name.clone(),
        },
        None if ids::is_guid(name) => Group { id: name.to_owned(), name: name.to_owned() },
        None => Group { id: ids::guid_of(&format!("group:{name}")), name: name.to_owned() },
    }
}

fn assign(role: &RoleEntry, apps: &[App], users: &mut [User]) -> Result<(), ScenarioError> {
    let app = match &role.app {
        None => 0,
        Some(name) => apps
            .iter()
            .position(|app| app.entry.name == *name || app.client_id == *name)
            .ok_or_else(|| ScenarioError::Unknown(format!("the app {name}")))?,
    };
    // The default roles name default users, which a file with users of its own does not have.
    for user in users {
        let in_group = user
            .groups
            .iter()
            .any(|group| role.groups.iter().any(|name| group.name == *name || group.id == *name));
        if in_group || role.users.iter().any(|name| user.is_called(name)) {
            user.roles.insert((app, role.value.clone()));
        }
    }
    Ok(())
}
