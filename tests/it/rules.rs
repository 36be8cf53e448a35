//! `[[rules]]`: who may open what, judged by the signed-in user, the method and the path alone.

use bytes::Bytes;
use http::Method;

use crate::support::{ALICE, Browser, FETCH, Setup, Stack};

const BOB: &str = "bob@contoso.test";
const ERIN: &str = "erin@contoso.test";
const ZOE: &str = "zoe@contoso.test";

/// Three users of known ids. Bob is in both groups, Erin in one and has both roles.
const PEOPLE: &str = r#"
    [[users]]
    name = "alice@contoso.test"
    id = "a11ce000-0000-4000-8000-000000000001"
    [[users]]
    name = "bob@contoso.test"
    id = "b0b00000-0000-4000-8000-000000000002"
    groups = ["57aff000-0000-4000-8000-00000000000a", "57aff000-0000-4000-8000-00000000000b"]
    [[users]]
    name = "erin@contoso.test"
    id = "e8100000-0000-4000-8000-000000000003"
    groups = ["57aff000-0000-4000-8000-00000000000b"]
    roles = ["Admin", "Reader"]
    [[users]]
    name = "zoe@contoso.test"
    id = "20e00000-0000-4000-8000-000000000004"
    roles = ["Reader"]
"#;

async fn people(rules: &str) -> Stack {
    Setup::default().scenario(PEOPLE).rules(rules).start().await
}

/// The statuses that each user gets for each place, as a script sees them.
async fn table(stack: &Stack, users: &[&str], places: &[(&str, &[u16])]) {
    for (column, user) in users.iter().enumerate() {
        let mut browser = stack.signed_in(user).await;
        for (place, wanted) in places {
            let before = stack.app.requests().len();
            let page = browser.fetch(Method::GET, place).await;
            assert_eq!(page.status, wanted[column], "{user} {place}");
            let reached = stack.app.requests().len() - before;
            assert_eq!(reached, usize::from(page.status == 200), "{user} {place}");
        }
    }
}

#[tokio::test]
async fn roles_groups_and_users_of_the_token_open_what_they_name_and_nothing_else() {
    let stack = people(
        r#"
        [[rules]]
        path = "/admin/*"
        roles = ["Admin"]
        [[rules]]
        path = "/read/*"
        roles = ["Nobody has this", "Reader"]
        [[rules]]
        path = "/case"
        roles = ["admin"]
        [[rules]]
        path = "/group-a"
        groups = ["57AFF000-0000-4000-8000-00000000000A"]
        [[rules]]
        path = "/group-b"
        groups = ["00000000-0000-4000-8000-000000000000", "57aff000-0000-4000-8000-00000000000b"]
        [[rules]]
        path = "/by-id"
        users = ["A11CE000-0000-4000-8000-000000000001"]
        [[rules]]
        path = "/by-name"
        users = ["Bob@Contoso.TEST", "zoe@contoso.test"]
        "#,
    )
    .await;
    table(
        &stack,
        &[ALICE, BOB, ERIN, ZOE],
        &[
            ("/admin", &[403, 403, 200, 403]),
            ("/admin/", &[403, 403, 200, 403]),
            ("/admin/a/b?c=/read", &[403, 403, 200, 403]),
            ("/administration", &[200, 200, 200, 200]),
            ("/read/x", &[403, 403, 200, 200]),
            ("/case", &[403, 403, 403, 403]),
            ("/group-a", &[403, 200, 403, 403]),
            ("/group-b", &[403, 200, 200, 403]),
            ("/by-id", &[200, 403, 403, 403]),
            ("/by-name", &[403, 200, 403, 200]),
            ("/elsewhere", &[200, 200, 200, 200]),
        ],
    )
    .await;
}

#[tokio::test]
async fn of_every_list_that_is_given_one_entry_must_match() {
    let stack = people(
        r#"
        [[rules]]
        path = "/both"
        roles = ["Reader", "Writer"]
        groups = ["57aff000-0000-4000-8000-00000000000b"]
        [[rules]]
        path = "/three"
        roles = ["Admin"]
        groups = ["57aff000-0000-4000-8000-00000000000b"]
        users = ["bob@contoso.test", "alice@contoso.test"]
        "#,
    )
    .await;
    // Zoe lacks the group, Bob the role; nobody has all three.
    table(
        &stack,
        &[ALICE, BOB, ERIN, ZOE],
        &[("/both", &[403, 403, 200, 403]), ("/three", &[403, 403, 403, 403])],
    )
    .await;
}

#[tokio::test]
async fn without_a_session_a_restricted_path_asks_for_one_and_deny_does_not() {
    let stack = people(
        r#"
        [[rules]]
        path = "/closed/*"
        access = "deny"
        [[rules]]
        path = "/admin"
        roles = ["Admin"]
        [[rules]]
        path = "/open"
        access = "anonymous"
        "#,
    )
    .await;
    let mut nobody = stack.browser();
    assert_eq!(nobody.get("/admin").await.status, 302);
    assert_eq!(nobody.fetch(Method::GET, "/admin").await.status, 401);
    for place in ["/closed", "/closed/x", "/CLOSED/x", "/closed;a=b/x"] {
        let page = nobody.get(place).await;
        assert_eq!(page.status, 403, "{place}");
        // Nobody can sign in to what is closed to all, so no sign-in begins.
        assert!(page.set_cookies().is_empty(), "{place}");
        for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS] {
            assert_eq!(nobody.fetch(method, place).await.status, 403, "{place}");
        }
    }
    assert!(stack.app.requests().is_empty());
    let mut erin = stack.signed_in(ERIN).await;
    assert_eq!(erin.get("/closed/x").await.status, 403);
    assert_eq!(erin.get("/admin").await.status, 200);
    assert_eq!(nobody.fetch(Method::GET, "/open").await.status, 200);
}

#[tokio::test]
async fn the_first_rule_that_matches_decides() {
    let stack = people(
        r#"
        [[rules]]
        path = "/a/open"
        access = "anonymous"
        [[rules]]
        path = "/a/*"
        access = "deny"
        [[rules]]
        path = "/a/late"
        access = "anonymous"
        [[rules]]
        path = "/b"
        methods = ["POST"]
        roles = ["Admin"]
        [[rules]]
        path = "/b"
        access = "anonymous"
        "#,
    )
    .await;
    let mut nobody = stack.browser();
    for (method, place, wanted) in [
        (Method::GET, "/a/open", 200),
        (Method::GET, "/a/open/more", 403),
        (Method::GET, "/a/late", 403),
        (Method::GET, "/b", 200),
        (Method::PUT, "/b", 200),
        (Method::POST, "/b", 401),
    ] {
        assert_eq!(nobody.fetch(method.clone(), place).await.status, wanted, "{method} {place}");
    }
    let mut alice = stack.signed_in(ALICE).await;
    assert_eq!(alice.fetch(Method::POST, "/b").await.status, 403);
    let mut erin = stack.signed_in(ERIN).await;
    assert_eq!(erin.fetch(Method::POST, "/b").await.status, 200);
}

#[tokio::test]
async fn methods_name_what_a_rule_is_about_and_get_covers_head() {
    let stack = people(
        r#"
        [[rules]]
        path = "/public/*"
        methods = ["GET"]
        access = "anonymous"
        [[rules]]
        path = "/reports"
        methods = ["DELETE", "PUT"]
        roles = ["Admin"]
        [[rules]]
        path = "/head-only"
        methods = ["HEAD"]
        access = "anonymous"
        "#,
    )
    .await;
    let mut nobody = stack.browser();
    for (method, place, wanted) in [
        ("GET", "/public/x", 200),
        ("HEAD", "/public/x", 200),
        ("POST", "/public/x", 401),
        ("OPTIONS", "/public/x", 401),
        ("get", "/public/x", 401),
        ("GETX", "/public/x", 401),
        ("HEAD", "/head-only", 200),
        ("GET", "/head-only", 401),
    ] {
        let named = Method::from_bytes(method.as_bytes()).unwrap();
        let page = nobody.request(named, place, FETCH, Bytes::new()).await;
        assert_eq!(page.status, wanted, "{method} {place}");
    }
    let mut alice = stack.signed_in(ALICE).await;
    for (method, wanted) in
        [("GET", 200), ("POST", 200), ("DELETE", 403), ("PUT", 403), ("delete", 403)]
    {
        let named = Method::from_bytes(method.as_bytes()).unwrap();
        let page = alice.request(named, "/reports", FETCH, Bytes::new()).await;
        assert_eq!(page.status, wanted, "{method}");
    }
    // A header that asks for another method changes nothing (B5).
    for name in
        ["x-http-method-override", "x-http-method", "x-method-override", "x-forwarded-method"]
    {
        let headers = [FETCH, &[(name, "GET")]].concat();
        let page = alice.request(Method::DELETE, "/reports", &headers, Bytes::new()).await;
        assert_eq!(page.status, 403, "{name}");
        let page = nobody.request(Method::POST, "/public/x", &headers, Bytes::new()).await;
        assert_eq!(page.status, 401, "{name}");
    }
}

#[tokio::test]
async fn b4_a_rule_that_restricts_sees_through_case_encoding_parameters_and_doubled_slashes() {
    let stack = people(
        r#"
        [[rules]]
        path = "/admin/*"
        roles = ["Admin"]
        [[rules]]
        path = "/secret.html"
        users = ["erin@contoso.test"]
        "#,
    )
    .await;
    let mut alice = stack.signed_in(ALICE).await;
    let mut erin = stack.signed_in(ERIN).await;
    for place in [
        "/ADMIN",
        "/Admin/x",
        "/adm%69n/x",
        "/%61dmin",
        "/%41DMIN/x",
        "/adm%2569n",
        "/admin;x=1/y",
        "/admin;/x",
        "/admin//x",
        "/admin/%20",
        "/admin/.css",
        "/aDmIn/",
        "/SECRET.html",
        "/secret.HTML",
        "/secret%2Ehtml",
        "/secret.html;v=1",
        "/secret.html/",
    ] {
        let before = stack.app.requests().len();
        let page = alice.request(Method::GET, place, FETCH, Bytes::new()).await;
        assert!(page.status == 403 || page.status == 400, "{place}: {}", page.status);
        assert_eq!(stack.app.requests().len(), before, "{place}");
        let page = erin.request(Method::GET, place, FETCH, Bytes::new()).await;
        if page.status == 200 {
            // What was judged is what is sent, byte for byte (B8).
            assert_eq!(stack.app.last().target(), place);
        } else {
            assert_eq!(page.status, 400, "{place}");
        }
    }
}

#[tokio::test]
async fn b3_anonymous_needs_the_very_path_that_the_rule_names() {
    let stack = people("[[rules]]\npath = \"/public/*\"\naccess = \"anonymous\"\n").await;
    let mut nobody = stack.browser();
    for place in ["/public", "/public/", "/public/a/b.css", "/public?x=/admin", "/public/a-b_c~d"] {
        assert_eq!(nobody.fetch(Method::GET, place).await.status, 200, "{place}");
    }
    let reached = stack.app.requests().len();
    for place in [
        "/Public/x",
        "/PUBLIC",
        "/publi%63/x",
        "/%70ublic",
        "/public;x",
        "/public/;x=1",
        "/public/a;b",
        "/public//x",
        "/publicity",
        "/public.html",
        "/public%20/x",
        "/public/%61dmin",
        "/public/a//b",
    ] {
        let page = nobody.fetch(Method::GET, place).await;
        assert!(page.status == 401 || page.status == 400, "{place}: {}", page.status);
    }
    assert_eq!(stack.app.requests().len(), reached);
}

#[tokio::test]
async fn somebody_who_may_not_is_offered_another_account_and_gets_in_with_it() {
    let stack = people("[[rules]]\npath = \"/admin\"\nroles = [\"Admin\"]\n").await;
    let mut browser = stack.signed_in(ALICE).await;
    let page = browser.get("/admin").await;
    assert_eq!(page.status, 403);
    assert!(page.header("cache-control").unwrap().contains("no-store"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert!(page.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let html = page.text();
    assert!(html.contains("Use another account"), "{html}");
    let href = html
        .split("href=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().replace("&amp;", "&").replace("&#x2f;", "/"))
        .find(|href| href.contains("select_account"))
        .unwrap_or_else(|| panic!("{html}"));
    let page = browser.get(&href).await;
    assert_eq!(page.status, 302);
    let mut url = page.location();
    assert!(url.query_pairs().any(|pair| pair == ("prompt".into(), "select_account".into())));
    // The picker comes although Alice is signed in at Microsoft.
    let picker = browser.get(url.as_str()).await;
    assert_eq!(picker.status, 200);
    assert!(picker.text().contains("Pick an account"));
    let tile = tile(&picker.text(), ERIN);
    url = url.join(&tile).unwrap();
    let landed = browser.navigate(url.as_str()).await;
    assert_eq!(landed.status, 200, "{}", landed.text());
    assert_eq!(browser.get("/admin").await.status, 200);
    let me = browser.fetch(Method::GET, "/.auth/me").await.json();
    assert_eq!(me[0]["user_id"], ERIN);
}

/// Where the tile of a user leads.
fn tile(html: &str, user: &str) -> String {
    let before = html.split(&format!("data-user=\"{user}\"")).next().unwrap();
    let href = before.rsplit("href=\"").next().unwrap().split('"').next().unwrap();
    href.replace("&amp;", "&").replace("&#x2f;", "/").replace("&#x3d;", "=")
}

#[tokio::test]
async fn i3_an_email_claim_is_nobodys_name_and_a_name_in_another_spelling_is_not_bob() {
    let stack = people("[[rules]]\npath = \"/b\"\nusers = [\"bob@contoso.test\"]\n").await;
    for claims in [
        serde_json::json!({ "email": "bob@contoso.test" }),
        serde_json::json!({ "upn": "bob@contoso.test" }),
        serde_json::json!({ "preferred_username": "x@bob@contoso.test" }),
        serde_json::json!({ "preferred_username": "bob@contoso.test@evil.test" }),
        serde_json::json!({ "preferred_username": "\"bob@contoso.test\"@evil.test" }),
        serde_json::json!({ "preferred_username": "bob@contoso.test " }),
        serde_json::json!({ "preferred_username": "b\u{43e}b@contoso.test" }),
        serde_json::json!({ "preferred_username": ["bob@contoso.test"] }),
        serde_json::json!({ "name": "bob@contoso.test", "preferred_username": null }),
    ] {
        stack.fault(serde_json::json!({ "endpoint": "token", "id_token_claims": claims }));
        let mut browser: Browser = stack.browser().as_user(ALICE);
        let page = browser.navigate("/b").await;
        assert_eq!(page.status, 403, "{claims}");
    }
}

#[tokio::test]
async fn i4_a_user_whose_groups_are_not_in_the_token_is_a_member_of_none() {
    let stack = Setup::default()
        .rules("[[rules]]\npath = \"/g\"\ngroups = [\"57aff000-0000-4000-8000-00000000000b\"]\n")
        .start()
        .await;
    for groups in [
        serde_json::json!({ "57aff000-0000-4000-8000-00000000000b": true }),
        serde_json::json!([["57aff000-0000-4000-8000-00000000000b"]]),
        serde_json::json!(null),
        serde_json::json!("*"),
        serde_json::json!("57aff000-0000-4000-8000-00000000000b,*"),
    ] {
        let claims = serde_json::json!({ "groups": groups });
        stack.fault(serde_json::json!({ "endpoint": "token", "id_token_claims": claims }));
        let page = stack.browser().as_user(ALICE).navigate("/g").await;
        assert!(matches!(page.status.as_u16(), 403 | 503), "{groups}: {}", page.status);
    }
}
