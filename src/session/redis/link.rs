//! The one connection to Redis that all requests of a replica share.
//!
//! It is opened when it is first needed and again after it broke, on the runtime that outlives
//! every request; whoever needs it meanwhile waits for the same attempt. Nobody waits longer than
//! [`COMMAND`] for an answer, whatever Redis is doing: a request that cannot know who its user is
//! says so at once instead of hanging.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo, RedisConnectionInfo, RedisError, TlsMode,
    aio::MultiplexedConnection,
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::{
    StoreError,
    address::{Address, Form},
};
use crate::base::{
    causes::Causes,
    metrics::Metrics,
    secret::{ExposeSecret, SecretSource},
};

/// One node must accept a connection within this time.
const CONNECT: Duration = Duration::from_secs(2);
/// Sentinels are asked one after the other, then the master.
const CONNECT_THROUGH_SENTINELS: Duration = Duration::from_secs(6);
/// A command must be answered within this time, a connection that it had to wait for included.
const COMMAND: Duration = Duration::from_secs(1);
/// A failed attempt answers for those that come right after it, so that a Redis that is down is
/// not hammered with one attempt per request.
const NOT_AGAIN_WITHIN: Duration = Duration::from_millis(100);

type Attempt = Result<Arc<Connection>, StoreError>;

/// The way to Redis.
pub(super) struct Link {
    source: SecretSource,
    runtime: Handle,
    state: Arc<Mutex<State>>,
    metrics: Metrics,
}

enum State {
    Idle,
    Connecting(watch::Receiver<Option<Attempt>>),
    Connected(Arc<Connection>),
    Failed { error: StoreError, at: Instant },
}

/// An open connection. Clones of what is inside share one socket (per node).
enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    /// A link to what the URL in `source` names. A first attempt begins at once, so that the log
    /// tells what is wrong before anybody signs in. The URL is read again at each attempt, so that
    /// a rotated password is taken over.
    pub(super) fn new(source: SecretSource, runtime: Handle, metrics: Metrics) -> Self {
        let link = Self { source, runtime, state: Arc::new(Mutex::new(State::Idle)), metrics };
        let _ = link.join();
        link
    }

    /// Runs one command. It must be one that may run twice: where a connection turns out to have
    /// died while it was idle, the command is sent again on a new one.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &Cmd,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let answer = timeout(COMMAND, self.twice(command)).await;
        let answer = answer.unwrap_or_else(|_| {
            // Whether the server hangs or the way to it: the next request tries a new connection.
            self.give_up();
            Err(StoreError::TimedOut)
        });
        let outcome = answer.as_ref().map_or_else(StoreError::word, |_| "ok");
        self.metrics.store(operation, outcome, begun.elapsed());
        answer
    }

    async fn twice<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let connection = self.connection().await?;
        let error = match connection.query(command).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if !connection.is_broken_by(&error) {
            return Err(StoreError::from(error));
        }
        self.forget(&connection);
        let connection = self.connection().await?;
        connection.query(command).await.map_err(|error| {
            if connection.is_broken_by(&error) {
                self.forget(&connection);
            }
            StoreError::from(error)
        })
    }

    async fn connection(&self) -> Attempt {
        let mut attempt = match self.join() {
            Ok(known) => return known,
            Err(attempt) => attempt,
        };
        match attempt.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(settled)) => settled.clone(),
            Ok(None) | Err(_) => Err(StoreError::Cancelled),
        }
    }

    /// The connection, or the attempt at one that is under way.
    fn join(&self) -> Result<Attempt, watch::Receiver<Option<Attempt>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Connected(connection) => return Ok(Ok(Arc::clone(connection))),
            State::Failed { error, at } if at.elapsed() < NOT_AGAIN_WITHIN => {
                return Ok(Err(error.clone()));
            }
            // An attempt that panicked left a receiver without a sender.
            State::Connecting(attempt) if attempt.has_changed().is_ok() => {
                return Err(attempt.clone());
            }
            State::Connecting(_) | State::Failed { .. } | State::Idle => {}
        }
        let (sender, receiver) = watch::channel(None);
        *state = State::Connecting(receiver.clone());
        drop(state);
        let (source, metrics) = (self.source.clone(), self.metrics.clone());
        let state = Arc::clone(&self.state);
        self.runtime.spawn(async move {
            let begun = Instant::now();
            let attempt = connect(&source).await;
            let outcome = attempt.as_ref().map_or_else(StoreError::word, |_| "ok");
            metrics.store("connect", outcome, begun.elapsed());
            let attempt = attempt.map(Arc::new);
            let next = match &attempt {
                Ok(connection) => {
                    tracing::info!("connected to redis");
                    State::Connected(Arc::clone(connection))
                }
                Err(error) => {
                    tracing::warn!(error = %Causes(error), "redis is not reached");
                    State::Failed { error: error.clone(), at: Instant::now() }
                }
            };
            *state.lock().unwrap_or_else(PoisonError::into_inner) = next;
            sender.send_replace(Some(attempt));
        });
        Err(receiver)
    }

    /// Takes a broken connection out of use, unless somebody already has.
    fn forget(&self, broken: &Arc<Connection>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*state, State::Connected(connection) if Arc::ptr_eq(connection, broken)) {
            *state = State::Idle;
        }
    }

    /// After a command without an answer. A cluster's connection knows better which of its nodes
    /// hangs, and an attempt that is under way has its own limit.
    fn give_up(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let hangs = matches!(&*state, State::Connected(connection)
            if matches!(**connection, Connection::Server(_)));
        if hangs {
            *state = State::Idle;
        }
    }
}

/// The URL holds a password.
impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Connection {
    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        match self {
            Self::Server(connection) => command.query_async(&mut connection.clone()).await,
            Self::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        }
    }

    fn is_broken_by(&self, error: &RedisError) -> bool {
        match self {
            // After a failover the former master answers READONLY, or goes away.
            Self::Server(_) => error.is_unrecoverable_error() || error.code() == Some("READONLY"),
            Self::Cluster(_) => error.is_unrecoverable_error(),
        }
    }
}

async fn connect(source: &SecretSource) -> Result<Connection, StoreError> {
    let url = source.read().map_err(|error| StoreError::Url(Arc::new(error)))?;
    let address = Address::parse(url.expose_secret())?;
    let limit = match address.form {
        Form::Single | Form::Cluster => CONNECT,
        Form::Sentinel { .. } => CONNECT_THROUGH_SENTINELS,
    };
    let opened = timeout(limit, open(&address)).await.map_err(|_| StoreError::NoConnection)?;
    opened.map_err(StoreError::from)
}

async fn open(address: &Address) -> Result<Connection, RedisError> {
    let options = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(COMMAND));
    match &address.form {
        Form::Single => {
            let node = address.infos()?.into_iter().next().ok_or_else(no_host)?;
            let client = Client::open(node)?;
            let connection = client.get_multiplexed_async_connection_with_config(&options).await?;
            Ok(Connection::Server(connection))
        }
        Form::Cluster => {
            let cluster = ClusterClientBuilder::new(address.infos()?)
                .connection_timeout(CONNECT)
                .response_timeout(COMMAND)
                .tcp_settings(tcp_settings())
                // The deadline of a command ends its retries; a moved slot needs one or two.
                .retries(3)
                .build()?;
            Ok(Connection::Cluster(cluster.get_async_connection().await?))
        }
        Form::Sentinel { master, username, password } => {
            let mut sentinels =
                SentinelClientBuilder::new(address.hosts(), master, SentinelServerType::Master)?
                    .set_client_to_redis_db(address.database)
                    .set_client_to_redis_tcp_settings(tcp_settings())
                    .set_client_to_sentinel_tcp_settings(tcp_settings());
            if address.tls {
                sentinels = sentinels.set_client_to_redis_tls_mode(TlsMode::Secure);
            }
            if let Some(username) = &address.username {
                sentinels = sentinels.set_client_to_redis_username(username);
            }
            if let Some(password) = &address.password {
                sentinels = sentinels.set_client_to_redis_password(password.expose_secret());
            }
            if let Some(username) = username {
                sentinels = sentinels.set_client_to_sentinel_username(username);
            }
            if let Some(password) = password {
                sentinels = sentinels.set_client_to_sentinel_password(password.expose_secret());
            }
            let mut sentinels = sentinels.build()?;
            let connection = sentinels.get_async_connection_with_config(&options).await?;
            Ok(Connection::Server(connection))
        }
    }
}

impl Address {
    fn hosts(&self) -> Vec<ConnectionAddr> {
        let host = |(host, port): &(String, u16)| {
            let (host, port) = (host.clone(), *port);
            if self.tls {
                ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
            } else {
                ConnectionAddr::Tcp(host, port)
            }
        };
        self.nodes.iter().map(host).collect()
    }

    fn infos(&self) -> Result<Vec<ConnectionInfo>, RedisError> {
        let mut settings = RedisConnectionInfo::default().set_db(self.database);
        if let Some(username) = &self.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password.expose_secret());
        }
        let info = |host: ConnectionAddr| {
            let info = host.into_connection_info()?.set_redis_settings(settings.clone());
            Ok(info.set_tcp_settings(tcp_settings()))
        };
        self.hosts().into_iter().map(info).collect()
    }
}

/// A command waits for its answer, so nothing is gained by collecting small segments.
fn tcp_settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn no_host() -> RedisError {
    RedisError::from((redis::ErrorKind::InvalidClientConfig, "the address has no host"))
}
