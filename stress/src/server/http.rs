//! Just enough HTTP to ask the server's API: one request, one connection, the answer as JSON.

use std::io;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Calls `method` of the server API at `address` (host and port) and returns its `result`.
///
/// # Errors
/// Whatever keeps the answer from being such a result, in words.
pub async fn call<T: DeserializeOwned>(address: &str, method: &str, params: &Value) -> io::Result<T> {
    #[derive(Deserialize)]
    struct Answer<T> {
        result: Option<T>,
    }
    let answer = post(address, method, params).await?;
    // Read as what it is and not as any JSON: payloads stay the bytes that they are.
    match serde_json::from_slice(&answer) {
        Ok(Answer { result: Some(result) }) => Ok(result),
        _ => Err(io::Error::other(format!("{method} at {address}: {}", String::from_utf8_lossy(&answer)))),
    }
}

/// Calls several methods at once, none of which may fail.
///
/// # Errors
/// When one does, or there is no answer.
pub async fn batch(address: &str, commands: &[Value]) -> io::Result<()> {
    let answer: Value = serde_json::from_slice(&post(address, "batch", &json!({ "commands": commands })).await?)?;
    let replies = answer["replies"].as_array().map(Vec::as_slice).unwrap_or_default();
    match replies.iter().find(|reply| reply.get("error").is_some()) {
        None if replies.len() == commands.len() => Ok(()),
        wrong => Err(io::Error::other(format!("batch at {address}: {}", wrong.unwrap_or(&answer)))),
    }
}

async fn post(address: &str, method: &str, params: &Value) -> io::Result<Vec<u8>> {
    let body = params.to_string();
    let request = format!(
        "POST /api/{method} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, body) = tokio::time::timeout(ANSWER_MAX, exchange(address, request.as_bytes())).await??;
    match status {
        200 => Ok(body),
        _ => Err(io::Error::other(format!("{method} at {address}: status {status}"))),
    }
}

/// Fetches `path`.
///
/// # Errors
/// When there is no answer.
pub async fn get(address: &str, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    tokio::time::timeout(ANSWER_MAX, exchange(address, request.as_bytes())).await?
}

async fn exchange(address: &str, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer"))
}

fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = &answer[end + 4..];
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return Some((status, body.to_vec()));
    }
    let (mut whole, mut rest) = (Vec::new(), body);
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?.trim(), 16).ok()?;
        if length == 0 {
            return Some((status, whole));
        }
        whole.extend_from_slice(rest.get(line + 2..line + 2 + length)?);
        rest = rest.get(line + 2 + length + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_whole_and_in_chunks() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(parse(plain), Some((200, b"{}".to_vec())));
        let chunked = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(parse(chunked), Some((404, b"abcde".to_vec())));
        assert_eq!(parse(b"nonsense"), None);
    }
}
