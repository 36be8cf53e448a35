//! `vestibule demo`: emulator, legacy app and proxy on loopback, and one URL to open.

mod legacy_app;

use std::{io, net::SocketAddr};

use clap::Args;
use tokio::runtime::Handle;

use super::{Exit, Failure, print, runtime, signals::Signals};
use crate::{
    app,
    base::{
        clock::Clock,
        document::{self, DocumentError},
        outbound::{self, Outbound},
        telemetry::{self, Format},
        units::Span,
    },
    config::Config,
    emulator::{self, ClientDetails, Emulator, EmulatorError, Scenario},
    request::{PublicUrl, PublicUrlError},
    sealing::{Key, KeyError},
    server::{BindError, Server},
};

/// Ports that are tried for the proxy, from 4180 on.
const PORTS: std::ops::Range<u16> = 4180..4280;

/// How to try it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vestibule demo --token-lifetime 60s")]
pub(super) struct Arguments {
    /// How long an access token lives; it is renewed at half of that.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    token_lifetime: Span,
    /// The port to open in the browser; else 4180 or the next free one.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

/// Why the demo could not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The emulator.
    #[error("the emulator cannot start")]
    Emulator(#[from] EmulatorError),
    /// The legacy app.
    #[error("the legacy app cannot start")]
    LegacyApp(#[source] io::Error),
    /// No session key.
    #[error("no session key could be made")]
    Key(#[from] KeyError),
    /// The demo's own configuration.
    #[error("the demo's configuration is broken")]
    Configuration(#[from] DocumentError),
    /// The same.
    #[error("the demo's configuration is broken")]
    PublicUrl(#[from] PublicUrlError),
    /// No port.
    #[error("no port is free for the proxy")]
    Port(#[from] BindError),
}

pub(super) fn execute(arguments: &Arguments) -> Result<Exit, Failure> {
    let log = telemetry::Settings {
        level: "warn,vestibule::access=info".to_owned(),
        format: Format::Auto,
        user: false,
    };
    telemetry::init(&log)?;
    runtime()?.block_on(async {
        let mut signals = Signals::listen().map_err(Failure::System)?;
        let scenario =
            Scenario { token_lifetime: Some(arguments.token_lifetime), ..Scenario::default() };
        let options = emulator::Options { scenario, ..emulator::Options::default() };
        let emulator = Emulator::start(options).await.map_err(DemoError::from)?;
        let outbound = Outbound::new(Handle::current(), outbound::trusted_roots());
        let legacy_app =
            legacy_app::start(&emulator.origin(), outbound).await.map_err(DemoError::LegacyApp)?;
        let (server, config) = configure(&emulator.client(), legacy_app.address(), arguments.port)?;
        let url = config.server.public_url.as_ref().map(ToString::to_string).unwrap_or_default();
        let running = app::start_on(server, &config, Clock::system())?;
        running.ready().await;
        print(&format!("Open {url} in a browser. Ctrl-C ends the demo.\n"))?;
        signals.end(running).await;
        Ok(Exit::Done)
    })
}

/// The configuration that a person would write for this app.
fn configure(
    client: &ClientDetails,
    app: SocketAddr,
    port: Option<u16>,
) -> Result<(Server, Config), DemoError> {
    let key = Key::generate()?.to_text();
    let ClientDetails { authority, tenant, client_id, client_secret, .. } = client;
    let text = format!(
        r#"
        [admin]
        listen = "127.0.0.1:0"
        [entra]
        authority = "{authority}"
        tenant = "{tenant}"
        client_id = "{client_id}"
        client_secret = "{client_secret}"
        [session]
        keys = ["{key}"]
        [upstream]
        url = "http://{app}"
        [identity]
        dialects = ["easy-auth", "oauth2-proxy"]
        [identity.headers]
        "X-User" = "preferred_username"
        [[rules]]
        path = "/public/*"
        access = "anonymous"
        "#
    );
    let mut config: Config = document::parse("the demo's configuration", &text)?;
    let server = bind(&mut config, port)?;
    let port = server.local_address().map_or(0, |address| address.port());
    // Browsers take `localhost`, unlike 127.0.0.1, for a secure context in every respect.
    config.server.public_url = Some(PublicUrl::parse(&format!("http://localhost:{port}"))?);
    Ok((server, config))
}

fn bind(config: &mut Config, port: Option<u16>) -> Result<Server, BindError> {
    let mut ports = port.map_or(PORTS, |port| port..port.saturating_add(1));
    let next = |config: &mut Config, port: u16| {
        config.server.listen = format!("127.0.0.1:{port}");
        Server::bind(&config.server)
    };
    let first = ports.next().unwrap_or_default();
    let mut bound = next(config, first);
    for port in ports {
        if bound.is_ok() {
            break;
        }
        bound = next(config, port);
    }
    bound
}
