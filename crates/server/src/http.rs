//! Accepting connections: HTTP/1.1 with keep-alive, bounded, stopped gracefully.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::limits::{CONNECTIONS_MAX, HEAD_TIMEOUT, SHUTDOWN_TIMEOUT};
use crate::router::Router;

/// A listening socket and what answers on it.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: Arc<Router>,
}

impl Server {
    /// Takes the address; port 0 is a free one, see [`Server::local_addr`].
    ///
    /// # Errors
    /// When the address can't be had.
    pub async fn bind(address: SocketAddr, router: Router) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, router: Arc::new(router) })
    }

    /// The same, answered by another router: for those that need to know the address themselves.
    #[must_use]
    pub fn with_router(self, router: Router) -> Self {
        Self { router: Arc::new(router), ..self }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` is ready; answers under way are finished, within a few seconds.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(false);
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let accepting = async {
                // The semaphore is never closed.
                let permit = Arc::clone(&permits).acquire_owned().await.ok();
                (self.listener.accept().await, permit)
            };
            tokio::select! {
                () = &mut stop => break,
                (accepted, permit) = accepting => match accepted {
                    Ok((stream, _)) => {
                        let (router, stopped) = (Arc::clone(&self.router), stopped.clone());
                        connections.spawn(async move {
                            serve_connection(stream, router, stopped).await;
                            drop(permit);
                        });
                    }
                    // Out of file descriptors, most likely. Whoever knocks waits in the backlog.
                    Err(error) => {
                        tracing::warn!(%error, "connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        drop(self.listener);
        self.router.stop();
        // No one listens any more when all connections have ended.
        let _ = stopping.send(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, ended).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections given up");
        }
    }
}

/// Ready when the server stops.
async fn stopping(stopped: &mut watch::Receiver<bool>) {
    // A sender that is gone has stopped, too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn serve_connection(stream: TcpStream, router: Arc<Router>, mut stopped: watch::Receiver<bool>) {
    // An answer is one small packet; do not let it wait for another.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let router = Arc::clone(&router);
        async move { Ok::<_, Infallible>(router.answer(request).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection broke");
    }
}
