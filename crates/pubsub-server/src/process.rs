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
/// What keeps it from starting: an address that can not be had, a certificate that can not be read.
pub fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reload = signal(SignalKind::hangup())?;

    let http = &config.http_server;
    let tls = http.tls.enabled.then(|| acceptor(&http.tls)).transpose()?;
    let listener = bind(http.public_addr(), http.backlog, tls.clone(), "http_server.port")?;
    let internal = http
        .internal_addr()
        .map(|addr| bind(addr, http.backlog, tls.clone(), "http_server.internal_port"))
        .transpose()?;
    let certificate = http.tls.clone();

    let server = Server::new(config).start(listener)?;
    let internal_addr = internal.map(|listener| server.serve_internal(listener));
    announce(&server, tls.is_some(), internal_addr.flatten())?;

    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = reload.recv() => match &tls {
                Some(tls) => renew(tls, &certificate),
                None => tracing::info!("SIGHUP: there is no certificate to be read again, nothing was done"),
            },
        }
    }
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
        tracing::info!("API, metrics and health on http://{internal}");
    }
    if config.client.insecure && config.http_api.insecure && !config.http_api.disabled {
        let api = internal.map_or_else(|| format!("{scheme}://{address}"), |internal| format!("http://{internal}"));
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
