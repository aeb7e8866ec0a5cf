//! The streams faults are put around: anything that can be read, written and, at the end, reset.

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;

/// A stream that can end rudely.
pub trait Carrier: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// From now on, dropping it resets the connection instead of closing it: the peer sees a reset, and what had
    /// not been sent yet is gone.
    fn reset_on_drop(&mut self);
}

impl Carrier for TcpStream {
    fn reset_on_drop(&mut self) {
        // Fails only on a socket that is already gone, and then there is nobody left to be rude to.
        let _gone = self.set_zero_linger();
    }
}

/// Tokio's pipe knows no reset: its peer sees the end of the stream. Use [`super::memory`] where that matters.
impl Carrier for DuplexStream {
    fn reset_on_drop(&mut self) {}
}

impl<C: Carrier + ?Sized> Carrier for Box<C> {
    fn reset_on_drop(&mut self) {
        (**self).reset_on_drop();
    }
}
