//! Rules as an operator writes them, held against requests.

use super::*;

const FINANCE: &str = "bbbbbbbb-0000-0000-0000-00000000000b";

fn rules(toml: &str) -> Result<Rules, RuleError> {
    #[derive(Deserialize)]
    struct Document {
        rules: Vec<RuleSettings>,
    }
    let document: Document = toml::from_str(toml).unwrap();
    Rules::build(document.rules, true)
}

/// The path of the rule that decides; `-` for the default.
fn decider(rules: &Rules, method: &str, path: &str) -> String {
    let method = method.parse().unwrap();
    let target = Target::parse(&method, &path.parse().unwrap()).unwrap();
    rules
        .first_match(&method, &target)
        .name()
        .map_or_else(|| "-".to_owned(), |name| name.to_string())
}

fn decide(rules: &Rules, path: &str, subject: Option<&Subject<'_>>) -> Decision {
    let target = Target::parse(&Method::GET, &path.parse().unwrap()).unwrap();
    rules.first_match(&Method::GET, &target).decide(subject)
}

fn somebody() -> Subject<'static> {
    Subject { object_id: "x", user_name: None, roles: &[], groups: &[] }
}

#[test]
fn what_no_rule_matches_needs_a_session() {
    let none = Rules::build(Vec::new(), true).unwrap();
    assert_eq!(decider(&none, "GET", "/"), "-");
    assert_eq!(decide(&none, "/x", None), Decision::SignIn);
    assert_eq!(decide(&none, "/x", Some(&somebody())), Decision::Allow);
}

#[test]
fn the_first_match_wins() {
    let rules = rules(
        r#"
        rules = [
            { path = "/a/open", access = "anonymous" },
            { path = "/a/*", access = "deny" },
            { path = "/a/late", access = "anonymous" },
            { path = "/b/*", roles = ["Admin"] },
            { path = "/b/*" },
        ]"#,
    )
    .unwrap();
    assert_eq!(decide(&rules, "/a/open", None), Decision::Allow);
    for path in ["/a", "/a/late", "/a/open/x", "/a/open/", "/A/OPEN"] {
        assert_eq!(decide(&rules, path, None), Decision::Forbid(Denial::Denied), "{path}");
        let denied = Decision::Forbid(Denial::Denied);
        assert_eq!(decide(&rules, path, Some(&somebody())), denied, "{path}");
    }
    assert_eq!(decide(&rules, "/b/c", None), Decision::SignIn);
    assert_eq!(decide(&rules, "/b/c", Some(&somebody())), Decision::Forbid(Denial::Role));
}

#[test]
fn a_path_in_disguise_is_never_anonymous() {
    let rules = rules(r#"rules = [{ path = "/public/*", access = "anonymous" }]"#).unwrap();
    assert_eq!(decide(&rules, "/public/a?b=/admin", None), Decision::Allow);
    for path in [
        "/Public/a",
        "/PUBLIC",
        "/%70ublic",
        "/public//a",
        "/public/;x/a",
        "/public;x",
        "/publicity",
        "/a?x=/public",
        "/public%3fx",
        "/public/%2541",
        "/public/%EF%BC%8Fa",
        "/admin/public",
    ] {
        assert_eq!(decide(&rules, path, None), Decision::SignIn, "{path}");
    }
}

#[test]
fn a_restriction_holds_for_an_app_that_ignores_case_and_encoding() {
    let rules = rules(
        r#"
        rules = [
            { path = "/admin/*", access = "deny" },
            { path = "/reports/*", groups = ["bbbbbbbb-0000-0000-0000-00000000000b"] },
            { path = "/members/*" },
            { path = "/*", access = "anonymous" },
        ]"#,
    )
    .unwrap();
    for path in ["/ADMIN/x", "/adm%69n", "/admin;x/y", "/;a/admin", "/admin/"] {
        assert_eq!(decide(&rules, path, None), Decision::Forbid(Denial::Denied), "{path}");
    }
    for path in ["/Reports", "/reports;x", "/r%65ports/", "/reports/%2541"] {
        assert_eq!(decide(&rules, path, None), Decision::SignIn, "{path}");
        let denial = decide(&rules, path, Some(&somebody()));
        assert_eq!(denial, Decision::Forbid(Denial::Group), "{path}");
    }
    for path in ["/Members/x", "/MEMBERS", "/members"] {
        assert_eq!(decider(&rules, "GET", path), "/members/*", "{path}");
        assert_eq!(decide(&rules, path, None), Decision::SignIn, "{path}");
    }
    assert_eq!(decide(&rules, "/elsewhere", None), Decision::Allow);
}

#[test]
fn a_loose_match_never_shields_a_path_from_a_stricter_rule() {
    let rules = rules(
        r#"
        rules = [
            { path = "/Public/*" },
            { path = "/public/*", access = "deny" },
            { path = "/*", access = "anonymous" },
        ]"#,
    )
    .unwrap();
    assert_eq!(decide(&rules, "/public/x", Some(&somebody())), Decision::Forbid(Denial::Denied));
    assert_eq!(decide(&rules, "/Public/x", Some(&somebody())), Decision::Allow);
}

#[test]
fn methods_select_and_get_covers_head() {
    let rules = rules(
        r#"
        rules = [
            { path = "/a", methods = ["DELETE"], access = "deny" },
            { path = "/a", methods = ["GET"], access = "anonymous" },
            { path = "/b", methods = ["HEAD"], access = "anonymous" },
            { path = "/c", methods = ["GET"], access = "deny" },
        ]"#,
    )
    .unwrap();
    let access = |method: &str, path: &str| {
        let method: Method = method.parse().unwrap();
        let target = Target::parse(&method, &path.parse().unwrap()).unwrap();
        rules.first_match(&method, &target).access
    };
    assert_eq!(access("GET", "/a"), Access::Anonymous);
    assert_eq!(access("HEAD", "/a"), Access::Anonymous);
    assert_eq!(access("POST", "/a"), Access::SignedIn);
    assert_eq!(access("DELETE", "/a"), Access::Deny);
    assert_eq!(access("HEAD", "/b"), Access::Anonymous);
    assert_eq!(access("GET", "/b"), Access::SignedIn);
    // An app that ignores the case of methods must not be reached by another spelling.
    assert_eq!(access("delete", "/a"), Access::Deny);
    assert_eq!(access("get", "/a"), Access::SignedIn);
    assert_eq!(access("head", "/c"), Access::Deny);
}

#[test]
fn a_rule_that_cannot_mean_anything_is_refused() {
    for (rule, key) in [
        (r#"path = "admin""#, "path"),
        (r#"path = "/a", methods = []"#, "methods"),
        (r#"path = "/a", methods = ["get"]"#, "methods"),
        (r#"path = "/a", methods = ["G T"]"#, "methods"),
        (r#"path = "/a", roles = []"#, "roles"),
        (r#"path = "/a", groups = []"#, "groups"),
        (r#"path = "/a", groups = ["Finance"]"#, "groups"),
        (r#"path = "/a", users = []"#, "users"),
        (r#"path = "/a", users = ["kim"]"#, "users"),
        (r#"path = "/a", access = "anonymous", roles = ["x"]"#, "access"),
        (r#"path = "/a", access = "deny", users = ["a@b"]"#, "access"),
    ] {
        let error = rules(&format!("rules = [{{ path = \"/ok\" }}, {{ {rule} }}]")).unwrap_err();
        assert_eq!((error.number, error.flaw.key()), (2, key), "{rule}");
    }
}

#[test]
fn unknown_keys_and_words_are_refused() {
    for rule in [
        r#"path = "/a", acess = "deny""#,
        r#"path = "/a", access = "allow""#,
        r#"path = "/a", scopes = ["x"]"#,
        r#"access = "deny""#,
    ] {
        assert!(toml::from_str::<RuleSettings>(&rule.replace(", ", "\n")).is_err(), "{rule}");
    }
}

#[test]
fn sessions_learn_which_groups_matter() {
    let rules = rules(&format!(
        "rules = [{{ path = \"/a\", groups = [\"{}\"] }}, {{ path = \"/b\", groups = [\"{FINANCE}\"] }}]",
        FINANCE.to_uppercase()
    ))
    .unwrap();
    assert_eq!(rules.group_ids_named().into_iter().collect::<Vec<_>>(), [FINANCE]);
}
