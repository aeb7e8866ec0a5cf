//! TLS from outside: WebSockets over it, a certificate that is changed while the server runs, and those who can not
//! even shake hands.

#![allow(clippy::unwrap_used, reason = "clippy takes the rig of a test for something else than a test")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PATIENCE: Duration = Duration::from_secs(20);

/// Makes a certificate, writes it and its key where the server looks, and returns what a client has to trust.
fn certificate(directory: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(directory.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

async fn serve(directory: &Path) -> (Child, SocketAddr) {
    let file = |name: &str| format!("{}", directory.join(name).display());
    let mut child = Command::new(env!("CARGO_BIN_EXE_pubsub-server"))
        .env_clear()
        .args(["--open", "--port", "0", "--log-level", "error", "--set", "http_server.tls.enabled=true"])
        .args(["--set", &format!("http_server.tls.cert_pem_file={}", file("cert.pem"))])
        .args(["--set", &format!("http_server.tls.key_pem_file={}", file("key.pem"))])
        .args(["--set", "http_server.handshake_timeout=1s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    timeout(PATIENCE, stdout.read_line(&mut line)).await.expect("it says where it listens").unwrap();
    let address = line.trim().strip_prefix("listening on https://").unwrap_or_else(|| panic!("{line:?}"));
    let address = address.parse().unwrap();
    (child, address)
}

async fn connect(address: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// Upgrades and connects: the server answers through TLS.
async fn is_served(stream: &mut TlsStream<TcpStream>) {
    stream
        .write_all(
            b"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await
        .unwrap();
    hears(stream, b"\r\n\r\n").await;
    says(stream, br#"{"id":1,"connect":{}}"#).await;
    hears(stream, br#"{"id":1,"connect":"#).await;
}

async fn says(stream: &mut TlsStream<TcpStream>, message: &[u8]) {
    let header = [0x81, 0x80 | u8::try_from(message.len()).expect("a short one"), 0, 0, 0, 0];
    stream.write_all(&[&header, message].concat()).await.unwrap();
}

async fn hears(stream: &mut TlsStream<TcpStream>, wanted: &[u8]) {
    let mut heard = Vec::new();
    while !heard.windows(wanted.len()).any(|part| part == wanted) {
        let mut part = [0; 1024];
        let n = timeout(PATIENCE, stream.read(&mut part)).await.expect("an answer, in time").unwrap();
        assert!(n > 0, "the end, after {}", heard.escape_ascii());
        heard.extend_from_slice(&part[..n]);
    }
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_a_bad_one_for_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let first = certificate(directory.path());
    let (mut child, address) = serve(directory.path()).await;
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    let hang_up = || kill_process(pid, Signal::HUP).unwrap();
    let mut old = connect(address, &first).await.unwrap();
    is_served(&mut old).await;

    let second = certificate(directory.path());
    assert!(connect(address, &second).await.is_err(), "nothing is read before it is told to");
    hang_up();
    let mut new = timeout(PATIENCE, async {
        loop {
            match connect(address, &second).await {
                Ok(stream) => break stream,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await
    .expect("the new certificate, in time");
    is_served(&mut new).await;
    assert!(connect(address, &first).await.is_err(), "the old certificate is no longer shown");
    says(&mut old, br#"{"id":2,"history":{"channel":"c"}}"#).await;
    hears(&mut old, br#"{"id":2,"history":"#).await;

    std::fs::write(directory.path().join("cert.pem"), "no certificate").unwrap();
    hang_up();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = timeout(PATIENCE, async {
        loop {
            match log.next_line().await.unwrap() {
                Some(line) if line.contains("SIGHUP") => break line,
                line => assert!(line.is_some(), "the log ends"),
            }
        }
    });
    let told = told.await.expect("an error is told");
    assert!(told.contains("stays as it is") && told.contains("cert_pem_file"), "{told}");
    is_served(&mut connect(address, &second).await.expect("the good certificate stays")).await;
}

#[tokio::test]
async fn who_can_not_shake_hands_is_let_go_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let trusted = certificate(directory.path());
    let (_child, address) = serve(directory.path()).await;
    for said in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\x16\x03\x01\x00\x05hello", b""] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said).await.unwrap();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("it is let go");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(connect(address, &certificate(elsewhere.path())).await.is_err());

    let mut stream = connect(address, &trusted).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut metrics = String::new();
    let _ = stream.read_to_string(&mut metrics).await;
    let counted = |reason: &str| {
        let name = format!("pubsub_connections_refused_total{{reason=\"{reason}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap_or(0)
    };
    assert_eq!((counted("tls"), counted("handshake_timeout")), (3, 1), "{metrics}");
}
