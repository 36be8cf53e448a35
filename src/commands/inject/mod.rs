//! `vestibule inject` and `uninject`: manifests in, manifests out, the report to stderr. Reads the
//! configuration, so that `kubernetes` need not know it.

mod agreement;

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use super::{Exit, Failure, print, tell};
use crate::{
    config::{self, Config},
    kubernetes::{self, Form, Options, Outcome, Public, Refusal, SidecarMode, Source},
    request::PublicUrl,
    sign_in::CALLBACK,
};

/// Larger than any manifest that a cluster takes (etcd stops at 1.5 MiB), many times over.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Put the proxy into manifests.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  vestibule inject --config proxy.toml app.yaml | kubectl apply -f -\n\nThe manifests go to stdout, the report to stderr. What is not ours passes byte for byte; whatever\nwould need a guess is refused with file, document and line (exit 1, nothing on stdout).\nAnnotations of a workload beat the options: vestibule/inject, vestibule/config,\nvestibule/upstream-port, vestibule/skip-probes."
)]
pub(super) struct Inject {
    /// Files of manifests, YAML or JSON; `-` is standard input.
    #[arg(value_name = "FILE", required_unless_present = "emit")]
    files: Vec<PathBuf>,
    #[arg(
        long,
        value_name = "FILE",
        help = "The proxy's configuration: public_url for the probes, the app's port, drain_timeout"
    )]
    config: Option<PathBuf>,
    /// Compare manifests and configuration first: app port, loopback, listen port, a rule for the
    /// probe.
    #[arg(long, requires = "config")]
    check: bool,
    /// Print the sidecar itself in this form, without any manifests.
    #[arg(long, value_name = "FORM", conflicts_with_all = ["files", "check"])]
    emit: Option<EmitForm>,
    /// The proxy's image.
    #[arg(long, value_name = "IMAGE", default_value = concat!("vestibule:", env!("CARGO_PKG_VERSION")))]
    image: String,
    /// A native sidecar (Kubernetes 1.29) or a plain container.
    #[arg(long, value_name = "MODE", default_value = "native")]
    sidecar_mode: Mode,
    #[arg(
        long,
        value_name = "NAME",
        default_value = "vestibule",
        help = "The ConfigMap that holds proxy.toml"
    )]
    config_map: String,
    #[arg(
        long,
        value_name = "NAME",
        help = "The Secret with the files that proxy.toml names [default: called like the ConfigMap]"
    )]
    secret: Option<String>,
    /// The port that the app listens on [default: that of upstream.url, else the declared one].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    upstream_port: Option<u16>,
    /// How browsers see the app, where no configuration says it.
    #[arg(long, value_name = "URL", conflicts_with = "config", value_parser = PublicUrl::parse)]
    public_url: Option<PublicUrl>,
    /// Leave the app's probes alone.
    #[arg(long)]
    skip_probes: bool,
    #[arg(long, help = "Add no NetworkPolicy")]
    no_network_policy: bool,
    /// The namespace that may read the proxy's metrics.
    #[arg(long, value_name = "NAME", default_value = "monitoring")]
    monitoring_namespace: String,
}

/// Take the proxy out of manifests.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  vestibule uninject injected.yaml > app.yaml")]
pub(super) struct Uninject {
    /// Files of manifests, YAML or JSON; `-` is standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Native,
    Container,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EmitForm {
    Container,
    Kustomize,
    HelmValues,
}

/// Why no manifests come out.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file that cannot be read.
    #[error("cannot read {file}")]
    Read {
        /// Its name.
        file: String,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// Larger than any manifest.
    #[error("{0} is larger than any manifest")]
    TooLarge(String),
    /// UTF-16, or no text at all.
    #[error("{0} is not UTF-8")]
    NotUtf8(String),
    /// Something would have to be guessed.
    #[error("{0}")]
    Refused(Refusal),
    /// The configuration says something else than the manifests.
    #[error("the configuration does not fit the manifests:{}", list(.0))]
    Disagreement(Vec<String>),
}

fn list(sentences: &[String]) -> String {
    sentences.iter().flat_map(|sentence| ["\n  ", sentence]).collect()
}

impl Inject {
    /// Injects, or prints the sidecar.
    pub(super) fn execute(&self) -> Result<Exit, Failure> {
        let config = match &self.config {
            Some(file) => Some(config::load_for_elsewhere(file)?.config),
            None => None,
        };
        let options = self.options(config.as_ref());
        if let Some(form) = self.emit {
            print(&kubernetes::emit(form.into(), &options))?;
            return Ok(Exit::Done);
        }
        let outcome =
            kubernetes::inject(&read(&self.files)?, &options).map_err(ManifestError::Refused)?;
        let disagreements =
            config.map(|config| agreement::check(&config, &outcome.report)).unwrap_or_default();
        if self.check && !disagreements.is_empty() {
            return Err(ManifestError::Disagreement(disagreements).into());
        }
        tell(&outcome.report.to_string());
        for disagreement in disagreements {
            tell(&format!("warning: {disagreement}\n"));
        }
        write(&outcome)
    }

    fn options(&self, config: Option<&Config>) -> Options {
        let public_url =
            config.map_or(self.public_url.as_ref(), |config| config.server.public_url.as_ref());
        let drain_timeout = config
            .map_or_else(|| Config::default().server.drain_timeout, |c| c.server.drain_timeout);
        Options {
            image: self.image.clone(),
            mode: match self.sidecar_mode {
                Mode::Native => SidecarMode::Native,
                Mode::Container => SidecarMode::Container,
            },
            config_map: self.config_map.clone(),
            secret: self.secret.clone(),
            upstream_port: self.upstream_port.or_else(|| config.and_then(agreement::upstream_port)),
            public: public_url.map(|url| Public {
                host: url.authority().to_owned(),
                redirect_uri: url.join(CALLBACK).to_string(),
            }),
            tls: config.is_some_and(|config| config.server.tls.certificate_file.is_some()),
            skip_probes: self.skip_probes,
            network_policy: (!self.no_network_policy).then(|| self.monitoring_namespace.clone()),
            upstream_socket: config
                .and_then(|config| config.upstream.url.strip_prefix("unix:"))
                .map(str::to_owned),
            federated_token: config.is_some_and(Config::takes_federated_token),
            drain_timeout: u32::try_from(drain_timeout.duration().as_secs()).unwrap_or(u32::MAX),
        }
    }
}

impl Uninject {
    /// Gives the manifests back as they were.
    pub(super) fn execute(&self) -> Result<Exit, Failure> {
        let outcome = kubernetes::uninject(&read(&self.files)?).map_err(ManifestError::Refused)?;
        tell(&outcome.report.to_string());
        write(&outcome)
    }
}

impl From<EmitForm> for Form {
    fn from(form: EmitForm) -> Self {
        match form {
            EmitForm::Container => Self::Container,
            EmitForm::Kustomize => Self::Kustomize,
            EmitForm::HelmValues => Self::HelmValues,
        }
    }
}

fn read(files: &[PathBuf]) -> Result<Vec<Source>, ManifestError> {
    files.iter().map(|file| read_one(file)).collect()
}

fn read_one(file: &Path) -> Result<Source, ManifestError> {
    let name = file.display().to_string();
    let mut bytes = Vec::new();
    let done = if file == Path::new("-") {
        io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes)
    } else {
        fs::File::open(file).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
    };
    let length = done.map_err(|error| ManifestError::Read { file: name.clone(), error })?;
    if length as u64 > LARGEST {
        return Err(ManifestError::TooLarge(name));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name, text }),
        Err(_) => Err(ManifestError::NotUtf8(name)),
    }
}

/// Writes the texts one behind the other, as one stream of documents.
fn write(outcome: &Outcome) -> Result<Exit, Failure> {
    let mut out = String::new();
    for text in &outcome.texts {
        if !out.is_empty() {
            if !out.ends_with('\n') {
                out.push('\n');
            }
            if !text.starts_with("---") {
                out.push_str("---\n");
            }
        }
        out.push_str(text);
    }
    print(&out)?;
    Ok(Exit::Done)
}
