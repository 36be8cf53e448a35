//! Broken configurations, and exactly what is said about each.

use std::ffi::OsString;

use annotate_snippets::Renderer;

use super::{ConfigError, Document, Loaded, Variables, compose};

/// A whole configuration that is accepted. The texts of its secrets say so.
pub(super) const SOUND: &str = r#"
[server]
public_url = "https://app.contoso.test"
[entra]
tenant = "contoso.onmicrosoft.com"
client_id = "11111111-2222-4333-8444-555555555555"
client_secret = "canary-secret-1"
[session]
keys = ["3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs="]
"#;

pub(super) fn read(text: &str, env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let document = Document::parse("proxy.toml", text).map_err(ConfigError::Syntax)?;
    compose(Some("proxy.toml".into()), Some(document), &Variables::from(env))
}

/// What is said, one line for each problem; never a canary.
fn complaints(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    let error = read(text, env).expect_err("a broken configuration is refused");
    let said = error.to_string();
    for told in [&said, &error.picture(&Renderer::plain()), &format!("{error:?}")] {
        assert!(!told.contains("canary"), "a secret is told: {told}");
    }
    said.lines().map(str::to_owned).collect()
}

/// `SOUND` with lines put in front of a section's first key.
fn with(section: &str, lines: &str) -> String {
    let header = format!("[{section}]\n");
    if SOUND.contains(&header) {
        SOUND.replace(&header, &format!("{header}{lines}\n"))
    } else {
        format!("{SOUND}{header}{lines}\n")
    }
}

#[test]
fn a_sound_configuration_is_accepted() {
    let loaded = read(SOUND, &[]).unwrap();
    assert_eq!(loaded.config.entra.tenant.as_deref(), Some("contoso.onmicrosoft.com"));
    assert_eq!(loaded.config.entra.client_secret.unwrap().expose(), "canary-secret-1");
    assert_eq!(loaded.config.session.keys.len(), 1);
}

/// The only problem of a configuration, without its place.
fn only_complaint(text: &str, env: &[(&str, &str)]) -> String {
    let said = complaints(text, env);
    assert_eq!(said.len(), 1, "{said:#?}");
    said.into_iter().next().unwrap()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_wrong_value_is_named_with_its_key_and_what_was_expected() {
    for (section, line, expected) in [
        ("server", "workers = 'two'", "server.workers: expected a whole number, without quotes"),
        ("server", "workers = -1", "server.workers: expected a whole number from 0 up"),
        (
            "server",
            "workers = 99999",
            "server.workers: expected at most 1024 threads; 0 is one per CPU",
        ),
        (
            "server",
            "drain_timeout = 30",
            "server.drain_timeout: expected text in quotes, such as \"30s\"",
        ),
        (
            "server",
            "drain_timeout = '30 sec'",
            "server.drain_timeout: expected a duration such as \"500ms\", \"90s\", \"5m\", \"8h\" or \"7d\"",
        ),
        (
            "server",
            "listen = ''",
            "server.listen: must not be empty; leave the key out to get its default",
        ),
        (
            "server",
            "listen = '4180'",
            "server.listen: expected an address such as \"0.0.0.0:4180\", or \"unix:/path\"",
        ),
        (
            "server",
            "listen = 'unix:run/v.sock'",
            "server.listen: expected an address such as \"0.0.0.0:4180\", or \"unix:/path\"",
        ),
        (
            "server",
            "trusted_proxies = '10.0.0.0/8'",
            "server.trusted_proxies: expected a list, such as [\"…\"]",
        ),
        (
            "server",
            "trusted_proxies = ['0.0.0.0/0']",
            "server.trusted_proxies: 0.0.0.0/0 is more than one operator's network: everybody could forge X-Forwarded-For",
        ),
        (
            "server",
            "trusted_proxies = ['10.0.0.0/8', '::/0']",
            "server.trusted_proxies: ::/0 is more than one operator's network: everybody could forge X-Forwarded-For",
        ),
        ("server", "limits = 5", "server.limits: expected a section with keys of its own"),
        (
            "server.limits",
            "connections = 0",
            "server.limits.connections: must be more than 0: every limit is in force",
        ),
        (
            "server.limits",
            "header_bytes = '64KB'",
            "server.limits.header_bytes: expected a size such as \"4096\", \"64KiB\", \"8MiB\" or \"1GiB\"",
        ),
        (
            "server.limits",
            "header_bytes = '1KiB'",
            "server.limits.header_bytes: expected 16KiB to 1MiB",
        ),
        (
            "server.limits",
            "streams = 0",
            "server.limits.streams: must be more than 0: every limit is in force",
        ),
        (
            "server.tls",
            "certificate_file = '/nonexistent'",
            "server.tls.certificate_file: certificate_file and private_key_file belong together",
        ),
        (
            "server.tls",
            "private_key_file = '/dev/null'\ncertificate_file = '/nonexistent'",
            "server.tls.certificate_file: cannot read /nonexistent: I/O error: No such file or directory (os error 2)",
        ),
        (
            "admin",
            "listen = 'unix:/run/admin.sock'",
            "admin.listen: expected an address such as \"127.0.0.1:4191\"",
        ),
        (
            "admin",
            "listen = '0.0.0.0:4180'",
            "admin.listen: must not be server.listen: probes and metrics are never public",
        ),
        (
            "entra",
            "cloud = 'germany'",
            "entra.cloud: expected \"public\", \"us-government\" or \"china\"",
        ),
        (
            "entra",
            "cloud = 'Public'",
            "entra.cloud: expected \"public\", \"us-government\" or \"china\"; the nearest is \"public\"",
        ),
        ("entra", "scopes = 'User.Read'", "entra.scopes: expected a list, such as [\"…\"]"),
        ("entra", "scopes = ['User.Read', 5]", "entra.scopes[1]: expected text in quotes"),
        (
            "session",
            "cookie = 'vestibule'",
            "session.cookie: must begin with __Host-, or any sibling domain could set it; for example \"__Host-vestibule\"",
        ),
        (
            "session",
            "cookie = '__Host-a b'",
            "session.cookie: expected letters, digits and - or _ after __Host-",
        ),
        ("session", "cookie_budget = 0", "session.cookie_budget: expected 1 to 8 cookies"),
        (
            "session",
            "lifetime = '0s'",
            "session.lifetime: must be longer than nothing: no session would live",
        ),
        (
            "session",
            "idle_timeout = '9h'",
            "session.idle_timeout: must not be longer than lifetime, 8h",
        ),
        (
            "session",
            "renew_before = '9h'",
            "session.renew_before: must not be longer than lifetime, 8h",
        ),
        (
            "session",
            "keys_file = '/nonexistent'",
            "session.keys_file: give either keys or keys_file, not both",
        ),
        (
            "upstream",
            "url = 'http://user:canary@app'",
            "upstream.url: expected \"http://host:port\", \"https://host:port\" or \"unix:/path\", without a path, a user or a query: what is forwarded is the browser's own path",
        ),
        (
            "upstream",
            "connect_timeout = '0s'",
            "upstream.connect_timeout: must be more than 0: it is always in force",
        ),
        (
            "upstream",
            "url = 'https://app'\nca_file = '/nonexistent'",
            "upstream.ca_file: cannot read /nonexistent: I/O error: No such file or directory (os error 2)",
        ),
        (
            "upstream",
            "url = 'https://app'\nprivate_key_file = '/nonexistent'",
            "upstream.private_key_file: certificate_file and private_key_file belong together",
        ),
        (
            "upstream",
            "preserve_host = 'yes'",
            "upstream.preserve_host: expected true or false, without quotes",
        ),
        (
            "identity",
            "dialects = ['easy-auth', 'easyauth']",
            "identity.dialects[1]: expected \"easy-auth\" or \"oauth2-proxy\"; the nearest is \"easy-auth\"",
        ),
        (
            "identity",
            "headers = ['X-User']",
            "identity.headers: expected a table, such as { \"X-User\" = \"preferred_username\" }",
        ),
        (
            "identity",
            "headers = { 'X-User' = 5 }",
            "identity.headers.X-User: expected text in quotes",
        ),
        (
            "log",
            "level = 'loud'",
            "log.level: expected error, warn, info, debug, trace or off, or such levels per module as in \"info,vestibule::entra=debug\"",
        ),
        (
            "rules",
            "path = '/x'",
            "rules: expected a list of tables: write the name in double brackets, [[…]]",
        ),
    ] {
        let text = with(section, line);
        let said = only_complaint(&text, &[]);
        let (place, said) = said.split_once(": ").unwrap();
        assert_eq!(said, expected, "{line}");
        let (line_number, wanted) = text
            .lines()
            .enumerate()
            .find(|(_, text)| {
                line.ends_with(*text) && !text.is_empty()
                    || (section == "rules" && *text == "[rules]")
            })
            .unwrap();
        assert!(place.starts_with(&format!("proxy.toml:{}:", line_number + 1)), "{place} {wanted}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    for (section, line, expected) in [
        (
            "server",
            "publik_url = 'x'",
            "server.publik_url: unknown key; the nearest known key is server.public_url",
        ),
        (
            "server",
            "client_id = 'x'",
            "server.client_id: unknown key; the nearest known key is entra.client_id",
        ),
        (
            "server.limits",
            "connection = 1",
            "server.limits.connection: unknown key; the nearest known key is server.limits.connections",
        ),
        (
            "entra",
            "client-secret = 'canary'",
            "entra.client-secret: unknown key; the nearest known key is entra.client_secret",
        ),
        ("sesion", "lifetime = '8h'", "sesion: unknown key; the nearest known key is session"),
        (
            "session",
            "redis_uri = 'redis://canary@host'",
            "session.redis_uri: unknown key; the nearest known key is session.redis_url",
        ),
        ("nonsense", "canary = 1", "nonsense: unknown key"),
        ("\"odd.name\"", "x = 1", "\"odd.name\": unknown key"),
    ] {
        let said = only_complaint(&with(section, line), &[]);
        assert!(said.contains(&format!(": {expected}")), "{line}: {said}");
    }
    let said = complaints(&format!("{SOUND}\n[[rules]]\npath = '/a'\nmetods = ['GET']\n"), &[]);
    assert!(
        said[0].ends_with("rules[0].metods: unknown key; the nearest known key is rules.methods")
    );
}

#[test]
fn what_is_missing_is_named_once_and_with_an_example() {
    let said = complaints("", &[]);
    let keys: Vec<&str> = said.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        keys,
        [
            "server.public_url",
            "entra.tenant",
            "entra.client_id",
            "entra.client_secret",
            "session.keys"
        ]
    );
    assert!(said.iter().all(|line| line.contains("for example")), "{said:#?}");
    // Whoever misspelt a key is not told that it is missing, too.
    let said = only_complaint(&SOUND.replace("tenant =", "tenantt ="), &[]);
    assert!(said.contains("entra.tenantt: unknown key"), "{said}");
    let said = only_complaint(&SOUND.replace("[session]", "[sesion]"), &[]);
    assert!(said.contains("sesion: unknown key"), "{said}");
}

#[test]
fn all_problems_are_told_in_one_run_in_the_order_of_the_file() {
    let text = r#"
[server]
public_url = "http://app.contoso.test"
[entra]
tenant = "organizations"
client_id = "me"
client_secret = 12345
client_secret_file = "/nonexistent"
[[rules]]
path = "/a"
access = "anonymus"
pass_authorization = "no"
[[rules]]
methods = ["GET"]
[[rules]]
path = "/c"
access = "nobody"
[identity]
dialects = ["one", "easy-auth", "two"]
"#;
    let said = complaints(text, &[("VESTIBULE__LOG__USER", "maybe")]);
    let start = |line: &String| line.split(": ").take(2).collect::<Vec<_>>().join(" ");
    let starts: Vec<String> = said.iter().map(start).collect();
    assert_eq!(
        starts,
        [
            "proxy.toml:3:14 server.public_url",
            "proxy.toml:4:1 entra.allowed_tenants",
            "proxy.toml:6:13 entra.client_id",
            "proxy.toml:7:17 entra.client_secret",
            "proxy.toml:8:22 entra.client_secret_file",
            "proxy.toml:11:10 rules[0].access",
            "proxy.toml:12:22 rules[0].pass_authorization",
            "proxy.toml:13:1 rules[1]",
            "proxy.toml:17:10 rules[2].access",
            "proxy.toml:19:13 identity.dialects[0]",
            "proxy.toml:19:33 identity.dialects[2]",
            "VESTIBULE__LOG__USER log.user",
            "session.keys session keys are needed",
        ],
        "{said:#?}"
    );
}

#[test]
fn every_wrong_rule_and_header_is_named() {
    let text = format!(
        "{SOUND}
[identity.headers]
Cookie = 'oid'
'X User' = 'oid'
X-User = 'oid'
X_User = 'sub'
[[rules]]
path = 'no slash'
[[rules]]
path = '/a'
access = 'nobody'
[[rules]]
methods = ['GET']
[[rules]]
path = '/b/*'
roles = []
[[rules]]
path = '/c'
access = 'deny'
users = ['alice@contoso.test']
[[rules]]
path = '/d'
groups = ['Admins']
"
    );
    let said = complaints(&text, &[]);
    let keys: Vec<&str> = said.iter().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(
        keys,
        [
            "identity.headers.Cookie",
            "identity.headers.\"X User\"",
            "identity.headers.X_User",
            "rules[0].path",
            "rules[1].access",
            "rules[2]",
            "rules[3].roles",
            "rules[4].access",
            "rules[5].groups",
        ],
        "{said:#?}"
    );
    let rule = "[[rules]]\npath = '/a'\nusers = ['alice@contoso.test']\n";
    read(&format!("{SOUND}{rule}"), &[]).unwrap();
    let multi = SOUND.replace("\"contoso.onmicrosoft.com\"", "'organizations'\nallowed_tenants = ['11111111-2222-4333-8444-555555555555', '21111111-2222-4333-8444-555555555555']");
    let said = only_complaint(&format!("{multi}{rule}"), &[]);
    assert!(
        said.contains("rules[0].users: user names are accepted with a single tenant alone"),
        "{said}"
    );
}

#[test]
fn a_redis_that_cannot_be_used_is_refused_and_its_password_never_shown() {
    for (lines, expected) in [
        (
            "store = 'redis'",
            "session.redis_url: is needed with store = \"redis\"; for example redis_url_file = \"/run/secrets/redis-url\"",
        ),
        (
            "redis_url = 'redis://:canary@cache'",
            "session.redis_url: does nothing without store = \"redis\"",
        ),
        (
            "redis_url_file = '/run/redis-url'",
            "session.redis_url_file: does nothing without store = \"redis\"",
        ),
        (
            "store = 'redis'\nredis_url = 'redis://:canary@cache'\nredis_url_file = '/run/x'",
            "session.redis_url_file: give either redis_url or redis_url_file, not both",
        ),
        (
            "store = 'redis'\nredis_url = 'http://:canary@cache'",
            "session.redis_url: expected redis://, rediss://, redis+cluster://, rediss+cluster://, redis+sentinel:// or rediss+sentinel://",
        ),
        (
            "store = 'redis'\nredis_url = 'redis://:can%ary@cache'",
            "session.redis_url: the user or the password has characters that must be percent-encoded",
        ),
        (
            "store = 'redis'\nredis_url_file = '/nowhere/redis-url'",
            "session.redis_url_file: cannot read /nowhere/redis-url: No such file or directory",
        ),
        ("store = 'memory'", "session.store: expected \"cookie\" or \"redis\""),
    ] {
        let said = only_complaint(&with("session", lines), &[]);
        assert!(said.contains(&format!(": {expected}")), "{lines}: {said}");
    }
    let env = [("VESTIBULE__SESSION__REDIS_URL", "redis://:canary@cache,other")];
    let said = only_complaint(&with("session", "store = 'redis'"), &env);
    assert!(said.contains("several hosts are a redis+cluster://"), "{said}");

    let url = "store = 'redis'\nredis_url = 'rediss+cluster://app:canary@a:7000,b:7000'";
    let sound = read(&with("session", url), &[]).unwrap();
    assert!(sound.config.session.redis().unwrap().is_some());
    assert!(!sound.to_toml().unwrap().contains("canary"));
}

#[test]
fn a_session_key_that_is_not_random_is_refused_by_its_place_and_never_shown() {
    for key in [
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "QUJDREVGR0hBQkNERUZHSEFCQ0RFRkdIQUJDREVGR0g=",
        "canary",
        "c2hvcnQ=",
        "change-me-canary",
    ] {
        let text = SOUND.replace("keys = [", &format!("keys = [\"{key}\", "));
        let error = read(&text, &[]).unwrap_err();
        for told in [error.to_string(), error.picture(&Renderer::plain())] {
            assert!(told.contains("session.keys[0]: ") && !told.contains(key), "{told}");
        }
    }
    let twice =
        SOUND.replace("keys = [", "keys = [\"3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=\", ");
    assert!(only_complaint(&twice, &[]).contains("session.keys: two session keys are the same"));
}

#[test]
fn a_picture_shows_the_line_with_its_secret_hidden() {
    let text = "session = { cookie = 'x', keys = ['canary'], colour = 'canary' }\n";
    let picture = read(text, &[]).unwrap_err().picture(&Renderer::plain());
    let hidden = "1 | session = { cookie = 'x', keys = **********, colour = ******** }";
    assert!(picture.contains(hidden), "{picture}");
    assert!(
        picture.contains("proxy.toml:1:22") && picture.contains("proxy.toml:1:46"),
        "{picture}"
    );
}

#[test]
fn what_is_not_toml_is_refused_by_its_line_and_not_quoted() {
    for (broken, place) in [
        ("[entra]\nclient_secret = \"canary\nx = 1\n", "2:"),
        ("[session]\nkeys = [\"canary\n", "2:"),
        ("client_secret = canary\n", "1:"),
        ("client_secret = 'canary'\nclient_secret = 'canary'\n", "2:"),
    ] {
        let error = read(broken, &[]).unwrap_err();
        for told in [error.to_string(), error.picture(&Renderer::plain()), format!("{error:?}")] {
            assert!(!told.contains("canary"), "{told}");
        }
        assert!(error.to_string().starts_with(&format!("proxy.toml:{place}")), "{error}");
    }
}
