//! Frames and HTTP heads as they stand on the wire, written down here once more: nothing of the server's own codec is
//! used to judge it.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

/// Longest wait for something that has to come. Nothing waits so long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One frame, any frame: also those that the RFC forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) reserved: u8,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

impl Frame {
    pub(crate) fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Self { fin: true, reserved: 0, opcode, payload: payload.as_ref().to_vec() }
    }

    /// With more frames of the same message to follow.
    pub(crate) fn unfinished(mut self) -> Self {
        self.fin = false;
        self
    }

    pub(crate) fn reserved(mut self, bits: u8) -> Self {
        self.reserved = bits;
        self
    }

    /// As a client has to send it: masked, its length in the shortest form.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let key = [0x37, 0xFA, 0x21, 0x3D];
        let mut bytes = self.header(0x80);
        bytes.extend(key);
        bytes.extend(self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }

    /// As only a server may send it.
    #[allow(dead_code, reason = "not every suite needs it")]
    pub(crate) fn unmasked(&self) -> Vec<u8> {
        [self.header(0), self.payload.clone()].concat()
    }

    fn header(&self, mask: u8) -> Vec<u8> {
        let mut header = vec![u8::from(self.fin) << 7 | self.reserved << 4 | self.opcode];
        match self.payload.len() {
            short @ 0..=125 => header.push(mask | u8::try_from(short).expect("up to 125")),
            medium @ 126..=65_535 => {
                header.push(mask | 126);
                header.extend(u16::try_from(medium).expect("up to 65,535").to_be_bytes());
            }
            long => {
                header.push(mask | 127);
                header.extend((long as u64).to_be_bytes());
            }
        }
        header
    }
}

pub(crate) fn text(payload: &str) -> Frame {
    Frame::new(TEXT, payload)
}

pub(crate) fn binary(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(BINARY, payload)
}

pub(crate) fn more(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(CONTINUATION, payload)
}

pub(crate) fn ping(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(PING, payload)
}

pub(crate) fn pong(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(PONG, payload)
}

pub(crate) fn close(code: u16, reason: &str) -> Frame {
    Frame::new(CLOSE, [&code.to_be_bytes()[..], reason.as_bytes()].concat())
}

/// A request for an upgrade as it should be, with the key of the RFC's own example.
pub(crate) fn request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// The head of an HTTP response, down to its empty line. Empty: there was none.
pub(crate) async fn head(reader: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = reader.read_u8().await else { break };
            head.push(byte);
        }
    };
    timeout(PATIENCE, read).await.expect("a response, or the end of the connection");
    String::from_utf8(head).unwrap()
}

/// The next frame from a server, which has to be in the only form that a server may use.
pub(crate) async fn frame(reader: &mut (impl AsyncRead + Unpin)) -> Result<Frame, String> {
    timeout(PATIENCE, read_frame(reader)).await.map_err(|_| format!("nothing came for {PATIENCE:?}"))?
}

async fn read_frame(reader: &mut (impl AsyncRead + Unpin)) -> Result<Frame, String> {
    let gone = |error: std::io::Error| format!("the connection ended before a frame that had to come: {error}");
    let [first, second] = reader.read_u16().await.map_err(gone)?.to_be_bytes();
    if second & 0x80 != 0 {
        return Err("a server masked a frame".to_owned());
    }
    let (length, shortest) = match second {
        126 => (u64::from(reader.read_u16().await.map_err(gone)?), 126),
        127 => (reader.read_u64().await.map_err(gone)?, 65_536),
        short => (u64::from(short), 0),
    };
    if length < shortest {
        return Err(format!("a length of {length} not in its shortest form"));
    }
    let mut payload = vec![0; usize::try_from(length).expect("a length that fits")];
    reader.read_exact(&mut payload).await.map_err(gone)?;
    let frame = Frame { fin: first & 0x80 != 0, reserved: first >> 4 & 7, opcode: first & 0xF, payload };
    if frame.reserved != 0 || !matches!(frame.opcode, 0..=2 | CLOSE..=PONG) {
        return Err(format!("a frame that no server may send: {}", short(&frame)));
    }
    if frame.opcode >= CLOSE && (!frame.fin || frame.payload.len() > 125) {
        return Err(format!("a control frame too large or in pieces: {}", short(&frame)));
    }
    Ok(frame)
}

pub(crate) fn short(frame: &Frame) -> String {
    let shown = &frame.payload[..frame.payload.len().min(40)];
    format!(
        "fin {} opcode {} {} bytes {:?}",
        frame.fin,
        frame.opcode,
        frame.payload.len(),
        shown.escape_ascii().to_string()
    )
}
