//! Frames over a stream of bytes: what is to be sent is encoded at once, what is received is decoded in place.
//!
//! An idle socket holds no buffer. Reads go into memory that all sockets of a thread share; the decoder keeps an
//! unfinished frame's bytes and nothing else.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pubsub_protocol::websocket::{self, Decoder, Event, Opcode, Role, Violation};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is read at once: at 200 bytes a publication, some 80 of them.
const SCRATCH_BYTES: usize = 16 * 1_024;

thread_local! {
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Why a socket can not be read from any more.
#[derive(Debug)]
pub(crate) enum ReadError {
    Io(io::Error),
    Violation(Violation),
}

#[derive(Debug)]
pub(crate) struct Socket<S> {
    stream: S,
    decoder: Decoder,
    masks: ChaCha8Rng,
    /// Encoded frames, of which the first `written` bytes are gone.
    out: Vec<u8>,
    written: usize,
    /// Whether the stream may hold back what was written (TLS does).
    flush: bool,
    /// What came with the upgrade.
    leftover: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(crate) fn new(stream: S, leftover: Vec<u8>, message_bytes_max: usize, masks: ChaCha8Rng) -> Self {
        let decoder = Decoder::new(Role::Client, message_bytes_max);
        Self { stream, decoder, masks, out: Vec::new(), written: 0, flush: false, leftover }
    }

    /// Puts a frame behind those that wait to be written.
    pub(crate) fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        let mask = self.masks.next_u32().to_le_bytes();
        websocket::encode_frame(opcode, payload, Some(mask), true, &mut self.out);
    }

    /// Bytes that wait to be written.
    pub(crate) fn backlog(&self) -> usize {
        self.out.len() - self.written
    }

    /// Writes what waits. Ready when all of it has left.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.backlog() > 0 {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out[self.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
            self.flush = true;
        }
        if self.flush {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.flush = false;
        }
        self.out = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads once and hands each event to `take`. Ready with false at the end of the stream.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(Event<'_>),
    ) -> Poll<Result<bool, ReadError>> {
        if !self.leftover.is_empty() {
            let mut leftover = std::mem::take(&mut self.leftover);
            return Poll::Ready(self.decode(&mut leftover, &mut take).map(|()| true));
        }
        // Taken out rather than borrowed: what `take` calls is not ours to know.
        let mut scratch = SCRATCH.take().unwrap_or_else(|| vec![0; SCRATCH_BYTES].into_boxed_slice());
        let mut buffer = ReadBuf::new(&mut scratch);
        let outcome = match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(ReadError::Io(error))),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Ok(false)),
            Poll::Ready(Ok(())) => Poll::Ready(self.decode(buffer.filled_mut(), &mut take).map(|()| true)),
        };
        SCRATCH.set(Some(scratch));
        outcome
    }

    fn decode(&mut self, bytes: &mut [u8], take: &mut impl FnMut(Event<'_>)) -> Result<(), ReadError> {
        let mut at = 0;
        loop {
            let decoded = self.decoder.decode(&mut bytes[at..]).map_err(ReadError::Violation)?;
            at += decoded.consumed;
            let Some(event) = decoded.event else { return Ok(()) };
            take(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use rand::SeedableRng as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn socket(pipe_bytes: usize, leftover: &[u8]) -> (Socket<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(pipe_bytes);
        (Socket::new(ours, leftover.to_vec(), 1_000, ChaCha8Rng::seed_from_u64(1)), theirs)
    }

    async fn received(socket: &mut Socket<DuplexStream>) -> Vec<String> {
        let mut seen = Vec::new();
        poll_fn(|cx| socket.poll_receive(cx, |event| seen.push(format!("{event:?}")))).await.unwrap();
        seen
    }

    #[tokio::test]
    async fn what_came_with_the_upgrade_is_read_first() {
        let mut frame = Vec::new();
        websocket::encode_frame(Opcode::Text, b"a", None, true, &mut frame);
        let (mut socket, mut theirs) = socket(64, &frame);
        frame.clear();
        websocket::encode_frame(Opcode::Ping, b"b", None, true, &mut frame);
        theirs.write_all(&frame).await.unwrap();
        assert!(received(&mut socket).await[0].contains("Text"));
        assert_eq!(received(&mut socket).await, ["Ping([98])"]);
    }

    #[tokio::test]
    async fn frames_are_masked_and_written_however_little_fits() {
        let (mut socket, mut theirs) = socket(3, &[]);
        socket.send(Opcode::Text, b"hello");
        socket.send(Opcode::Text, b"hello");
        let mut bytes = vec![0; 2 * (2 + 4 + 5)];
        let (written, read) = tokio::join!(poll_fn(|cx| socket.poll_flush(cx)), theirs.read_exact(&mut bytes));
        written.unwrap();
        read.unwrap();
        assert_ne!(bytes[..11], bytes[11..], "each frame has a mask of its own");
        assert_eq!((socket.backlog(), socket.out.capacity()), (0, 0), "no memory is kept");
        let mut decoder = Decoder::new(Role::Server, 100);
        let decoded = decoder.decode(&mut bytes).unwrap();
        assert_eq!(decoded.event, Some(Event::Message { kind: websocket::MessageKind::Text, data: b"hello" }));
    }

    #[tokio::test]
    async fn a_masked_frame_of_the_server_is_a_violation() {
        let (mut socket, mut theirs) = socket(64, &[]);
        let mut frame = Vec::new();
        websocket::encode_frame(Opcode::Text, b"a", Some([1; 4]), true, &mut frame);
        theirs.write_all(&frame).await.unwrap();
        let outcome = poll_fn(|cx| socket.poll_receive(cx, |_| panic!("nothing may surface"))).await;
        assert!(matches!(outcome, Err(ReadError::Violation(_))));
    }
}
