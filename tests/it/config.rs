//! The configuration from outside: `check` says what is in force, or what is wrong and where.

use std::path::Path;

use crate::support::{config_file, scratch_file, vestibule};

const KEY: &str = "ZWoF1h8O0WN/NwXx3/f3CmlSh2wZpzVifNTe8sZGY+k=";
const OTHER_KEY: &str = "skHC0Il3CStBRL5ULXES+Lcc96bsfSjiaW27iu2sDhg=";
const SECRET: &str = "Canary~8Q~of-the.client_secret";

const RIGHT: &str = r#"
[server]
public_url = "https://app.contoso.test"
[entra]
tenant = "contoso.onmicrosoft.com"
client_id = "00001111-aaaa-2222-bbbb-3333cccc4444"
client_secret = "Canary~8Q~of-the.client_secret"
[session]
keys = ["ZWoF1h8O0WN/NwXx3/f3CmlSh2wZpzVifNTe8sZGY+k="]
[upstream]
url = "http://127.0.0.1:8080"
"#;

async fn check(text: &str) -> crate::support::Ended {
    let file = config_file(text);
    vestibule([Path::new("check"), Path::new("--config"), &file]).ended().await
}

fn effective(ended: &crate::support::Ended) -> toml::Table {
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.stdout.parse().unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

#[tokio::test]
async fn check_prints_the_effective_configuration_with_secrets_redacted() {
    let ended = check(RIGHT).await;
    let table = effective(&ended);
    assert_eq!(table["server"]["listen"].as_str(), Some("0.0.0.0:4180"));
    assert_eq!(table["admin"]["listen"].as_str(), Some("127.0.0.1:4191"));
    assert_eq!(table["session"]["lifetime"].as_str(), Some("8h"));
    assert_eq!(table["session"]["cookie"].as_str(), Some("__Host-vestibule"));
    assert_eq!(table["entra"]["client_secret"].as_str(), Some("[redacted]"));
    assert_eq!(table["session"]["keys"].as_array().unwrap()[0].as_str(), Some("[redacted]"));
    for text in [&ended.stdout, &ended.stderr] {
        assert!(!text.contains("Canary") && !text.contains(KEY), "{text}");
    }
    // What is printed for people can be read by the program again, but for its secrets.
    let again = ended.stdout.replacen("[redacted]", SECRET, 1).replace("[redacted]", KEY);
    let again = again
        .replace(&format!("client_secret = \"{KEY}\""), &format!("client_secret = \"{SECRET}\""));
    assert_eq!(check(&again).await.code, 0, "{again}");
}

#[tokio::test]
async fn the_example_file_is_right_once_it_has_its_secrets() {
    let example =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/proxy.example.toml"))
            .unwrap();
    let text = example
        .replace("#client_secret = \"…\"", &format!("client_secret = \"{SECRET}\""))
        .replace("#keys = [\"…\"]", &format!("keys = [\"{KEY}\"]"));
    let ended = check(&text).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

/// Replaces or adds `key = value` in a section of the right configuration.
fn with(section: &str, line: &str) -> String {
    let key = line.split('=').next().unwrap().trim();
    let mut lines: Vec<&str> =
        RIGHT.lines().filter(|old| old.split('=').next().unwrap().trim() != key).collect();
    let head = format!("[{section}]");
    match lines.iter().position(|old| *old == head) {
        Some(at) => lines.insert(at + 1, line),
        None => lines.extend([head.as_str(), line]),
    }
    lines.join("\n")
}

#[tokio::test]
async fn what_is_wrong_is_told_with_file_line_key_and_what_was_expected() {
    for (section, line, words) in [
        ("server", "listn = \"0.0.0.0:1\"", "listen"),
        ("server", "workers = \"many\"", "workers"),
        ("server", "workers = -1", "workers"),
        ("server", "drain_timeout = \"30\"", "drain_timeout"),
        ("server", "drain_timeout = 30", "drain_timeout"),
        ("server", "trusted_proxies = [\"10.0.0.0/33\"]", "trusted_proxies"),
        ("server", "trusted_proxies = [\"everybody\"]", "trusted_proxies"),
        ("server", "listen = \"nowhere\"", "listen"),
        ("entra", "tenent = \"x\"", "tenant"),
        ("entra", "cloud = \"mars\"", "us-government"),
        ("entra", "response_mode = \"fragment\"", "form_post"),
        ("entra", "client_id = \"not-a-guid\"", "client_id"),
        ("entra", "scopes = \"User.Read\"", "scopes"),
        ("session", "lifetme = \"8h\"", "lifetime"),
        ("session", "lifetime = \"eight hours\"", "lifetime"),
        ("session", "cookie_budget = 0", "cookie_budget"),
        ("upstream", "url = \"127.0.0.1:8080\"", "url"),
        ("upstream", "url = \"ftp://127.0.0.1/\"", "url"),
        ("upstream", "preserve_host = \"yes\"", "preserve_host"),
        ("identity", "dialects = [\"easyauth\"]", "easy-auth"),
        ("identity", "authorization = \"basic\"", "none"),
        ("log", "level = \"loud\"", "level"),
        ("log", "format = \"xml\"", "json"),
        ("sesion", "lifetime = \"8h\"", "session"),
    ] {
        let text = with(section, line);
        let ended = check(&text).await;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (78, ""),
            "{section} {line}: {}",
            ended.stderr
        );
        assert!(ended.stderr.contains(words), "{section} {line}: {}", ended.stderr);
        let number = 1 + text.lines().position(|l| l == line).unwrap();
        let head = 1 + text.lines().position(|l| l == format!("[{section}]")).unwrap();
        let told = |n: usize| ended.stderr.contains(&format!("proxy.toml:{n}"));
        assert!(told(number) || told(head), "{section} {line} is line {number}: {}", ended.stderr);
        assert!(
            !ended.stderr.contains("Canary") && !ended.stderr.contains(KEY),
            "{}",
            ended.stderr
        );
    }
}

#[tokio::test]
async fn every_problem_is_told_at_once() {
    let text = RIGHT.replace("tenant", "tennant").replace("[upstream]", "[upstream]\nretries = 3");
    let ended = check(&text).await;
    assert_eq!(ended.code, 78);
    assert!(
        ended.stderr.contains("tennant") && ended.stderr.contains("retries"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn j5_what_cannot_be_safe_is_refused_with_the_reason() {
    let zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let short = "c2hvcnQ=";
    for (section, line, words) in [
        ("entra", "tenant = \"organizations\"", "allowed_tenants"),
        ("entra", "tenant = \"common\"", "allowed_tenants"),
        ("entra", "authority = \"http://login.contoso.test\"", "authority"),
        ("entra", "authority = \"http://127.0.0.1.evil.test\"", "authority"),
        ("entra", "client_secret_file = \"/run/secrets/x\"", "client_secret"),
        ("server", "public_url = \"http://app.contoso.test\"", "public_url"),
        ("server", "public_url = \"https://app.contoso.test/path\"", "public_url"),
        ("server", "public_url = \"https://user@app.contoso.test\"", "public_url"),
        ("server", "trusted_proxies = [\"0.0.0.0/0\"]", "trusted_proxies"),
        ("server", "trusted_proxies = [\"::/0\"]", "trusted_proxies"),
        ("server", "trusted_proxies = [\"::ffff:0:0/96\"]", "trusted_proxies"),
        ("server", "trusted_proxies = [\"0.0.0.0/1\", \"128.0.0.0/1\"]", "trusted_proxies"),
        ("session", &format!("keys = [\"{zero}\"]"), "keys"),
        ("session", &format!("keys = [\"{short}\"]"), "keys"),
        ("session", &format!("keys = [\"{KEY}\", \"{KEY}\"]"), "keys"),
        ("session", "keys = []", "keys"),
        ("session", "keys = [\"changeme\"]", "keys"),
        ("session", "cookie = \"session\"", "__Host-"),
        ("session", "cookie = \"__Secure-vestibule\"", "__Host-"),
        ("session", "cookie = \"__Host-a;b\"", "cookie"),
        ("session", "idle_timeout = \"9h\"", "idle_timeout"),
        ("session", "renew_before = \"9h\"", "renew_before"),
        ("session", "lifetime = \"0s\"", "lifetime"),
        ("identity.headers", "Authorization = \"name\"", "Authorization"),
        ("identity.headers", "Cookie = \"name\"", "Cookie"),
        ("identity.headers", "Transfer-Encoding = \"name\"", "Transfer-Encoding"),
        ("identity.headers", "\"X User\" = \"name\"", "X User"),
    ] {
        let text = with(section, line);
        let ended = check(&text).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (78, ""), "{section} {line}");
        assert!(ended.stderr.contains(words), "{section} {line}: {}", ended.stderr);
        for secret in ["Canary", KEY, zero, short, "changeme"] {
            assert!(!ended.stderr.contains(secret), "{line}: {}", ended.stderr);
        }
    }
    for rules in [
        "path = \"/a\"\nroles = []",
        "path = \"/a\"\ngroups = []",
        "path = \"/a\"\nusers = []",
        "path = \"/a\"\nmethods = []",
        "path = \"/a\"\ngroups = [\"Admins\"]",
        "path = \"/a\"\nusers = [\"bob\"]",
        "path = \"/a\"\naccess = \"open\"",
        "path = \"a\"",
        "path = \"/a*\"",
        "path = \"/*/b\"",
        "path = \"\"",
        "path = \"/a/../b\"",
        "path = \"//a\"",
        "path = \"/a?b\"",
        "access = \"deny\"",
        "path = \"/a\"\nrole = [\"x\"]",
        "path = \"/a\"\naccess = \"anonymous\"\nroles = [\"x\"]",
    ] {
        let ended = check(&format!("{RIGHT}\n[[rules]]\n{rules}\n")).await;
        assert_eq!(ended.code, 78, "{rules}");
        assert!(ended.stderr.contains("rule"), "{rules}: {}", ended.stderr);
        assert!(ended.stderr.contains("proxy.toml:"), "{rules}: {}", ended.stderr);
    }
    let names = with("entra", "tenant = \"organizations\"")
        .replace("[entra]", "[entra]\nallowed_tenants = [\"11111111-2222-3333-4444-555555555555\", \"99999999-2222-3333-4444-555555555555\"]");
    assert_eq!(check(&names).await.code, 0);
    let ended =
        check(&format!("{names}\n[[rules]]\npath = \"/a\"\nusers = [\"bob@contoso.test\"]\n"))
            .await;
    assert_eq!(ended.code, 78, "a user name of many tenants");
}

#[tokio::test]
async fn a_mistyped_secret_is_never_shown() {
    for (from, to) in [
        ("client_secret = \"Canary", "client_secrt = \"Canary"),
        ("client_secret = \"Canary~8Q~of-the.client_secret\"", "client_secret = [\"Canary~8Q\"]"),
        (
            "client_secret = \"Canary~8Q~of-the.client_secret\"",
            "client_secret = { a = \"Canary~8Q\" }",
        ),
        (
            "client_secret = \"Canary~8Q~of-the.client_secret\"",
            "client_secret = \"Canary~8Q~of-the.client_secret",
        ),
        (
            "client_secret = \"Canary~8Q~of-the.client_secret\"",
            "client_secret = Canary~8Q~of-the.client_secret",
        ),
        ("keys = [\"ZWoF", "keys = [\"Canary"),
        ("keys = [\"ZWoF", "keys = \"Canary"),
        ("keys = [\"ZWoF", "key = [\"Canary"),
    ] {
        assert!(RIGHT.contains(from));
        let ended = check(&RIGHT.replace(from, to)).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (78, ""), "{to}");
        assert!(
            !ended.stderr.contains("Canary") && !ended.stderr.contains("0WN/NwXx3/f3"),
            "{to}: {}",
            ended.stderr
        );
    }
}

#[tokio::test]
async fn the_environment_overrides_the_file_and_its_mistakes_are_named() {
    let file = config_file(RIGHT);
    let program = |name: &str, value: &str| {
        vestibule([Path::new("check"), Path::new("--config"), &file]).env(name, value)
    };
    for (name, value, section, key, wanted) in [
        (
            "VESTIBULE__ENTRA__CLIENT_ID",
            "99990000-aaaa-2222-bbbb-3333cccc4444",
            "entra",
            "client_id",
            "99990000-aaaa-2222-bbbb-3333cccc4444",
        ),
        ("VESTIBULE__SESSION__IDLE_TIMEOUT", "30m", "session", "idle_timeout", "30m"),
        ("VESTIBULE__UPSTREAM__URL", "http://127.0.0.1:9", "upstream", "url", "http://127.0.0.1:9"),
        ("VESTIBULE__LOG__LEVEL", "debug", "log", "level", "debug"),
    ] {
        let table = effective(&program(name, value).ended().await);
        assert_eq!(table[section][key].as_str().unwrap().trim_end_matches('/'), wanted, "{name}");
    }
    let table = effective(
        &program("VESTIBULE__ENTRA__SCOPES", "[\"Mail.Read\", \"User.Read\"]").ended().await,
    );
    assert_eq!(table["entra"]["scopes"].as_array().unwrap().len(), 2);
    let table = effective(&program("VESTIBULE__SERVER__WORKERS", "3").ended().await);
    assert_eq!(table["server"]["workers"].as_integer(), Some(3));
    // A key that looks like a number stays what was written.
    let secret = program("VESTIBULE__ENTRA__CLIENT_SECRET", "0123").ended().await;
    assert_eq!(effective(&secret)["entra"]["client_secret"].as_str(), Some("[redacted]"));
    for (name, value, words) in [
        ("VESTIBULE__ENTRA__CLIENT_IDD", "x", "VESTIBULE__ENTRA__CLIENT_ID"),
        ("VESTIBULE__ENTRY__CLIENT_ID", "x", "VESTIBULE__ENTRY__CLIENT_ID"),
        ("VESTIBULE__SERVER__WORKERS", "Canary", "VESTIBULE__SERVER__WORKERS"),
        ("VESTIBULE__ENTRA__SCOPES", "User.Read", "VESTIBULE__ENTRA__SCOPES"),
        ("VESTIBULE__SESSION__KEYS", "[\"Canary\"]", "keys"),
        ("VESTIBULE__ENTRA__CLIENT_SECRET_FILE", "/nonexistent/Canari", "client_secret"),
    ] {
        let ended = program(name, value).ended().await;
        assert_eq!(ended.code, 78, "{name}");
        assert!(ended.stderr.contains(words), "{name}: {}", ended.stderr);
        assert!(!ended.stderr.contains("Canary"), "{name}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn the_file_is_the_one_that_is_named_or_the_first_that_is_there() {
    let named = config_file(&RIGHT.replace("8080", "1111"));
    let variable = config_file(&RIGHT.replace("8080", "2222"));
    let local = config_file(&RIGHT.replace("8080", "3333"));
    let folder = local.parent().unwrap();
    let port = |ended: crate::support::Ended| {
        effective(&ended)["upstream"]["url"]
            .as_str()
            .unwrap()
            .trim_end_matches('/')
            .rsplit(':')
            .next()
            .unwrap()
            .to_owned()
    };
    let in_folder = || vestibule(["check"]).folder(folder);
    assert_eq!(port(in_folder().ended().await), "3333");
    assert_eq!(port(in_folder().env("VESTIBULE_CONFIG", &variable).ended().await), "2222");
    let argued = vestibule([Path::new("check"), Path::new("--config"), &named]).folder(folder);
    assert_eq!(port(argued.env("VESTIBULE_CONFIG", &variable).ended().await), "1111");
    // Nothing but the environment is enough.
    let ended = vestibule(["check"])
        .env("VESTIBULE__SERVER__PUBLIC_URL", "https://app.contoso.test")
        .env("VESTIBULE__ENTRA__TENANT", "contoso.onmicrosoft.com")
        .env("VESTIBULE__ENTRA__CLIENT_ID", "00001111-aaaa-2222-bbbb-3333cccc4444")
        .env("VESTIBULE__ENTRA__CLIENT_SECRET", SECRET)
        .env("VESTIBULE__SESSION__KEYS", format!("[\"{KEY}\"]"))
        .ended()
        .await;
    assert_eq!(
        effective(&ended)["server"]["public_url"].as_str().unwrap().trim_end_matches('/'),
        "https://app.contoso.test"
    );
}

#[tokio::test]
async fn secrets_come_from_files_and_never_from_both() {
    let secret = scratch_file("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let keys = scratch_file("keys");
    std::fs::write(&keys, format!("# newest first\n{KEY}\n\n{OTHER_KEY}\n")).unwrap();
    let text = RIGHT
        .replace(
            &format!("client_secret = \"{SECRET}\""),
            &format!("client_secret_file = {secret:?}"),
        )
        .replace(&format!("keys = [\"{KEY}\"]"), &format!("keys_file = {keys:?}"));
    let ended = check(&text).await;
    let table = effective(&ended);
    assert_eq!(table["entra"]["client_secret_file"].as_str(), secret.to_str());
    assert!(!ended.stdout.contains("Canary") && !ended.stdout.contains(KEY));
    for (more, words) in [
        (text.replace("[session]", &format!("[session]\nkeys = [\"{KEY}\"]")), "keys"),
        (text.replace("[entra]", "[entra]\nclient_secret = \"Canary2\""), "client_secret"),
    ] {
        let ended = check(&more).await;
        assert_eq!(ended.code, 78);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        assert!(!ended.stderr.contains("Canary"), "{}", ended.stderr);
    }
    for content in ["", "short\n", &format!("{KEY}\n{KEY}\n"), &format!("{KEY}\nCanary\n")] {
        std::fs::write(&keys, content).unwrap();
        let ended = check(&text).await;
        assert_eq!(ended.code, 78, "{content}");
        assert!(ended.stderr.contains("keys"), "{}", ended.stderr);
        assert!(
            !ended.stderr.contains("Canary") && !ended.stderr.contains(KEY),
            "{}",
            ended.stderr
        );
    }
    std::fs::remove_file(&keys).unwrap();
    assert_eq!(check(&text).await.code, 78, "a key file that is not there");
}
