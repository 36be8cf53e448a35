//! `vestibule check`: is the configuration right, what does it come to, and (`--online`) do
//! Microsoft and the app answer?

mod checklist;

use std::{error::Error, fmt::Write as _};

use clap::Args;
use tokio::runtime::Handle;

use super::{Exit, Failure, FileArguments, print, runtime, tell};
use crate::{
    app::{AssemblyError, StartError},
    base::{
        causes::Causes,
        clock::Clock,
        lifecycle::Lifecycle,
        metrics::Metrics,
        outbound::{Outbound, trusted_roots},
    },
    config::{self, Config},
    entra::{Concern, EntraClient, Outlook},
    sign_in::CALLBACK,
    upstream::Upstream,
};

/// What to check.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vestibule check --config proxy.toml --online\n\nPrints the effective configuration on stdout, what is wrong or worth a second look on stderr.\nExits 0 when all is well, 78 when the configuration is wrong, 69 when Microsoft or the app does\nnot answer."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: FileArguments,
    /// Also fetch the tenant's metadata and keys, and try the app; prints what the app
    /// registration needs.
    #[arg(long)]
    online: bool,
}

pub(super) fn execute(arguments: &Arguments) -> Result<Exit, Failure> {
    let loaded = config::load(arguments.file.config.as_deref(), config::environment())?;
    print(&loaded.to_toml().map_err(Failure::Toml)?)?;
    let now = Clock::system().unix();
    for warning in loaded.config.warnings(now) {
        tell(&format!("warning: {warning}\n"));
    }
    if !arguments.online {
        return Ok(Exit::Done);
    }
    if let Some(checklist) = checklist::of(&loaded.config) {
        tell(&checklist);
    }
    let answers = runtime()?.block_on(ask(&loaded.config)).map_err(StartError::from)?;
    let mut report = String::new();
    for answer in &answers {
        // Writing to a string cannot fail.
        let _ = match &answer.trouble {
            None => writeln!(report, "ok      {}", answer.whom),
            Some(trouble) => writeln!(report, "FAILED  {}: {trouble}", answer.whom),
        };
    }
    tell(&report);
    let all_well = answers.iter().all(|answer| answer.trouble.is_none());
    Ok(if all_well { Exit::Done } else { Exit::Unavailable })
}

struct Answer {
    whom: String,
    trouble: Option<String>,
}

/// Asks Microsoft and the app at the same time, and looks at what the credential says of itself.
async fn ask(config: &Config) -> Result<Vec<Answer>, AssemblyError> {
    let public_url = config.server.public_url.as_ref().ok_or(AssemblyError::NoPublicUrl)?;
    let metrics = Metrics::new();
    let entra = EntraClient::new(
        &config.entra,
        public_url.join(CALLBACK),
        Outbound::new(Handle::current(), trusted_roots()),
        Clock::system(),
        metrics.clone(),
    )?;
    let upstream = Upstream::build(&config.upstream, 1, Lifecycle::new(), metrics)?;
    let (microsoft, app) = tokio::join!(entra.prepare(), upstream.probe());
    let mut answers = vec![
        Answer {
            whom: format!("metadata and keys of tenant {}", entra.tenant()),
            trouble: microsoft.err().map(|error| told(&error)),
        },
        Answer {
            whom: format!("the app at {}", config.upstream.url),
            trouble: app.err().map(|error| told(&error)),
        },
    ];
    let outlook = config.entra.outlook();
    let kind = outlook.as_ref().and_then(|outlook| match outlook {
        // A secret tells nothing about itself.
        Outlook::Secret => None,
        Outlook::Certificate { .. } => Some("the client certificate"),
        Outlook::FederatedToken(_) => Some("the federated token"),
    });
    answers.extend(kind.map(|kind| {
        let now = Clock::system().unix();
        let concern = outlook.and_then(|outlook| outlook.concern(now)).filter(Concern::is_trouble);
        Answer { whom: kind.to_owned(), trouble: concern.map(|concern| concern.to_string()) }
    }));
    Ok(answers)
}

fn told(error: &dyn Error) -> String {
    Causes(error).to_string()
}
