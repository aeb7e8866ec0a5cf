//! The server as a process: binds, says where, listens to signals, drains, ends.

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::tls::KeyPair;
use crate::config::{Config, HttpServerConfig, TlsConfig};
use crate::server::{Drained, Server, ServerHandle};
use crate::transport::listener::TcpListener;
use crate::transport::tls::TlsAcceptor;

/// Runs the server until SIGTERM or SIGINT, then drains it. A second signal ends it at once.
///
/// # Errors
/// What keeps it from starting: an address that can not be had, a certificate that can not be read. Or that it lost a
/// part to a bug while it ran ([`ServerHandle::failed`]).
pub fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let http = &config.http_server;
    let tls = http.tls.enabled.then(|| acceptor(&http.tls)).transpose()?;
    let listener = bind(http, http.public_addr(), tls.clone(), "http_server.port")?;
    let internal = http
        .internal_addr()
        .map(|address| bind(http, address, tls.clone(), "http_server.internal_port"))
        .transpose()?;
    let certificate = http.tls.clone();

    let server = Server::new(config).start(listener)?;
    let internal_addr = internal.map(|listener| server.serve_internal(listener));
    announce(&server, tls.is_some(), internal_addr.flatten())?;
    attend(server, signals, || match &tls {
        Some(tls) => renew(tls, &certificate),
        None => tracing::info!("SIGHUP: there is no certificate to be read again, nothing was done"),
    })
    .await
}

/// What an operator may say.
struct Signals {
    end: EndSignals,
    hangup: Signal,
}

struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let end =
            EndSignals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        Ok(Self { end, hangup: signal(SignalKind::hangup())? })
    }
}

impl EndSignals {
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Lets the server run until it is told to end, or has lost a part to a bug; then drains what there is.
async fn attend(server: ServerHandle, mut signals: Signals, renew: impl Fn()) -> anyhow::Result<()> {
    let failed = loop {
        tokio::select! {
            biased;
            part = server.failed() => break Some(part),
            () = signals.end.recv() => break None,
            _ = signals.hangup.recv() => renew(),
        }
    };
    tracing::info!(connections = server.connections(), "draining; a second signal ends the server at once");
    tokio::select! {
        biased;
        drained = server.shutdown() => report(drained),
        () = signals.end.recv() => tracing::warn!("ended without waiting for connections to close"),
    }
    match failed {
        Some(part) => anyhow::bail!("ended by a bug in the server: {part} panicked, as told above; please report it"),
        None => Ok(()),
    }
}

fn bind(
    http: &HttpServerConfig,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    key: &str,
) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address, http.backlog, tls).with_context(|| {
        format!(
            "cannot listen on {address}: choose another port by {key} (0 picks a free one), or end what listens there"
        )
    })?;
    listener.send_buffer(http.send_buffer_size).context("http_server.send_buffer_size")
}

fn acceptor(tls: &TlsConfig) -> anyhow::Result<TlsAcceptor> {
    TlsAcceptor::new(key_pair(tls)?).context("http_server.tls")
}

fn key_pair(tls: &TlsConfig) -> anyhow::Result<KeyPair> {
    tls.key_pair().map_err(|wrong| {
        let wrong: Vec<_> = wrong.into_iter().map(|(key, what)| format!("http_server.tls.{key}: {what}")).collect();
        anyhow::anyhow!(wrong.join("; "))
    })
}

fn renew(acceptor: &TlsAcceptor, tls: &TlsConfig) {
    match key_pair(tls).and_then(|pair| Ok(acceptor.replace(pair)?)) {
        Ok(()) => tracing::info!("SIGHUP: new connections get the certificate that was just read"),
        Err(error) => tracing::error!("SIGHUP: the certificate stays as it is: {error:#}"),
    }
}

/// Says on standard output that connections are accepted, and where; and on standard error what to try.
fn announce(server: &ServerHandle, tls: bool, internal: Option<SocketAddr>) -> anyhow::Result<()> {
    let address = server.local_addr().context("a TCP listener has an address")?;
    let scheme = if tls { "https" } else { "http" };
    let config = server.service().config();
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on {scheme}://{address}")?;
    out.flush()?;
    if let Some(internal) = internal {
        tracing::info!("API, metrics and health on {scheme}://{internal}");
    }
    if config.client.insecure && config.http_api.insecure && !config.http_api.disabled {
        let api = format!("{scheme}://{}", internal.unwrap_or(address));
        let ws = if tls { "wss" } else { "ws" };
        eprintln!(
            "\nTry it. Watch a channel in one terminal (any WebSocket client will do):\n\n  \
             npx wscat -w -1 -c '{ws}://{address}{}?cf_ws_frame_ping_pong=true' -x '{{\"id\":1,\"connect\":{{}}}}' \
             -x '{{\"id\":2,\"subscribe\":{{\"channel\":\"news\"}}}}'\n\n\
             and make a message move in another:\n\n  \
             curl -d '{{\"channel\":\"news\",\"data\":{{\"text\":\"hello\"}}}}' {api}{}/publish\n",
            config.websocket.handler_prefix, config.http_api.handler_prefix
        );
    }
    Ok(())
}

fn report(drained: Drained) {
    if drained.left == 0 {
        tracing::info!(connections = drained.connections, "drained");
    } else {
        tracing::warn!(
            connections = drained.connections,
            left = drained.left,
            "time was up before all connections closed"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::DuplexStream;

    use super::*;
    use crate::transport::listener::Listener;
    use crate::transport::socket::Polled;

    struct Buggy;

    impl Listener for Buggy {
        type Raw = DuplexStream;
        type Stream = DuplexStream;
        type Socket = Polled<DuplexStream>;

        async fn accept(&mut self) -> io::Result<(DuplexStream, Option<SocketAddr>)> {
            panic!("a bug where connections come in")
        }

        async fn attach(raw: DuplexStream) -> io::Result<DuplexStream> {
            Ok(raw)
        }

        fn settle(stream: DuplexStream) -> io::Result<Polled<DuplexStream>> {
            Ok(Polled(stream))
        }

        fn local_addr(&self) -> Option<SocketAddr> {
            None
        }
    }

    #[tokio::test]
    async fn a_server_that_lost_a_part_to_a_bug_ends_with_an_error() {
        let server = Server::new(Config::open_default()).start(Buggy).unwrap();
        let attended = attend(server, Signals::listen().unwrap(), || {});
        let attended = tokio::time::timeout(std::time::Duration::from_secs(60), attended).await.expect("it ends");
        let error = attended.unwrap_err().to_string();
        assert!(error.contains("the accept loop panicked"), "{error}");
    }
}
