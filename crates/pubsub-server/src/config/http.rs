//! Where the server listens and what stands on which path.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::choice::choice;
use super::secret::Secret;
use super::section::{Later, section};

/// Enough for a herd of reconnecting clients: with the usual 128 a third of them wait a second for their SYN to be
/// repeated (measured, `docs/architecture.md`).
const BACKLOG: u32 = 4096;
const MINUTES_10: u64 = 600_000;

section! {
    /// `http_server`: where the server listens.
    pub struct HttpServerConfig {
        /// Address to listen on. Loopback unless set; `0.0.0.0` (or an empty string, as in Centrifugo) listens on every
        /// interface, which is refused while anyone who reaches the server could connect, publish or use the API.
        address: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        /// Port to listen on. 0 picks a free one; the line `listening on ...` says which.
        port: u16 = 8000;
        /// Address of the internal listener. Empty: the same as `address`.
        internal_address: Option<IpAddr> = None;
        /// Port of the internal listener, which takes the HTTP API, metrics and health away from the public port.
        /// Empty: the same as `port`. With neither address nor port of its own there is no internal listener.
        internal_port: Option<u16> = None;
        /// TLS for both listeners.
        tls: TlsConfig = TlsConfig::default();
        /// Connections that may wait to be accepted. Too few, and some of a reconnecting herd wait a second for nothing;
        /// the kernel cuts it to `net.core.somaxconn`.
        backlog: u32 = BACKLOG => ours, between(1, 1 << 20);
        /// Bytes that the kernel may hold for one connection beside the server's own queue (it keeps as much again for its
        /// books, and cuts this to `net.core.wmem_max`). A peer that does not read holds all of it; one that is far away
        /// is sent at most so much per round trip. 0: what `net.ipv4.tcp_wmem` says, mostly 4 MiB, with which a few
        /// hundred that do not read use up the memory of all TCP connections of the machine.
        send_buffer_size: usize = 262_144 => ours, between(0, 1 << 30);
        /// Time for a new connection to finish its TLS and HTTP handshake. Short cuts off slow networks, long lets idle
        /// strangers hold descriptors.
        handshake_timeout: Duration = Duration::from_secs(10) => ours, between(100, MINUTES_10);
        /// Shards, each one thread with its own connections. 0: one per core.
        shards: usize = 0 => ours, between(0, 1024);
        /// Keep each shard on a processor of its own. For a machine, a container or a cpuset that the server has for itself:
        /// who shares a processor with another busy process is then not moved away from it.
        pin_shards: bool = false => ours;
        /// Listen beyond loopback even though anyone who reaches the server can connect, publish or use the API. For
        /// closed networks and containers only.
        open_to_network: bool = false => ours;
    }
}

impl HttpServerConfig {
    /// Where the public listener binds.
    #[must_use]
    pub fn public_addr(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Where the internal listener binds, if there is one of its own.
    #[must_use]
    pub fn internal_addr(&self) -> Option<SocketAddr> {
        let address = self.internal_address.unwrap_or(self.address);
        let port = self.internal_port.unwrap_or(self.port);
        // The same fixed place twice is one listener; two times "any free port" are two.
        let same = address == self.address && port == self.port && self.internal_port != Some(0);
        (!same).then_some(SocketAddr::new(address, port))
    }
}

section! {
    /// `http_server.tls`: certificate and key of the listeners.
    pub struct TlsConfig {
        /// Speak TLS. Costs about 9 KB more per idle connection.
        enabled: bool = false;
        /// File with the certificate chain in PEM.
        cert_pem_file: Option<PathBuf> = None;
        /// File with the private key in PEM.
        key_pem_file: Option<PathBuf> = None;
        /// The certificate chain as Centrifugo v6 takes it: a path, the PEM itself, or the PEM in base64.
        cert_pem: Option<String> = None;
        /// The private key, likewise: a path, the PEM itself, or the PEM in base64.
        key_pem: Option<Secret> = None;
    }
}

section! {
    /// `websocket`: the WebSocket transport.
    pub struct WebsocketConfig {
        /// Turn the transport off.
        disabled: bool = false;
        /// Path of the endpoint.
        handler_prefix: String = "/connection/websocket".to_owned();
        /// Longest message a client may send, in bytes; beyond it the connection is closed with 1009. A client can make
        /// the server hold this much per connection.
        message_size_limit: usize = 65_536 => between(1, 1 << 30);
        /// Time for one write to make progress before the connection is given up. 0: no limit of its own, the queue
        /// bound (`client.queue_max_size`) and the pings decide.
        write_timeout: Duration = Duration::from_secs(1) => between(0, MINUTES_10);
        /// Offer permessage-deflate.
        compression: bool = false => later(Later::Warn("messages are sent uncompressed"));
        /// Smallest message to compress, in bytes. 0: all.
        compression_min_size: usize = 0;
        /// Effort of compression, from 1 (fast) to 9 (small).
        compression_level: u32 = 1 => between(1, 9);
    }
}

section! {
    /// `http_api`: the HTTP API for backends.
    pub struct HttpApiConfig {
        /// Turn the API off.
        disabled: bool = false;
        /// Path under which the methods stand.
        handler_prefix: String = "/api".to_owned();
        /// Key that every request must show (`X-API-Key: KEY`). Empty: no request is let in, unless `http_api.insecure`.
        key: Option<Secret> = None;
        /// File whose content is the key (without a newline at its end); instead of `key`.
        key_file: Option<PathBuf> = None => ours;
        /// Keep the API on the public port although there is an internal one.
        external: bool = false;
        /// Let every request in without a key, but for those of web pages (with an `Origin`): they get 403.
        insecure: bool = false;
        /// How errors of the API are told: empty for HTTP 200 with an `error` in the body, `transport` for HTTP statuses.
        error_mode: ErrorMode = ErrorMode::Body;
    }
}

choice! {
    /// How the HTTP API tells errors.
    pub enum ErrorMode {
        /// HTTP 200 and `{"error": …}`.
        #[default]
        Body = "",
        /// An HTTP status.
        Transport = "transport",
    }
}

section! {
    /// `prometheus` and `health`: an endpoint for operations.
    pub struct EndpointConfig {
        /// Serve it; on the internal port if there is one.
        enabled: bool = true;
        /// Its path.
        handler_prefix: String = "/".to_owned();
    }
}

impl EndpointConfig {
    /// Enabled, on this path.
    #[must_use]
    pub fn at(path: &str) -> Self {
        Self { enabled: true, handler_prefix: path.to_owned() }
    }
}

section! {
    /// `echo`: a plain WebSocket echo on `/echo`, to judge the codec and measure latency with other tools.
    pub struct EchoConfig {
        /// Serve it. It asks nobody for a token; who is silent for `client.stale_close_delay` is closed with 3502.
        enabled: bool = false => ours;
    }
}
