//! `[[rules]]`: what a path needs. Pure; the first rule that matches decides, and what no rule
//! matches needs a session.
//!
//! Rules that open (`anonymous`) match the path byte for byte, and only if every app would read it
//! alike. Rules that restrict (`deny`, `roles`, `groups`, `users`) match the loosest reading as
//! well: to an app that ignores case, `/ADMIN` is `/admin`. A plain `signed-in` rule restricts
//! compared with `anonymous` alone, so its loose matches stop exactly those.

mod pattern;
mod requirement;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{pattern::Pattern, requirement::Requirement};
pub use self::{
    pattern::PatternError,
    requirement::{Denial, RequirementError, Subject},
};
use crate::{
    base::units::{ByteSize, Span},
    request::Target,
};

/// One `[[rules]]` table of the configuration.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSettings {
    /// One path, or a path and all below it: `"/public/*"`.
    pub path: String,
    /// The methods it is about, all if absent; GET covers HEAD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Who may.
    #[serde(default)]
    pub access: Access,
    /// Any of these app roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// Any of these groups, by object id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Any of these users, by object id; by user name with a single tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<String>>,
    /// Whether the caller's own Authorization reaches the app, and ours does not.
    #[serde(default)]
    pub pass_authorization: bool,
    /// Largest request body; beyond it 413. Absent: `server.limits.body_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body: Option<ByteSize>,
    /// Longest silence of a client that sends a body. Absent: `server.limits.body_time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_idle_timeout: Option<Span>,
}

/// Who may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Everybody.
    Anonymous,
    /// Whoever has a session, and matches all lists.
    #[default]
    SignedIn,
    /// Nobody.
    Deny,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {number} (path {path:?}) cannot be used")]
pub struct RuleError {
    /// Which of the rules, from 1.
    pub number: usize,
    /// Its path as it was written.
    pub path: String,
    /// What is wrong.
    #[source]
    pub flaw: RuleFlaw,
}

/// What can be wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleFlaw {
    /// Its path.
    #[error(transparent)]
    Path(#[from] PatternError),
    /// Its roles, groups or users.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// Its methods.
    #[error("methods are upper-case names such as \"GET\", at least one, or absent for all")]
    Methods,
    /// Lists without a user to hold them against.
    #[error("roles, groups and users need access = \"signed-in\"")]
    ListsWithoutSession,
    /// No time at all.
    #[error("must be more than 0: every limit is in force")]
    BodyTime,
}

impl RuleFlaw {
    /// The key that is wrong.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Path(_) => "path",
            Self::Requirement(RequirementError::Empty(key)) => key,
            Self::Requirement(RequirementError::Group) => "groups",
            Self::Requirement(_) => "users",
            Self::Methods => "methods",
            Self::ListsWithoutSession => "access",
            Self::BodyTime => "body_idle_timeout",
        }
    }
}

/// All rules in their order.
#[derive(Clone, Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    default: Rule,
}

/// What one path needs.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `None` for the default.
    pattern: Option<Pattern>,
    methods: Option<Vec<Method>>,
    access: Access,
    requirement: Requirement,
    pass_authorization: bool,
    max_body: Option<u64>,
    body_time: Option<Duration>,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The request may reach the app.
    Allow,
    /// Only with a session.
    SignIn,
    /// Not at all, or not this user.
    Forbid(Denial),
}

impl Rules {
    /// Builds the rules; user names are accepted with a single tenant alone.
    pub fn build(settings: Vec<RuleSettings>, single_tenant: bool) -> Result<Self, RuleError> {
        let mut rules = Vec::with_capacity(settings.len());
        for (index, settings) in settings.into_iter().enumerate() {
            let path = settings.path.clone();
            let rule = Rule::build(settings, single_tenant).map_err(|flaw| RuleError {
                number: index + 1,
                path,
                flaw,
            })?;
            rules.push(rule);
        }
        Ok(Self { rules, default: Rule::default() })
    }

    /// The rule that decides about this request.
    pub fn first_match(&self, method: &Method, target: &Target) -> &Rule {
        let mut floor = None;
        for rule in &self.rules {
            match rule.matches(method, target) {
                // An app that ignores case would serve `/ADMIN` as the `/admin` that needs a
                // session; what comes later may ask for more than that, never for less.
                Match::Full if rule.is_anonymous() => return floor.unwrap_or(rule),
                Match::Full => return rule,
                Match::Loose if floor.is_none() => floor = Some(rule),
                Match::Loose | Match::None => {}
            }
        }
        &self.default
    }

    /// The groups that any rule names, in lower case: the ones a session must keep.
    pub fn group_ids_named(&self) -> BTreeSet<String> {
        let groups = self.rules.iter().flat_map(|rule| rule.requirement.groups.iter().flatten());
        groups.map(|group| group.to_ascii_lowercase()).collect()
    }
}

/// How a rule is about a request.
enum Match {
    None,
    /// A plain `signed-in` rule, by the loosest reading alone.
    Loose,
    Full,
}

impl Rule {
    fn build(settings: RuleSettings, single_tenant: bool) -> Result<Self, RuleFlaw> {
        let pattern = Pattern::parse(&settings.path)?;
        let methods = settings.methods.map(|names| methods(&names)).transpose()?;
        let RuleSettings { access, roles, groups, users, pass_authorization, .. } = settings;
        let body_time = settings.body_idle_timeout.map(Span::duration);
        if body_time.is_some_and(|time| time.is_zero()) {
            return Err(RuleFlaw::BodyTime);
        }
        let requirement = Requirement::build(roles, groups, users, single_tenant)?;
        if access != Access::SignedIn && !requirement.is_empty() {
            return Err(RuleFlaw::ListsWithoutSession);
        }
        Ok(Self {
            pattern: Some(pattern),
            methods,
            access,
            requirement,
            pass_authorization,
            max_body: settings.max_body.map(ByteSize::bytes),
            body_time,
        })
    }

    fn matches(&self, method: &Method, target: &Target) -> Match {
        let Some(pattern) = &self.pattern else { return Match::Full };
        let open = self.is_anonymous();
        if !self.covers(method, open) || open && !target.is_plain() {
            return Match::None;
        }
        if pattern.matches(target) {
            Match::Full
        } else if open || !pattern.matches_folded(target) {
            Match::None
        } else if self.access == Access::Deny || !self.requirement.is_empty() {
            Match::Full
        } else {
            Match::Loose
        }
    }

    /// Whether the rule is about this method. Methods have case (RFC 9110 §9.1), but an app may not
    /// know: what restricts `DELETE` restricts `delete`.
    fn covers(&self, method: &Method, exactly: bool) -> bool {
        let Some(methods) = &self.methods else { return true };
        let same = |rule: &Method, name: &str| {
            if exactly { rule == name } else { rule.as_str().eq_ignore_ascii_case(name) }
        };
        let is_head = same(&Method::HEAD, method.as_str());
        methods.iter().any(|rule| same(rule, method.as_str()) || is_head && *rule == Method::GET)
    }

    /// What happens to a request of this user, or of nobody.
    pub fn decide(&self, subject: Option<&Subject<'_>>) -> Decision {
        match (self.access, subject) {
            (Access::Deny, _) => Decision::Forbid(Denial::Denied),
            (Access::Anonymous, _) => Decision::Allow,
            (Access::SignedIn, None) => Decision::SignIn,
            (Access::SignedIn, Some(subject)) => match self.requirement.check(subject) {
                Ok(()) => Decision::Allow,
                Err(denial) => Decision::Forbid(denial),
            },
        }
    }

    /// Its path as it was written; `None` for what no rule matches.
    pub fn name(&self) -> Option<Arc<str>> {
        self.pattern.as_ref().map(Pattern::written)
    }

    /// Whether nobody needs a session here.
    pub fn is_anonymous(&self) -> bool {
        self.access == Access::Anonymous
    }

    /// Whether nobody may, so that a session need not even be opened.
    pub fn is_deny(&self) -> bool {
        self.access == Access::Deny
    }

    /// Whether the caller's own `Authorization` reaches the app, and ours does not.
    pub fn pass_authorization(&self) -> bool {
        self.pass_authorization
    }

    /// Largest request body, in bytes, where this rule says so.
    pub fn max_body(&self) -> Option<u64> {
        self.max_body
    }

    /// Longest silence of a client that sends a body, where this rule says so.
    pub fn body_time(&self) -> Option<Duration> {
        self.body_time
    }
}

impl Default for Rule {
    /// What no rule matches needs a session.
    fn default() -> Self {
        Self {
            pattern: None,
            methods: None,
            access: Access::SignedIn,
            requirement: Requirement::default(),
            pass_authorization: false,
            max_body: None,
            body_time: None,
        }
    }
}

fn methods(names: &[String]) -> Result<Vec<Method>, RuleFlaw> {
    let method = |name: &String| {
        let upper = !name.bytes().any(|byte| byte.is_ascii_lowercase());
        Method::from_bytes(name.as_bytes()).ok().filter(|_| upper).ok_or(RuleFlaw::Methods)
    };
    if names.is_empty() { Err(RuleFlaw::Methods) } else { names.iter().map(method).collect() }
}

#[cfg(test)]
mod tests;
