//! Where the configuration comes from: which file, what the environment overrides, and Azure's
//! own variables as defaults. Nothing else in the program reads the environment.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    node::{Content, Layer, Node},
    problem::{ConfigError, Place, nearest},
    reading::{Findings, Reading},
    schema::Shape,
};
use crate::base::{document::Document, units::ByteSize};

/// Names the file when `--config` does not.
const FILE_VARIABLE: &str = "VESTIBULE_CONFIG";
/// Two underscores: Kubernetes itself sets `VESTIBULE_PORT` and the like for a Service of our name.
const PREFIX: &str = "VESTIBULE__";
/// Where a file is looked for, in this order.
const WELL_KNOWN: [&str; 2] = ["proxy.toml", "/etc/vestibule/proxy.toml"];
/// Far above any configuration, far below what would hurt.
const LARGEST: ByteSize = ByteSize::mib(1);

/// The variables of this process.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

/// The variables that concern us, sorted by name so that reports do not change from run to run.
#[derive(Default)]
pub(super) struct Variables {
    /// By name; `None` is not UTF-8. May hold secrets.
    ours: BTreeMap<String, Option<Zeroizing<String>>>,
    azure: BTreeMap<&'static str, String>,
    file: Option<OsString>,
}

/// Azure's variable, and the key whose default it is.
const AZURE: [(&str, &[&str]); 4] = [
    ("AZURE_CLIENT_ID", &["entra", "client_id"]),
    ("AZURE_TENANT_ID", &["entra", "tenant"]),
    ("AZURE_AUTHORITY_HOST", &["entra", "authority"]),
    ("AZURE_FEDERATED_TOKEN_FILE", &["entra", "federated_token_file"]),
];
/// Whoever gives another credential means that one, also in a pod that the webhook has mutated.
/// Beside these there is the secret itself, which is in no layer.
const OTHER_CREDENTIALS: [&str; 3] = ["client_secret_file", "certificate_file", "private_key_file"];

impl Variables {
    pub(super) fn from(environment: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut variables = Self::default();
        for (name, value) in environment {
            // A name that is not UTF-8 cannot be ours.
            let Some(name) = name.to_str() else { continue };
            if name == FILE_VARIABLE {
                variables.file = Some(value);
            } else if name.starts_with(PREFIX) {
                let text = value.into_string().ok().map(Zeroizing::new);
                variables.ours.insert(name.to_owned(), text);
            } else if let Some((known, _)) = AZURE.iter().find(|(known, _)| *known == name) {
                // The workload identity webhook leaves empty what it does not know.
                let text = value.into_string().unwrap_or_default();
                if !text.is_empty() {
                    variables.azure.insert(known, text);
                }
            }
        }
        variables
    }

    /// The names of the `VESTIBULE__…` variables.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.ours.keys().map(String::as_str)
    }

    /// What the environment overrides.
    pub(super) fn layer(&self, shape: &Shape, findings: &mut Findings) -> Layer {
        let mut layer = Layer::new("environment");
        for (name, text) in &self.ours {
            let mut reading = Reading::of_variable(name, shape, findings);
            let text = text.as_ref().map(|text| text.as_str());
            if let Some((path, node)) = read_variable(name, text, shape, &mut reading) {
                layer.set(&path.iter().map(String::as_str).collect::<Vec<_>>(), node);
            }
        }
        layer
    }

    /// What Azure's variables say where nobody else does. Returns the names that were used.
    pub(super) fn azure_layer(
        &self,
        stronger: &[&Layer],
        has_secret: bool,
    ) -> (Layer, Vec<&'static str>) {
        let mut layer = Layer::new("Azure");
        let mut used = Vec::new();
        let is_set = |path: &[&str]| stronger.iter().any(|layer| layer.find(path).is_some());
        for (name, path) in AZURE {
            let Some(text) = self.azure.get(name) else { continue };
            let ruled_out = match name {
                // An explicit cloud names its login host; the cluster's own must not overrule it.
                "AZURE_AUTHORITY_HOST" => is_set(&["entra", "cloud"]),
                "AZURE_FEDERATED_TOKEN_FILE" => {
                    has_secret || OTHER_CREDENTIALS.iter().any(|key| is_set(&["entra", key]))
                }
                _ => false,
            };
            if is_set(path) || ruled_out {
                continue;
            }
            // An origin ends in no slash, and a file does not either.
            let text = text.trim_end_matches('/').to_owned();
            let place = Place::Variable(name.to_owned());
            layer.set(path, Node { place, content: Content::Text(text) });
            used.push(name);
        }
        (layer, used)
    }

    /// The file to read, if any: the one asked for, else a well-known one that exists.
    pub(super) fn file(&self, asked: Option<&Path>) -> Option<PathBuf> {
        asked.map(Path::to_owned).or_else(|| self.file.as_ref().map(PathBuf::from)).or_else(|| {
            WELL_KNOWN.iter().map(PathBuf::from).find(|path| path.try_exists().unwrap_or(true))
        })
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").field("names", &self.ours.keys()).finish_non_exhaustive()
    }
}

/// Reads and parses a configuration file.
pub(super) fn read_file(path: &Path) -> Result<Document, ConfigError> {
    let unreadable = |source: io::Error| ConfigError::Unreadable { file: path.to_owned(), source };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > LARGEST.bytes() {
        return Err(ConfigError::TooLarge { file: path.to_owned() });
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(unreadable)?);
    Document::parse(&path.display().to_string(), &text).map_err(ConfigError::Syntax)
}

/// One variable: its path of keys and its value.
fn read_variable(
    name: &str,
    text: Option<&str>,
    shape: &Shape,
    reading: &mut Reading<'_>,
) -> Option<(Vec<String>, Node)> {
    let place = || Place::Variable(name.to_owned());
    let Some((path, shape)) = resolve(name, shape) else {
        let hint = closest(name, shape).map(|known| format!("the nearest known one is {known}"));
        reading.note(name, place(), "unknown variable".to_owned(), hint);
        return None;
    };
    let key = path.join(".");
    let Some(text) = text else {
        reading.note(&key, place(), "expected UTF-8".to_owned(), None);
        return None;
    };
    let node = match shape {
        // The field's own type reads the text: "0123" stays what it is.
        Shape::Text { .. } => reading.text(&key, text, place())?,
        Shape::Secret => {
            reading.secret(&key, text, place());
            return None;
        }
        Shape::Boolean | Shape::Integer | Shape::List(_) | Shape::Map(_) => {
            // toml_edit's own message could quote the text, which may be a secret.
            let Ok(value) = text.trim().parse::<toml_edit::Value>() else {
                let expected = format!("expected {}", shape.expectation(false));
                reading.note(&key, place(), expected, None);
                return None;
            };
            reading.item(&toml_edit::Item::Value(value), shape, &key)?
        }
        Shape::Section(_) => {
            let hint = closest(name, shape).map(|known| format!("for example {known}"));
            let message = "a section cannot be set as a whole, only its keys".to_owned();
            reading.note(&key, place(), message, hint);
            return None;
        }
    };
    Some((path, node))
}

/// `VESTIBULE__ENTRA__CLIENT_ID` → `entra.client_id` and what it takes.
fn resolve<'s>(name: &str, shape: &'s Shape) -> Option<(Vec<String>, &'s Shape)> {
    let mut path = Vec::new();
    let mut shape = shape;
    for part in name.strip_prefix(PREFIX)?.split("__") {
        let Shape::Section(known) = shape else { return None };
        let key = part.to_ascii_lowercase();
        // Keys have one spelling here, or two variables could set the same one.
        if part != part.to_ascii_uppercase() {
            return None;
        }
        shape = known.get(&key)?;
        path.push(key);
    }
    Some((path, shape))
}

fn closest(name: &str, shape: &Shape) -> Option<String> {
    let written = name.strip_prefix(PREFIX)?.to_ascii_lowercase().replace("__", ".");
    let paths = shape.whole_paths();
    nearest(&written, paths.iter().map(String::as_str))
        .map(|path| format!("{PREFIX}{}", path.to_ascii_uppercase().replace('.', "__")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::{
        super::{
            broken::{SOUND, read},
            load,
        },
        *,
    };

    const TENANT: &str = "11111111-2222-4333-8444-555555555555";

    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("vestibule-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let rules = format!("{SOUND}\n[[rules]]\npath = '/a'\n[identity.headers]\nX-A = 'oid'\n");
        let loaded = read(
            &rules,
            &[
                ("VESTIBULE__ENTRA__TENANT", TENANT),
                ("VESTIBULE__ENTRA__CLIENT_SECRET", "0123"),
                ("VESTIBULE__ENTRA__SCOPES", "['api://x/a', 'api://x/b']"),
                ("VESTIBULE__SERVER__WORKERS", "3"),
                ("VESTIBULE__SERVER__LIMITS__HEADERS", "50"),
                ("VESTIBULE__UPSTREAM__PRESERVE_HOST", "false"),
                ("VESTIBULE__IDENTITY__HEADERS", "{ X-B = 'sub' }"),
                ("VESTIBULE__RULES", "[{ path = '/b/*', access = 'anonymous' }]"),
                ("VESTIBULE__SESSION__KEYS", "['pnW3KmCqlEGNJkXHG0dLlWMW0bD5h8lQdVqSRxkL+oY=']"),
            ],
        );
        let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
        let config = loaded.config;
        assert_eq!(config.entra.tenant.as_deref(), Some(TENANT));
        assert_eq!(config.entra.client_secret.unwrap().expose(), "0123");
        assert_eq!(config.entra.scopes, ["api://x/a", "api://x/b"]);
        assert_eq!((config.server.workers, config.server.limits.headers), (3, 50));
        assert!(!config.upstream.preserve_host);
        assert_eq!(config.identity.headers.keys().collect::<Vec<_>>(), ["X-B"]);
        assert_eq!(config.rules.iter().map(|rule| &rule.path).collect::<Vec<_>>(), ["/b/*"]);
        assert_eq!(config.session.keys.len(), 1);
        assert_eq!(loaded.variables.len(), 9);
    }

    #[test]
    fn a_value_stays_text_until_its_field_reads_it() {
        let names = ["ENTRA__TENANT", "LOG__LEVEL", "UPSTREAM__URL"];
        for text in ["0123", "true", "1e5", "[]", "\"quoted\"", "2020-01-01"] {
            let env =
                names.map(|name| (OsString::from(format!("{PREFIX}{name}")), OsString::from(text)));
            let mut findings = Findings::default();
            let variables = Variables::from(env.into_iter());
            let layer = variables.layer(&Shape::of_config(), &mut findings);
            for path in [["entra", "tenant"], ["log", "level"], ["upstream", "url"]] {
                let node = layer.find(&path).unwrap();
                assert!(matches!(&node.content, Content::Text(found) if found == text), "{node:?}");
            }
            assert!(findings.problems.is_empty());
        }
    }

    #[test]
    fn variables_that_kubernetes_sets_for_a_service_of_our_name_are_not_ours() {
        let env = [
            ("VESTIBULE_PORT", "tcp://10.0.0.1:4180"),
            ("VESTIBULE_SERVICE_HOST", "10.0.0.1"),
            ("VESTIBULE_PORT_4180_TCP_PROTO", "tcp"),
            ("VESTIBULE", "x"),
            ("AZURE_SUBSCRIPTION_ID", "x"),
            ("PATH", "/bin"),
        ];
        assert!(read(SOUND, &env).unwrap().variables.is_empty());
    }

    #[test]
    fn a_variable_that_cannot_be_read_is_named_and_its_text_is_not() {
        for (name, text, expected) in [
            (
                "ENTRA__TENNANT",
                "canary",
                "unknown variable; the nearest known one is VESTIBULE__ENTRA__TENANT",
            ),
            (
                "ENTRA__TENANT__X",
                "canary",
                "unknown variable; the nearest known one is VESTIBULE__ENTRA__TENANT",
            ),
            ("RULES__0__PATH", "canary", "unknown variable"),
            (
                "entra__tenant",
                "canary",
                "unknown variable; the nearest known one is VESTIBULE__ENTRA__TENANT",
            ),
            ("SESSION__KEYS", "canary", "session.keys: expected a list, such as [\"…\"]"),
            ("SESSION__KEYS", "['canary'", "session.keys: expected a list, such as [\"…\"]"),
            ("SESSION__KEYS", "'canary'", "session.keys: expected a list, such as [\"…\"]"),
            ("SESSION__KEYS", "['canary']", "session.keys[0]: "),
            (
                "SERVER__WORKERS",
                "canary",
                "server.workers: expected a whole number, without quotes",
            ),
            ("LOG__USER", "yes", "log.user: expected true or false, without quotes"),
            ("ENTRA__CLIENT_SECRET", "", "entra.client_secret: must not be empty"),
            ("ENTRA__TENANT", "", "entra.tenant: must not be empty"),
            ("SERVER", "{}", "server: a section cannot be set as a whole, only its keys"),
            (
                "RULES",
                "[{ path = '/a', acces = 'deny' }]",
                "rules[0].acces: unknown key; the nearest known key is rules.access",
            ),
        ] {
            let name = format!("{PREFIX}{name}");
            let error = read(SOUND, &[(&name, text)]).expect_err(&name);
            let told = error.to_string();
            assert!(told.starts_with(&format!("{name}: {expected}")), "{told}");
            assert!(!told.contains("canary"), "{told}");
        }
    }

    #[test]
    fn a_variable_that_is_not_utf_8_is_refused() {
        let broken = OsString::from_vec(vec![b'a', 0xff]);
        let name = OsString::from("VESTIBULE__ENTRA__TENANT");
        let error = load(None, [(name, broken)].into_iter()).unwrap_err();
        assert!(error.to_string().contains("entra.tenant: expected UTF-8"), "{error}");
    }

    #[test]
    fn azures_variables_are_defaults_of_their_keys() {
        let azure = [
            ("AZURE_CLIENT_ID", "22222222-2222-4333-8444-555555555555"),
            ("AZURE_TENANT_ID", TENANT),
            ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/"),
        ];
        let bare = SOUND.replace("tenant =", "#").replace("client_id =", "#");
        let loaded = read(&bare, &azure).unwrap_or_else(|error| panic!("{error}"));
        let entra = loaded.config.entra;
        assert_eq!(entra.tenant.as_deref(), Some(TENANT));
        assert_eq!(entra.client_id.as_deref(), Some(azure[0].1));
        assert_eq!(entra.authority.as_deref(), Some("https://login.microsoftonline.us"));
        assert_eq!(
            loaded.variables,
            ["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST"]
        );

        let stronger = read(SOUND, &azure).unwrap();
        assert_eq!(stronger.config.entra.tenant.as_deref(), Some("contoso.onmicrosoft.com"));
        assert_eq!(stronger.variables, ["AZURE_AUTHORITY_HOST"]);

        // An empty one says nothing, and an explicit cloud names its own login host.
        let cloud = SOUND.replace("[entra]", "[entra]\ncloud = 'china'");
        let loaded = read(&cloud, &[azure[2], ("AZURE_CLIENT_ID", "")]).unwrap();
        assert_eq!(loaded.config.entra.authority, None);
    }

    #[test]
    fn a_pods_workload_identity_is_the_credential_where_no_other_is_given() {
        let token = file("token", "aaa.bbb.ccc\n");
        let path = token.to_str().unwrap();
        let azure = [("AZURE_FEDERATED_TOKEN_FILE", path)];
        let line = SOUND.lines().find(|line| line.starts_with("client_secret")).unwrap();
        let without = |instead: &str| SOUND.replace(line, instead);
        let loaded = read(&without(""), &azure).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.config.entra.federated_token_file.as_deref(), Some(token.as_path()));
        assert_eq!(loaded.variables, ["AZURE_FEDERATED_TOKEN_FILE"]);
        // Any other credential of our own is stronger.
        let secret = format!("client_secret_file = {token:?}");
        let other = file("other-token", "ddd.eee.fff");
        let own = format!("federated_token_file = {other:?}");
        for text in [SOUND, &without(&secret)] {
            let entra = read(text, &azure).unwrap_or_else(|error| panic!("{error}")).config.entra;
            assert_eq!(entra.federated_token_file, None);
        }
        let entra = read(&without(&own), &azure).unwrap().config.entra;
        assert_eq!(entra.federated_token_file.as_deref(), Some(other.as_path()));
        let by_variable = [azure[0], ("VESTIBULE__ENTRA__CLIENT_SECRET", "s3cret")];
        let entra = read(&without(""), &by_variable).unwrap().config.entra;
        assert_eq!((entra.federated_token_file, entra.client_secret.is_some()), (None, true));
        let half = format!("certificate_file = {token:?}");
        let told = read(&without(&half), &azure).unwrap_err().to_string();
        assert!(told.contains("private_key_file belong together"), "{told}");
        // It is not there: the variable is to blame.
        fs::remove_file(&token).unwrap();
        let told = read(&without(""), &azure).unwrap_err().to_string();
        let start = "AZURE_FEDERATED_TOKEN_FILE: entra.federated_token_file: expected a readable";
        assert!(told.starts_with(start), "{told}");
        fs::remove_file(&other).unwrap();
    }

    #[test]
    fn a_wrong_value_of_azures_is_tied_to_its_variable() {
        let bare = SOUND.replace("tenant =", "#");
        let told = read(&bare, &[("AZURE_TENANT_ID", "no tenant")]).unwrap_err().to_string();
        assert!(told.starts_with("AZURE_TENANT_ID: entra.tenant: "), "{told}");
    }

    #[test]
    fn the_file_is_the_one_asked_for_else_the_variables() {
        let asked = file("asked.toml", SOUND);
        let named = file("named.toml", &SOUND.replace("contoso", "fabrikam"));
        let env = || [(OsString::from(FILE_VARIABLE), named.clone().into_os_string())].into_iter();
        let loaded = load(Some(&asked), env()).unwrap();
        assert_eq!(loaded.file.as_deref(), Some(asked.as_path()));
        let loaded = load(None, env()).unwrap();
        assert_eq!(loaded.file.as_deref(), Some(named.as_path()));
        assert_eq!(loaded.config.entra.tenant.as_deref(), Some("fabrikam.onmicrosoft.com"));
        fs::remove_file(&named).unwrap();
        let error = load(None, env()).unwrap_err();
        assert!(matches!(error, ConfigError::Unreadable { .. }), "{error}");
        fs::remove_file(&asked).unwrap();
    }

    #[test]
    fn a_file_larger_than_any_configuration_is_not_read() {
        let path = file("large.toml", &"#".repeat(2 << 20));
        assert!(matches!(load(Some(&path), [].into_iter()), Err(ConfigError::TooLarge { .. })));
        fs::remove_file(&path).unwrap();
    }
}
