//! What a handler writes.

use pubsub_protocol::websocket::Opcode;

/// The messages that leave at the end of a turn, in order.
///
/// ```
/// use pubsub_client::handler::Outgoing;
///
/// let mut out = Outgoing::default();
/// out.text().extend_from_slice(b"hello");
/// assert_eq!(out.texts(), ["hello"]);
/// ```
#[derive(Debug, Default)]
pub struct Outgoing {
    messages: Vec<(Opcode, Vec<u8>)>,
    batch_open: bool,
}

/// A batch is sent as it is once it is this long: servers limit a message to 65,536 bytes.
const BATCH_BYTES: usize = 16 * 1_024;

/// Room that a message begins with: most commands fit, and are not moved as they grow.
const MESSAGE_BYTES: usize = 256;

impl Outgoing {
    /// A text message of its own, still empty: write it.
    ///
    /// ```
    /// # use pubsub_client::handler::Outgoing;
    /// let mut out = Outgoing::default();
    /// out.text().extend_from_slice(b"one");
    /// out.text().extend_from_slice(b"two");
    /// assert_eq!(out.texts(), ["one", "two"]);
    /// ```
    pub fn text(&mut self) -> &mut Vec<u8> {
        self.begin(Opcode::Text, false)
    }

    /// A binary message of its own, still empty: write it.
    ///
    /// ```
    /// # use pubsub_client::handler::Outgoing;
    /// let mut out = Outgoing::default();
    /// out.binary().extend_from_slice(&[0, 1, 2]);
    /// ```
    pub fn binary(&mut self) -> &mut Vec<u8> {
        self.begin(Opcode::Binary, false)
    }

    /// The text message that collects what a protocol can join into one (Centrifuge commands, one a line). What is in
    /// it already must stay.
    ///
    /// ```
    /// # use pubsub_client::handler::Outgoing;
    /// let mut out = Outgoing::default();
    /// out.batched_text().extend_from_slice(b"one\n");
    /// out.batched_text().extend_from_slice(b"two\n");
    /// assert_eq!(out.texts(), ["one\ntwo\n"]);
    /// ```
    pub fn batched_text(&mut self) -> &mut Vec<u8> {
        self.batched(Opcode::Text)
    }

    /// The same for a protocol that is binary (Centrifuge commands in protobuf, each behind its length).
    ///
    /// ```
    /// # use pubsub_client::handler::Outgoing;
    /// let mut out = Outgoing::default();
    /// out.batched_binary().push(1);
    /// out.batched_binary().push(2);
    /// assert_eq!(out.texts(), ["\u{1}\u{2}"]);
    /// ```
    pub fn batched_binary(&mut self) -> &mut Vec<u8> {
        self.batched(Opcode::Binary)
    }

    fn batched(&mut self, opcode: Opcode) -> &mut Vec<u8> {
        let fits = |(kind, batch): &(Opcode, Vec<u8>)| *kind == opcode && batch.len() < BATCH_BYTES;
        if self.batch_open && self.messages.last().is_some_and(fits) {
            &mut self.messages.last_mut().expect("an open batch is the last message").1
        } else {
            self.begin(opcode, true)
        }
    }

    /// Whether what is written next in a batch of the same kind goes into the only message so far.
    pub(crate) fn is_one_open_batch(&self) -> bool {
        matches!(&*self.messages, [(_, batch)] if self.batch_open && batch.len() < BATCH_BYTES)
    }

    fn begin(&mut self, opcode: Opcode, batch: bool) -> &mut Vec<u8> {
        self.batch_open = batch;
        self.messages.push((opcode, Vec::with_capacity(MESSAGE_BYTES)));
        &mut self.messages.last_mut().expect("just pushed").1
    }

    /// Takes all that was written. Messages left empty are not sent.
    pub(crate) fn take(&mut self) -> Vec<(Opcode, Vec<u8>)> {
        self.batch_open = false;
        let mut messages = std::mem::take(&mut self.messages);
        messages.retain(|(_, message)| !message.is_empty());
        messages
    }

    /// The texts written so far; for tests of handlers.
    ///
    /// ```
    /// # use pubsub_client::handler::Outgoing;
    /// assert!(Outgoing::default().texts().is_empty());
    /// ```
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.messages.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_before_a_server_would_refuse_it() {
        let mut out = Outgoing::default();
        for _ in 0..3 {
            out.batched_text().extend_from_slice(&[b'x'; BATCH_BYTES]);
        }
        out.batched_text().extend_from_slice(b"a");
        out.batched_text().extend_from_slice(b"b");
        let lengths: Vec<usize> = out.take().iter().map(|(_, message)| message.len()).collect();
        assert_eq!(lengths, [BATCH_BYTES, BATCH_BYTES, BATCH_BYTES, 2]);
    }

    #[test]
    fn order_is_kept_between_batches_and_messages() {
        let mut out = Outgoing::default();
        out.batched_text().push(b'1');
        out.text().push(b'2');
        out.batched_text().push(b'3');
        out.batched_text().push(b'4');
        let _ = out.binary();
        assert_eq!(out.texts(), ["1", "2", "34", ""]);
        assert_eq!(out.take().len(), 3, "a message that was left empty is not sent");
        assert!(out.take().is_empty());
    }
}
