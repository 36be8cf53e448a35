//! What a rule demands of a signed-in user: roles, groups, users.

/// Who asks, as a validated ID token says.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// `oid`: the user's object id.
    pub object_id: &'a str,
    /// `preferred_username`.
    pub user_name: Option<&'a str>,
    /// App roles. None is no member of any.
    pub roles: &'a [String],
    /// Object ids of groups. Unknown groups are no groups.
    pub groups: &'a [String],
}

/// Why a user may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Nobody may.
    Denied,
    /// None of the roles.
    Role,
    /// None of the groups.
    Group,
    /// None of the users.
    User,
}

impl Denial {
    /// A fixed word for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Role => "role",
            Self::Group => "group",
            Self::User => "user",
        }
    }
}

/// Lists of which one entry each must match. An absent list demands nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Requirement {
    pub(super) roles: Option<Vec<String>>,
    pub(super) groups: Option<Vec<String>>,
    users: Option<Vec<User>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum User {
    /// An object id in lower case.
    Id(String),
    /// A user name in lower case.
    Name(String),
}

/// What is wrong with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequirementError {
    /// Nobody could match; a list that is left out demands nothing.
    #[error("{0} must not be an empty list, and no entry may be empty")]
    Empty(&'static str),
    /// A display name, which anybody with the right to make groups can take.
    #[error(
        "groups are named by their object ids, such as \"11111111-2222-3333-4444-555555555555\""
    )]
    Group,
    /// Neither form.
    #[error("users are named by object id or by a user name with exactly one \"@\"")]
    User,
    /// Another tenant could have a user of the same name (nOAuth).
    #[error("user names are accepted with a single tenant alone; name users by their object ids")]
    NameOfManyTenants,
}

impl Requirement {
    pub(super) fn build(
        roles: Option<Vec<String>>,
        groups: Option<Vec<String>>,
        users: Option<Vec<String>>,
        single_tenant: bool,
    ) -> Result<Self, RequirementError> {
        let groups = filled("groups", groups)?;
        if groups.iter().flatten().any(|group| !is_object_id(group)) {
            return Err(RequirementError::Group);
        }
        let users = filled("users", users)?
            .map(|users| users.iter().map(|user| User::parse(user, single_tenant)).collect())
            .transpose()?;
        Ok(Self { roles: filled("roles", roles)?, groups, users })
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self, subject: &Subject<'_>) -> Result<(), Denial> {
        let role = |wanted: &String| subject.roles.contains(wanted);
        let group =
            |wanted: &String| subject.groups.iter().any(|group| group.eq_ignore_ascii_case(wanted));
        let one_of = |list: &Option<Vec<String>>, has: &dyn Fn(&String) -> bool| {
            list.as_ref().is_none_or(|entries| entries.iter().any(has))
        };
        if !one_of(&self.roles, &role) {
            return Err(Denial::Role);
        }
        if !one_of(&self.groups, &group) {
            return Err(Denial::Group);
        }
        match &self.users {
            Some(users) if !users.iter().any(|user| user.is(subject)) => Err(Denial::User),
            _ => Ok(()),
        }
    }
}

impl User {
    fn parse(text: &str, single_tenant: bool) -> Result<Self, RequirementError> {
        if is_object_id(text) {
            Ok(Self::Id(text.to_ascii_lowercase()))
        } else if !is_user_name(text) {
            Err(RequirementError::User)
        } else if single_tenant {
            Ok(Self::Name(text.to_ascii_lowercase()))
        } else {
            Err(RequirementError::NameOfManyTenants)
        }
    }

    fn is(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Id(id) => subject.object_id.eq_ignore_ascii_case(id),
            // ASCII case alone: `K` (U+212A) in lower case is `k`, and would be another's name.
            Self::Name(name) => subject
                .user_name
                .is_some_and(|given| is_user_name(given) && given.eq_ignore_ascii_case(name)),
        }
    }
}

fn filled(
    name: &'static str,
    list: Option<Vec<String>>,
) -> Result<Option<Vec<String>>, RequirementError> {
    match list {
        Some(entries)
            if entries.is_empty() || entries.iter().any(|entry| entry.trim().is_empty()) =>
        {
            Err(RequirementError::Empty(name))
        }
        list => Ok(list),
    }
}

/// `8-4-4-4-12` hexadecimal digits.
fn is_object_id(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let mut parts = text.split('-');
    let fits = lengths.iter().all(|length| {
        parts.next().is_some_and(|part| {
            part.len() == *length && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    });
    fits && parts.next().is_none()
}

/// One `@` with something on both sides: `a@evil@corp` and `"x@corp"@evil` are nobody.
fn is_user_name(text: &str) -> bool {
    let mut parts = text.split('@');
    let filled = |part: Option<&str>| part.is_some_and(|part| !part.is_empty());
    filled(parts.next())
        && filled(parts.next())
        && parts.next().is_none()
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "aaaaaaaa-0000-0000-0000-00000000000a";
    const STAFF: &str = "bbbbbbbb-0000-0000-0000-00000000000b";

    #[expect(clippy::unnecessary_wraps, reason = "an absent list is written None")]
    fn list(entries: &[&str]) -> Option<Vec<String>> {
        Some(entries.iter().map(ToString::to_string).collect())
    }

    fn users(entries: &[&str], single_tenant: bool) -> Result<Requirement, RequirementError> {
        Requirement::build(None, None, list(entries), single_tenant)
    }

    fn named(user_name: &str) -> Subject<'_> {
        Subject { object_id: ALICE, user_name: Some(user_name), roles: &[], groups: &[] }
    }

    #[test]
    fn an_empty_list_is_refused_and_an_absent_one_demands_nothing() {
        for (roles, groups, users) in [
            (list(&[]), None, None),
            (None, list(&[]), None),
            (None, None, list(&[])),
            (list(&["a", ""]), None, None),
            (None, None, list(&[" "])),
        ] {
            let built = Requirement::build(roles, groups, users, true);
            assert!(matches!(built, Err(RequirementError::Empty(_))), "{built:?}");
        }
        let nothing = Requirement::build(None, None, None, true).unwrap();
        assert!(nothing.is_empty());
        assert_eq!(nothing.check(&named("a@b")), Ok(()));
    }

    #[test]
    fn one_entry_of_every_list_is_needed() {
        let requirement = Requirement::build(
            list(&["Reader", "Writer"]),
            list(&[STAFF, ALICE]),
            list(&[ALICE]),
            false,
        )
        .unwrap();
        let roles = ["Writer".to_owned()];
        let groups = [STAFF.to_uppercase()];
        let subject = Subject { object_id: ALICE, user_name: None, roles: &roles, groups: &groups };
        assert_eq!(requirement.check(&subject), Ok(()));
        let other = ["writer".to_owned()];
        for (changed, denial) in [
            (Subject { roles: &[], ..subject }, Denial::Role),
            (Subject { roles: &other, ..subject }, Denial::Role),
            (Subject { groups: &[], ..subject }, Denial::Group),
            (Subject { object_id: STAFF, ..subject }, Denial::User),
        ] {
            assert_eq!(requirement.check(&changed), Err(denial));
        }
    }

    #[test]
    fn a_user_name_is_compared_whole_and_without_ascii_case() {
        let requirement = users(&["Kim@Contoso.com"], true).unwrap();
        assert_eq!(requirement.check(&named("kim@contoso.COM")), Ok(()));
        for name in [
            "kim@contoso.com.evil.test",
            "kim@contoso.co",
            "x@kim@contoso.com",
            "kim@contoso.com@evil.test",
            "\"kim@contoso.com\"@evil.test",
            "\u{212a}im@contoso.com",
            "kim@contoso.com ",
            "",
        ] {
            assert_eq!(requirement.check(&named(name)), Err(Denial::User), "{name}");
        }
        assert_eq!(requirement.check(&Subject { user_name: None, ..named("") }), Err(Denial::User));
    }

    #[test]
    fn user_names_need_a_single_tenant_and_object_ids_do_not() {
        assert_eq!(users(&["kim@contoso.com"], false), Err(RequirementError::NameOfManyTenants));
        assert_eq!(users(&[ALICE], false).unwrap().check(&named("x@y")), Ok(()));
        for bad in ["kim", "@contoso.com", "kim@", "a@b@c", "kim @contoso.com", "*"] {
            assert_eq!(users(&[bad], true), Err(RequirementError::User), "{bad}");
        }
        assert_eq!(
            Requirement::build(None, list(&["Finance"]), None, true),
            Err(RequirementError::Group)
        );
    }
}
