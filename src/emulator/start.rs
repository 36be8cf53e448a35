//! Starting and stopping an emulator, and what its clients are told.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    base::{clock::Clock, side_server},
    emulator::{
        faults::Fault,
        population::ScenarioError,
        realm::Realm,
        request_log::LoggedRequest,
        routes,
        scenario::Scenario,
        signing::KeyError,
        tls::{self, AuthorityFile, TlsError},
    },
};

/// How an emulator is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether it speaks TLS with a throw-away certificate for localhost.
    pub tls: bool,
    /// What it contains.
    pub scenario: Scenario,
    /// Its time.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: false,
            scenario: Scenario::default(),
            clock: Clock::system(),
        }
    }
}

/// Why an emulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// The scenario contradicts itself.
    #[error("the scenario cannot be run")]
    Scenario(#[from] ScenarioError),
    /// The build is broken.
    #[error("the emulator has no signing keys")]
    Keys(#[from] KeyError),
    /// No certificate.
    #[error("the emulator cannot speak TLS")]
    Tls(#[from] TlsError),
    /// The address is taken or not ours.
    #[error("the emulator cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
}

/// A running emulator. It stops when this value is dropped.
#[derive(Debug)]
pub struct Emulator {
    realm: Arc<Realm>,
    address: SocketAddr,
    authority: Option<AuthorityFile>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What a client needs to know.
#[derive(Clone, Serialize)]
pub struct ClientDetails {
    /// Origin of the emulator.
    pub authority: String,
    /// GUID of the first tenant.
    pub tenant: String,
    /// The first app.
    pub client_id: String,
    /// Its secret; empty for a public or secretless app.
    pub client_secret: String,
    /// User names.
    pub users: Vec<String>,
    /// PEM file of the certificate authority to trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for ClientDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientDetails")
            .field("authority", &self.authority)
            .field("tenant", &self.tenant)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl ClientDetails {
    /// What the command prints.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }
}

impl Emulator {
    /// Binds, and answers on the current runtime from then on.
    ///
    /// # Errors
    /// See [`EmulatorError`].
    pub async fn start(options: Options) -> Result<Self, EmulatorError> {
        let realm = Realm::new(options.scenario, options.clock)?;
        let (acceptor, authority) = if options.tls {
            let (acceptor, authority) = tls::acceptor()?;
            (Some(acceptor), Some(authority))
        } else {
            (None, None)
        };
        let failed = |error| EmulatorError::Listen(options.listen, error);
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let scheme = if options.tls { "https" } else { "http" };
        let served = Arc::clone(&realm);
        let handler =
            move |_peer, request| routes::handle(Arc::clone(&served), scheme, address, request);
        tasks.spawn(side_server::serve(listener, acceptor, stop.clone(), handler));
        tasks.close();
        Ok(Self { realm, address, authority, stop, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT` with TLS.
    pub fn origin(&self) -> String {
        if self.authority.is_some() {
            format!("https://localhost:{}", self.address.port())
        } else {
            let ip = self.address.ip();
            let ip = if ip.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { ip };
            format!("http://{}", SocketAddr::new(ip, self.address.port()))
        }
    }

    /// What a client needs to know.
    pub fn client(&self) -> ClientDetails {
        let directory = &self.realm.directory;
        let app = directory.apps().first();
        ClientDetails {
            authority: self.origin(),
            tenant: directory.tenants().first().map(|tenant| tenant.id.clone()).unwrap_or_default(),
            client_id: app.map(|app| app.client_id.clone()).unwrap_or_default(),
            client_secret: app
                .and_then(|app| app.entry.client_secret.as_ref())
                .map(|secret| secret.expose().to_owned())
                .unwrap_or_default(),
            users: directory.users().iter().map(|user| user.entry.name.clone()).collect(),
            ca_file: self.authority.as_ref().map(|file| file.path().to_owned()),
        }
    }

    /// Arms a fault, or makes the change that it stands for; `POST /_emulator/faults` does the
    /// same.
    pub fn fault(&self, fault: Fault) {
        self.realm.fault(fault);
    }

    /// The latest requests, oldest first.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.realm.log.all()
    }

    /// How often an endpoint (named as in [`LoggedRequest::endpoint`]) has answered.
    pub fn request_count(&self, endpoint: &str) -> usize {
        self.realm.log.count(endpoint)
    }

    /// Stops listening; open connections finish their request.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
