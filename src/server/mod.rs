//! `[server]`: sockets in. One listener, shared by one current-thread runtime per core.
//!
//! The listener is bound once and cloned into each runtime: a second process on the port still
//! fails, port 0 is one port, and Unix sockets work like TCP.

use std::{future::Future, io, net::SocketAddr, thread, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use tokio::{
    runtime::{Builder, EnterGuard, Handle, Runtime},
    sync::mpsc,
    time::timeout,
};

use self::{
    connection::Connections,
    listener::{Bound, Listener},
};
use crate::{
    base::{
        body::{Body, BodyError},
        lifecycle::Lifecycle,
        metrics::Metrics,
        worker,
    },
    request::Peer,
};

mod answer;
mod connection;
mod crowd;
mod door;
mod frames;
mod linger;
mod listener;
mod open;
mod pace;
mod proxy_protocol;
mod settings;
mod streams;
mod tls;
mod told;

#[cfg(test)]
mod tests;

pub use self::{
    listener::BindError,
    settings::{Limits, Settings, TlsSettings},
    tls::{Tls, TlsError},
};

/// After `aborting`, connections end at their next step; a handler that does not yield is left.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// A bound listener with the threads-to-be that serve it.
#[derive(Debug)]
pub struct Server {
    bound: Bound,
    workers: Vec<(Background, Listener)>,
    tls: Option<Tls>,
    settings: Settings,
}

/// The threads that serve. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Workers(Vec<Handle>);

/// A server that runs.
#[derive(Debug)]
pub struct ServerHandle {
    threads: Vec<thread::JoinHandle<()>>,
    workers: Workers,
    /// Closes when the last thread has ended.
    ended: mpsc::Receiver<()>,
}

impl Server {
    /// Binds the listener, reads the certificate and prepares one runtime per worker.
    ///
    /// # Errors
    /// The address is malformed or taken, the certificate cannot be used, or the system has no more
    /// descriptors or threads.
    pub fn bind(settings: &Settings) -> Result<Self, BindError> {
        let tls = Tls::load(&settings.tls)?;
        let bound = Bound::bind(&settings.listen)?;
        let workers = (0..settings.worker_count())
            .map(|_| {
                let runtime = Background::new()?;
                let listener = {
                    let _context = runtime.enter();
                    bound.listener()?
                };
                Ok((runtime, listener))
            })
            .collect::<Result<_, _>>()
            .map_err(BindError::Worker)?;
        Ok(Self { bound, workers, tls, settings: settings.clone() })
    }

    /// The certificate that browsers are shown, for whoever notices that its files have changed.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// The TCP address that is listened on, with the port that port 0 became; `None` for a Unix
    /// socket.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.bound.local_address()
    }

    /// Starts the threads. They end after `lifecycle` has closed and every connection is done.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn serve<H, F, B>(
        self,
        handler: H,
        lifecycle: Lifecycle,
        metrics: Metrics,
    ) -> io::Result<ServerHandle>
    where
        H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: HttpBody<Data = Bytes, Error = BodyError> + From<Body> + Send + Unpin + 'static,
    {
        let (alive, ended) = mpsc::channel(1);
        let connections = Connections::new(&self.settings, self.tls, lifecycle, metrics, handler);
        let mut threads = Vec::with_capacity(self.workers.len());
        let mut workers = Workers::default();
        for (index, (runtime, listener)) in self.workers.into_iter().enumerate() {
            let (connections, alive) = (connections.clone(), alive.clone());
            workers.0.extend(runtime.handle());
            let run = move || {
                worker::enter(index);
                runtime.block_on(work(listener, connections));
                drop((runtime, alive));
            };
            threads.push(thread::Builder::new().name(format!("worker-{index}")).spawn(run)?);
        }
        Ok(ServerHandle { threads, workers, ended })
    }
}

impl Workers {
    /// Ends once each of them has come round to a new task: none is stuck. One that has ended has
    /// nothing left to be stuck in.
    pub async fn come_round(&self) {
        let asked: Vec<_> = self.0.iter().map(|worker| worker.spawn(async {})).collect();
        for answer in asked {
            let _ = answer.await;
        }
    }
}

impl ServerHandle {
    /// The threads.
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Waits until every thread has ended.
    pub async fn join(mut self) {
        while self.ended.recv().await.is_some() {}
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread ended in a panic");
            }
        }
    }
}

async fn work<H, F, B>(listener: Listener, connections: Connections<H>)
where
    H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: HttpBody<Data = Bytes, Error = BodyError> + From<Body> + Send + Unpin + 'static,
{
    connections.accept(listener).await;
    let lifecycle = connections.lifecycle();
    let finished = lifecycle.connections().wait();
    tokio::pin!(finished);
    tokio::select! {
        () = finished.as_mut() => {}
        () = lifecycle.aborting().cancelled() => {
            if timeout(LAST_GRACE, finished).await.is_err() {
                tracing::warn!("a connection did not end when it was told to");
            }
        }
    }
}

/// A runtime that never waits when it ends: a lookup that hangs must not hold up the process, and
/// a runtime that is dropped in the ordinary way inside another one panics.
#[derive(Debug)]
struct Background(Option<Runtime>);

impl Background {
    fn new() -> io::Result<Self> {
        Ok(Self(Some(Builder::new_current_thread().enable_all().build()?)))
    }

    fn enter(&self) -> Option<EnterGuard<'_>> {
        self.0.as_ref().map(Runtime::enter)
    }

    fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }

    fn block_on(&self, work: impl Future<Output = ()>) {
        if let Some(runtime) = &self.0 {
            runtime.block_on(work);
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
