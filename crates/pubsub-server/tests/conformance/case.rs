//! A case as data.

use crate::frame::{CLOSE, Frame};

/// How a case ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing happened: a ping is answered, and the connection closes as it should.
    Alive,
    /// The server fails the connection with this code.
    Fails(u16),
    /// The server answers our close frame with this payload.
    Closes(Vec<u8>),
}

/// What is sent, what has to come back, and how it has to end.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) sent: Vec<Vec<u8>>,
    pub(crate) answers: Vec<Frame>,
    pub(crate) end: End,
    /// Sizes of writes that a large case is sent in, beside those that all are.
    pub(crate) chops: &'static [usize],
}

impl Case {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), sent: Vec::new(), answers: Vec::new(), end: End::Alive, chops: &[] }
    }

    pub(crate) fn sends(self, frame: &Frame) -> Self {
        self.sends_bytes(frame.bytes())
    }

    pub(crate) fn sends_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.sent.push(bytes.into());
        self
    }

    pub(crate) fn gets(mut self, frame: Frame) -> Self {
        self.answers.push(frame);
        self
    }

    /// Sends a whole message and gets it back.
    pub(crate) fn echoes(self, frame: Frame) -> Self {
        self.sends(&frame).gets(frame)
    }

    pub(crate) fn fails(mut self, code: u16) -> Self {
        self.end = End::Fails(code);
        self
    }

    pub(crate) fn chopped(mut self, chops: &'static [usize]) -> Self {
        self.chops = chops;
        self
    }

    pub(crate) fn closes(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.end = End::Closes(payload.into());
        self
    }

    /// Whether it is about frames alone, so that it holds for every endpoint.
    pub(crate) fn echoes_nothing(&self) -> bool {
        self.answers.iter().all(|frame| frame.opcode >= CLOSE)
    }
}
