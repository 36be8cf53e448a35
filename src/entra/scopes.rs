//! Scopes: one access token is for one resource, whatever is asked.

/// What is wrong with a list of scopes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopesError {
    /// Nothing that an access token could be for.
    #[error(
        "expected at least one scope of a resource, such as \"User.Read\" or \"api://<app>/<scope>\""
    )]
    Empty,
    /// A character that a scope cannot have (RFC 6749 §3.3).
    #[error("expected one scope an entry, found \"{}\"", .0.escape_default())]
    Malformed(String),
    /// Added anyway.
    #[error("expected no \"{0}\": openid, profile and offline_access are always added")]
    Added(String),
    /// Scopes of two resources (AADSTS28000).
    #[error(
        "expected scopes of one resource, found \"{0}\" and \"{1}\": one access token serves one resource"
    )]
    SeveralResources(String, String),
    /// `.default` beside named scopes (AADSTS70011).
    #[error("expected \".default\" alone or named scopes, found both")]
    DefaultMixed,
}

/// Scopes of one resource, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Scopes(String);

impl Scopes {
    /// Checks what the configuration asks for.
    pub(super) fn parse(scopes: &[String]) -> Result<Self, ScopesError> {
        let mut resource: Option<String> = None;
        let (mut named, mut default) = (false, false);
        for scope in scopes {
            if scope.is_empty() || !scope.bytes().all(is_scope_byte) {
                return Err(ScopesError::Malformed(scope.clone()));
            }
            match scope.to_ascii_lowercase().as_str() {
                "openid" | "profile" | "offline_access" => {
                    return Err(ScopesError::Added(scope.clone()));
                }
                // Of no resource: it changes the ID token alone.
                "email" => continue,
                _ => {}
            }
            let (of, name) = split(scope);
            match &resource {
                Some(other) if *other != of => {
                    return Err(ScopesError::SeveralResources(other.clone(), of));
                }
                _ => resource = Some(of),
            }
            if name == ".default" { default = true } else { named = true }
        }
        match (default, named) {
            (false, false) => Err(ScopesError::Empty),
            (true, true) => Err(ScopesError::DefaultMixed),
            _ => Ok(Self(format!("openid profile offline_access {}", scopes.join(" ")))),
        }
    }

    /// As the `scope` parameter.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// One by one.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ')
    }
}

fn is_scope_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'
}

/// The resource of a scope, in lower case, and the rest. A bare name is one of Microsoft Graph.
fn split(scope: &str) -> (String, &str) {
    const GRAPH: &str = "https://graph.microsoft.com";
    let Some((resource, name)) = scope.rsplit_once('/') else {
        return (GRAPH.to_owned(), scope);
    };
    match resource.to_ascii_lowercase() {
        resource if resource == "00000003-0000-0000-c000-000000000000" => (GRAPH.to_owned(), name),
        resource => (resource, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(scopes: &[&str]) -> Result<String, ScopesError> {
        let scopes: Vec<_> = scopes.iter().map(|&scope| scope.to_owned()).collect();
        Scopes::parse(&scopes).map(|scopes| scopes.as_str().to_owned())
    }

    #[test]
    fn the_scopes_of_one_resource_are_sent_with_those_that_sign_in() {
        let sent = parse(&["User.Read", "https://graph.microsoft.com/Mail.Read", "email"]).unwrap();
        let resource = "User.Read https://graph.microsoft.com/Mail.Read email";
        assert_eq!(sent, format!("openid profile offline_access {resource}"));
        assert!(parse(&["api://app/read", "API://app/write"]).is_ok());
        assert!(parse(&["https://vault.azure.net//.default"]).is_ok());
    }

    #[test]
    fn two_resources_are_refused() {
        for scopes in [["User.Read", "api://app/read"], ["api://a/read", "api://b/read"]] {
            let found = parse(&scopes);
            assert!(matches!(found, Err(ScopesError::SeveralResources(_, _))), "{scopes:?}");
        }
    }

    #[test]
    fn what_microsoft_would_refuse_later_is_refused_now() {
        assert_eq!(parse(&[]), Err(ScopesError::Empty));
        assert_eq!(parse(&["email"]), Err(ScopesError::Empty));
        assert_eq!(parse(&["api://a/.default", "api://a/x"]), Err(ScopesError::DefaultMixed));
        assert_eq!(parse(&["OpenId"]), Err(ScopesError::Added("OpenId".to_owned())));
        for malformed in ["", "User.Read Mail.Read", "a\nb", "a\"b", "ä"] {
            let expected = Err(ScopesError::Malformed(malformed.to_owned()));
            assert_eq!(parse(&[malformed]), expected);
        }
    }
}
