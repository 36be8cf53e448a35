//! The `scope` parameter: `OpenID` scopes, and scopes of resources by app-id URI.

use std::collections::BTreeSet;

use crate::emulator::{aadsts::Failure, directory::Directory};

/// Microsoft Graph's URI and app id.
pub(crate) const GRAPH: &str = "https://graph.microsoft.com";
pub(crate) const GRAPH_ID: &str = "00000003-0000-0000-c000-000000000000";

/// Everything that a `scope` parameter asks for.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four scopes that are there or not")]
pub(crate) struct Scopes {
    pub(crate) openid: bool,
    pub(crate) profile: bool,
    pub(crate) email: bool,
    pub(crate) offline_access: bool,
    /// In the order asked for.
    pub(crate) resources: Vec<ResourceScopes>,
}

/// Scopes of one resource.
#[derive(Clone, Debug)]
pub(crate) struct ResourceScopes {
    pub(crate) resource: Resource,
    /// The resource as the client wrote it, for the `scope` of the answer.
    pub(crate) written: String,
    pub(crate) names: BTreeSet<String>,
}

/// Who an access token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resource {
    /// Microsoft Graph.
    Graph,
    /// The API of an app, by its place in the directory.
    App(usize),
}

/// What `.default` stands for.
pub(crate) const DEFAULT: &str = ".default";

impl Scopes {
    pub(crate) fn parse(text: &str, directory: &Directory) -> Result<Self, Failure> {
        let mut scopes = Self::default();
        for scope in text.split_ascii_whitespace() {
            match scope {
                "openid" => scopes.openid = true,
                "profile" => scopes.profile = true,
                "email" => scopes.email = true,
                "offline_access" => scopes.offline_access = true,
                _ => scopes.add(scope, directory)?,
            }
        }
        let mixed =
            scopes.resources.iter().any(|of| of.names.contains(DEFAULT) && of.names.len() > 1);
        if mixed {
            let text = format!(
                "The provided request must include a 'scope' input parameter. The provided value \
                 for the input parameter 'scope' is not valid. The scope {text} is not valid. \
                 .default scope can't be combined with resource-specific scopes."
            );
            return Err(Failure::new(70_011, "invalid_scope", text));
        }
        Ok(scopes)
    }

    fn add(&mut self, scope: &str, directory: &Directory) -> Result<(), Failure> {
        let (written, name) = match scope.rsplit_once('/') {
            None => (GRAPH, scope),
            // A resource that ends in a slash is written with two.
            Some((resource, name)) => (resource.strip_suffix('/').unwrap_or(resource), name),
        };
        let resource = find(written, directory).ok_or_else(|| {
            let text = format!(
                "The resource principal named {written} was not found in the tenant. This can \
                 happen if the application has not been installed by the administrator of the \
                 tenant or consented to by any user in the tenant."
            );
            Failure::new(500_011, "invalid_resource", text)
        })?;
        if !exists(resource, name, directory) {
            let text = format!(
                "The provided value for the input parameter 'scope' is not valid. The scope \
                 {scope} does not exist."
            );
            return Err(Failure::new(70_011, "invalid_scope", text));
        }
        match self.resources.iter_mut().find(|known| known.resource == resource) {
            Some(known) => {
                known.names.insert(name.to_owned());
            }
            None => self.resources.push(ResourceScopes {
                resource,
                written: written.to_owned(),
                names: BTreeSet::from([name.to_owned()]),
            }),
        }
        Ok(())
    }

    /// The one resource of a code redemption.
    pub(crate) fn only_resource(&self) -> Result<Option<&ResourceScopes>, Failure> {
        if self.resources.len() > 1 {
            let text = "Provided value for the input parameter scope is not valid because it \
                        contains more than one resource.";
            return Err(Failure::new(28_000, "invalid_scope", text));
        }
        Ok(self.resources.first())
    }

    /// Adds what `other` asks for.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.openid |= other.openid;
        self.profile |= other.profile;
        self.email |= other.email;
        self.offline_access |= other.offline_access;
        for of in &other.resources {
            match self.resources.iter_mut().find(|known| known.resource == of.resource) {
                Some(known) => known.names.extend(of.names.iter().cloned()),
                None => self.resources.push(of.clone()),
            }
        }
    }

    /// What `scope` of an answer says: the resource's granted scopes and `OpenID`'s.
    pub(crate) fn granted(&self, of: Option<&ResourceScopes>, directory: &Directory) -> String {
        let mut list: Vec<String> = Vec::new();
        if let Some(of) = of {
            list.extend(of.granted(directory).iter().map(|name| match of.resource {
                Resource::Graph if of.written == GRAPH => name.clone(),
                _ => format!("{}/{name}", of.written),
            }));
        }
        let open = [("openid", self.openid), ("profile", self.profile), ("email", self.email)];
        list.extend(open.iter().filter(|(_, on)| *on).map(|(name, _)| (*name).to_owned()));
        list.join(" ")
    }

    /// Names for a consent page.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (name, on) in [
            ("openid", self.openid),
            ("profile", self.profile),
            ("email", self.email),
            ("offline_access", self.offline_access),
        ] {
            if on {
                names.push(name.to_owned());
            }
        }
        for of in &self.resources {
            names.extend(of.names.iter().map(|name| match of.resource {
                Resource::Graph => name.clone(),
                Resource::App(_) => format!("{}/{name}", of.written),
            }));
        }
        names
    }
}

impl ResourceScopes {
    /// Graph, where nothing else was asked for.
    pub(crate) fn graph() -> Self {
        Self {
            resource: Resource::Graph,
            written: GRAPH.to_owned(),
            names: BTreeSet::from(["User.Read".to_owned()]),
        }
    }

    /// The names in `scp`; `.default` stands for all that is granted.
    pub(crate) fn granted(&self, directory: &Directory) -> BTreeSet<String> {
        if !self.names.contains(DEFAULT) {
            return self.names.clone();
        }
        match self.resource {
            Resource::Graph => BTreeSet::from(["User.Read".to_owned()]),
            Resource::App(index) => directory
                .app_at(index)
                .map(|app| app.entry.scopes.iter().cloned().collect())
                .unwrap_or_default(),
        }
    }
}

fn find(written: &str, directory: &Directory) -> Option<Resource> {
    if written == GRAPH || written.eq_ignore_ascii_case(GRAPH_ID) {
        return Some(Resource::Graph);
    }
    directory.apps().iter().position(|app| app.identifies_as(written)).map(Resource::App)
}

fn exists(resource: Resource, name: &str, directory: &Directory) -> bool {
    match resource {
        _ if name == DEFAULT => true,
        Resource::Graph => !name.is_empty(),
        Resource::App(index) => directory
            .app_at(index)
            .is_some_and(|app| app.entry.scopes.iter().any(|scope| scope == name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::scenario::Scenario;

    fn parse(text: &str) -> Result<Scopes, u32> {
        let directory = Directory::new(&Scenario::default()).unwrap();
        Scopes::parse(text, &directory).map_err(|failure| failure.code)
    }

    const APP: &str = "0a11ce00-7e57-4a99-8d00-000000000001";

    #[test]
    fn a_bare_scope_and_its_full_name_are_graphs() {
        let scopes = parse("openid User.Read https://graph.microsoft.com/User.Read").unwrap();
        assert!(scopes.openid && !scopes.profile);
        assert_eq!(scopes.resources.len(), 1);
        assert_eq!(scopes.resources[0].names.len(), 1);
    }

    #[test]
    fn a_scope_nobody_defined_and_a_resource_nobody_knows_are_refused() {
        assert_eq!(parse(&format!("api://{APP}/launch_missiles")).err(), Some(70_011));
        assert_eq!(parse("api://nobody/read").err(), Some(500_011));
    }

    #[test]
    fn default_cannot_be_mixed_with_names() {
        assert_eq!(
            parse(&format!("api://{APP}/.default api://{APP}/reports.read")).err(),
            Some(70_011)
        );
        assert!(parse(&format!("{APP}/.default openid")).is_ok());
    }

    #[test]
    fn two_resources_are_fine_to_consent_to_but_not_to_redeem_for() {
        let scopes = parse(&format!("User.Read api://{APP}/reports.read")).unwrap();
        assert_eq!(scopes.only_resource().unwrap_err().code, 28_000);
    }
}
