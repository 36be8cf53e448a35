//! Where we listen: a TCP address or a Unix socket, bound once and cloned for each worker.

use std::{
    fs, io,
    net::{SocketAddr, ToSocketAddrs},
    os::unix::{fs::FileTypeExt, net as unix},
    path::{Path, PathBuf},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::tls::TlsError;
use crate::{
    base::stream::{Stream, bound_unsent},
    request::Peer,
};

/// Connections that the kernel keeps for us while every slot is taken.
const BACKLOG: i32 = 1024;

/// Why nobody can connect to us.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// `server.listen` is neither an address with a port nor `unix:/path`.
    #[error("expected an address such as \"0.0.0.0:4180\" or \"unix:/run/vestibule.sock\"")]
    Address(#[source] Option<io::Error>),
    /// The address is in use, or may not be used.
    #[error("cannot listen on {address}")]
    Bind {
        /// As configured.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// `[server.tls]`.
    #[error("the certificate cannot be used")]
    Tls(#[from] TlsError),
    /// A worker could not be prepared.
    #[error("cannot prepare a worker")]
    Worker(#[source] io::Error),
}

/// A bound address.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(std::net::TcpListener),
    Unix(unix::UnixListener),
}

/// One worker's clone of it.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Bound {
    pub(super) fn bind(listen: &str) -> Result<Self, BindError> {
        let failed = |source| BindError::Bind { address: listen.to_owned(), source };
        if let Some(path) = listen.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            if !path.is_absolute() {
                return Err(BindError::Address(None));
            }
            return bind_unix(&path).map(Self::Unix).map_err(failed);
        }
        let mut addresses = listen.to_socket_addrs().map_err(|e| BindError::Address(Some(e)))?;
        let address = addresses.next().ok_or(BindError::Address(None))?;
        bind_tcp(address).map(Self::Tcp).map_err(failed)
    }

    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Another handle to the same socket, for the runtime that is entered.
    pub(super) fn listener(&self) -> io::Result<Listener> {
        match self {
            Self::Tcp(listener) => Ok(Listener::Tcp(TcpListener::from_std(listener.try_clone()?)?)),
            Self::Unix(listener) => {
                Ok(Listener::Unix(UnixListener::from_std(listener.try_clone()?)?))
            }
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old process's connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // "[::]" means everybody, whatever the machine's default is.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<unix::UnixListener> {
    remove_stale(path)?;
    let listener = unix::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A socket file outlives its process. One that nobody answers behind is removed; a living one, or
/// any other kind of file, is left so that `bind` refuses it.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match unix::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Ok(()),
    }
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Without it the last piece of a response may wait for the client's ACK. It fails
                // for a peer that has gone already: the first read will tell.
                let _ = stream.set_nodelay(true);
                bound_unsent(&stream);
                Ok((Stream::Tcp(stream), Peer::Tcp(peer)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Peer::Unix))
            }
        }
    }
}
