//! The configuration: one `Settings` per room, composed from a file, the environment and Azure's
//! own variables. All problems are found in one run, and what cannot be safe is refused.

mod effective;
mod extract;
mod node;
mod problem;
mod reading;
mod refusal;
mod schema;
mod source;
mod sources;
mod warning;

#[cfg(test)]
mod broken;
#[cfg(test)]
mod example;
#[cfg(test)]
mod mutations;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    extract::extract,
    problem::Place,
    reading::{Findings, Reading},
    schema::Shape,
    sources::Variables,
};
pub use self::{
    problem::{ConfigError, Problems},
    schema::json_schema,
    source::{Snapshot, Source, files_of},
    sources::environment,
    warning::Warning,
};
use crate::{
    admin,
    base::{document::Document, secret::Secret, telemetry},
    entra, identity, rules, server, session, upstream,
};

/// Below it the workload identity webhook mounts the token; where exactly differs between releases.
const WEBHOOK_FOLDER: &str = "/var/run/secrets/azure";

/// Everything that `proxy.toml` says, one field per section.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who connects to us, and under which name browsers know us.
    pub server: server::Settings,
    /// The port for probes, metrics and draining; never the public one.
    pub admin: admin::Settings,
    /// Microsoft Entra ID: the tenant, the app registration and its credential.
    pub entra: entra::Settings,
    /// The session cookie.
    pub session: session::Settings,
    /// The app behind us.
    pub upstream: upstream::Settings,
    /// What the app is told about the user.
    pub identity: identity::Settings,
    /// What is logged.
    pub log: telemetry::Settings,
    /// What each path demands; the first match wins, no match means signed-in.
    pub rules: Vec<rules::RuleSettings>,
}

/// A configuration that may be used, and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// The environment variables that were used, by name.
    pub variables: Vec<String>,
}

/// Reads the configuration: `file`, else `$VESTIBULE_CONFIG`, else `./proxy.toml`, else
/// `/etc/vestibule/proxy.toml`, else no file; then what `env` overrides.
///
/// # Errors
/// See [`ConfigError`]; every problem is in it, not only the first.
pub fn load(
    file: Option<&Path>,
    env: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    let variables = Variables::from(env);
    let file = variables.file(file);
    let document = file.as_deref().map(sources::read_file).transpose()?;
    compose(file, document, &variables)
}

/// Reads the configuration `file` of a proxy that will run elsewhere, in a pod: the files that it
/// names are not here, nor are the variables that the workload identity webhook sets there.
///
/// # Errors
/// As [`load`].
pub fn load_for_elsewhere(file: &Path) -> Result<Loaded, ConfigError> {
    let document = sources::read_file(file)?;
    compose_for(Machine::Another, Some(file.to_owned()), Some(document), &Variables::default())
}

/// Where the configuration will be used.
#[derive(Clone, Copy, PartialEq)]
enum Machine {
    This,
    Another,
}

fn compose(
    file: Option<PathBuf>,
    document: Option<Document>,
    variables: &Variables,
) -> Result<Loaded, ConfigError> {
    compose_for(Machine::This, file, document, variables)
}

fn compose_for(
    machine: Machine,
    file: Option<PathBuf>,
    document: Option<Document>,
    variables: &Variables,
) -> Result<Loaded, ConfigError> {
    let shape = Shape::of_config();
    let mut found = Findings::default();
    let over = variables.layer(&shape, &mut found);
    let overridden: Vec<String> = found.secrets.iter().map(|secret| secret.key.clone()).collect();
    let mut under = node::Layer::new("file");
    if let Some(document) = &document {
        let mut in_file = Findings::default();
        under.root = Reading::of_file(&shape, &mut in_file).document(document.table());
        in_file.secrets.retain(|secret| !overridden.contains(&secret.key));
        found.append(in_file);
    }
    // What a stronger source sets is gone from the file: figment would mix the entries of a table.
    for path in shape.whole_paths() {
        let path: Vec<&str> = path.split('.').collect();
        if over.find(&path).is_some() {
            under.remove(&path);
        }
    }
    let has_secret = found.secrets.iter().any(|secret| secret.key == "entra.client_secret");
    let (azure, azure_names) = variables.azure_layer(&[&over, &under], has_secret);

    let mut layers = [azure, under, over];
    let mut config = extract(&mut layers, &mut found.problems);
    let secret_places: Vec<(String, Place)> =
        found.secrets.iter().map(|secret| (secret.key.clone(), secret.place.clone())).collect();
    for secret in std::mem::take(&mut found.secrets) {
        config.place_secret(&secret.key, Secret::from(secret.text));
    }
    refusal::refuse(&config, &layers, &secret_places, &mut found);
    if machine == Machine::Another {
        let federated = config.takes_federated_token();
        let contradicts = config.entra.credentials_named().len() > 1;
        let is_elsewhere = |key: &str| {
            let by_webhook = ["entra.client_secret", "entra.client_id", "entra.tenant"];
            let by_content = key.ends_with("_file") && !(contradicts && key.starts_with("entra."));
            by_content || federated && by_webhook.contains(&key)
        };
        found.problems.retain(|problem| !is_elsewhere(&problem.key));
    }

    if !found.problems.is_empty() {
        let problems = Problems::new(document, found.problems, found.hidden);
        return Err(ConfigError::Problems(Box::new(problems)));
    }
    let azure_names = azure_names.into_iter().map(str::to_owned);
    let variables = variables.names().map(str::to_owned).chain(azure_names).collect();
    Ok(Loaded { config, file, variables })
}

impl Config {
    /// Whether workload identity has to give the credential: none is named, or the file that the
    /// webhook mounts. A token that is mounted elsewhere comes without the webhook.
    pub fn takes_federated_token(&self) -> bool {
        match &self.entra.federated_token_file {
            Some(file) => file.starts_with(WEBHOOK_FOLDER),
            None => self.entra.credentials_named().is_empty(),
        }
    }

    /// Puts a secret where it belongs; false where no key of that name takes one.
    fn place_secret(&mut self, key: &str, secret: Secret) -> bool {
        match key {
            "entra.client_secret" => self.entra.client_secret = Some(secret),
            "session.keys" => self.session.keys.push(secret),
            "session.redis_url" => self.session.redis_url = Some(secret),
            _ => return false,
        }
        true
    }
}
