//! A case as data, and the frames it is made of.

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
}

impl Case {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), sent: Vec::new(), answers: Vec::new(), end: End::Alive }
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

    pub(crate) fn closes(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.end = End::Closes(payload.into());
        self
    }

    /// Whether it is about frames alone, so that it holds for every endpoint.
    pub(crate) fn echoes_nothing(&self) -> bool {
        self.answers.iter().all(|frame| frame.opcode >= CLOSE)
    }
}
