//! What a frame carries, so that a fault can wait for its moment in the conversation.

use pubsub_protocol::Format;
use pubsub_protocol::command::Request;
use pubsub_protocol::push::PushBody;
use pubsub_protocol::reply::{Answer, Reply};

use super::frames::{FrameHeader, payload};
use super::plan::{Aim, Direction};

const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Something in a frame that an [`Aim`] may mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A command of this name.
    Command(&'static str),
    /// A reply to such a command, or a `push`.
    Reply(&'static str),
    /// A subscribe reply with recovered publications.
    RecoveredBatch,
    /// The first publication after one.
    FirstLiveAfterRecovery,
    /// A ping, or its answer.
    Ping,
    /// A close frame.
    Close,
}

/// Reads the marks off the frames of one direction, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct MarkReader {
    /// A recovered batch has passed and no publication since.
    recovered: bool,
}

impl MarkReader {
    /// What is in this whole frame. Nothing, if it is not what the protocol knows: aiming is not judging.
    pub fn read(&mut self, direction: Direction, header: &FrameHeader, frame: &[u8]) -> Vec<Mark> {
        match header.opcode() {
            CLOSE => return vec![Mark::Close],
            PING | PONG => return vec![Mark::Ping],
            _ if !header.is_whole_data() => return Vec::new(),
            _ => {}
        }
        let message = payload(header, frame);
        let format = if header.opcode() == BINARY { Format::Protobuf } else { Format::Json };
        if direction == Direction::Out {
            return format
                .commands(&message)
                .map_while(Result::ok)
                .map(|command| command_mark(&command.request))
                .collect();
        }
        let mut marks = Vec::new();
        for reply in format.replies(&message).map_while(Result::ok) {
            self.reply_marks(&reply, &mut marks);
        }
        marks
    }

    fn reply_marks(&mut self, reply: &Reply, marks: &mut Vec<Mark>) {
        match reply {
            Reply::Ping => marks.push(Mark::Ping),
            Reply::Push(push) => {
                marks.push(Mark::Reply("push"));
                if matches!(push.body, PushBody::Publication(_)) && std::mem::take(&mut self.recovered) {
                    marks.push(Mark::FirstLiveAfterRecovery);
                }
            }
            Reply::Answer { outcome: Ok(answer), .. } => {
                marks.push(Mark::Reply(answer_name(answer)));
                if let Answer::Subscribe(result) = answer
                    && result.recovered
                {
                    self.recovered = true;
                    if !result.publications.is_empty() {
                        marks.push(Mark::RecoveredBatch);
                    }
                }
            }
            Reply::Answer { outcome: Err(_), .. } => marks.push(Mark::Reply("error")),
        }
    }
}

fn answer_name(answer: &Answer) -> &'static str {
    match answer {
        Answer::Connect(_) => "connect",
        Answer::Subscribe(_) => "subscribe",
        Answer::Unsubscribe => "unsubscribe",
        Answer::Publish => "publish",
        Answer::Presence(_) => "presence",
        Answer::PresenceStats(_) => "presence_stats",
        Answer::History(_) => "history",
        Answer::Rpc(_) => "rpc",
        Answer::Refresh(_) => "refresh",
        Answer::SubRefresh(_) => "sub_refresh",
        _ => "other",
    }
}

fn command_mark(request: &Request) -> Mark {
    match request {
        Request::Pong => Mark::Ping,
        other => Mark::Command(other.name()),
    }
}

impl Aim {
    /// Whether a frame with these marks is what the aim waits for.
    #[must_use]
    pub fn meets(&self, header: &FrameHeader, marks: &[Mark]) -> bool {
        let marked = |mark: Mark| marks.contains(&mark);
        match self {
            Self::Frame(n) => header.index == *n,
            Self::MidHeader => header.is_whole_data(),
            Self::MidPayload => header.is_whole_data() && header.payload_bytes >= 2,
            Self::Command(name) => marks.iter().any(|m| matches!(m, Mark::Command(n) if n == name)),
            Self::Reply(name) => marks.iter().any(|m| matches!(m, Mark::Reply(n) if n == name)),
            Self::RecoveredBatch => marked(Mark::RecoveredBatch),
            Self::FirstLiveAfterRecovery => marked(Mark::FirstLiveAfterRecovery),
            Self::PublishUnacked => marked(Mark::Reply("publish")),
            Self::Ping => marked(Mark::Ping),
            Self::Close => marked(Mark::Close),
            Self::At | Self::Connect | Self::Handshake | Self::Byte(_) => false,
        }
    }

    /// How many bytes of the frame still pass before the fault strikes.
    #[must_use]
    pub fn passes(&self, header: &FrameHeader) -> usize {
        match self {
            Self::MidHeader => 1,
            Self::MidPayload | Self::RecoveredBatch => {
                header.header_bytes + usize::try_from(header.payload_bytes / 2).unwrap_or(usize::MAX)
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::frames::tests::frame;
    use crate::fault::frames::{FrameCursor, Unit};

    fn read(reader: &mut MarkReader, direction: Direction, text: &str) -> Vec<Mark> {
        let bytes = frame(0x81, Some([4, 3, 2, 1]), text.as_bytes());
        let Some(Unit::Frame(header)) = FrameCursor::after_handshake().step(&bytes).complete else { panic!() };
        reader.read(direction, &header, &bytes)
    }

    #[test]
    fn commands_and_pongs_are_read_off_what_a_client_sends() {
        let text = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n{}";
        let marks = read(&mut MarkReader::default(), Direction::Out, text);
        assert_eq!(marks, [Mark::Command("connect"), Mark::Command("subscribe"), Mark::Ping]);
    }

    #[test]
    fn the_first_publication_after_a_recovered_batch_is_marked_once() {
        let reader = &mut MarkReader::default();
        let push = r#"{"push":{"channel":"a","pub":{"data":1,"offset":3}}}"#;
        let batch = r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"x","offset":1,"recovered":true,"was_recovering":true,"publications":[{"data":1,"offset":2}]}}"#;
        assert_eq!(read(reader, Direction::In, push), [Mark::Reply("push")]);
        assert_eq!(read(reader, Direction::In, batch), [Mark::Reply("subscribe"), Mark::RecoveredBatch]);
        assert_eq!(read(reader, Direction::In, push), [Mark::Reply("push"), Mark::FirstLiveAfterRecovery]);
        assert_eq!(read(reader, Direction::In, push), [Mark::Reply("push")]);
        assert_eq!(read(reader, Direction::In, "{}"), [Mark::Ping]);
        assert_eq!(read(reader, Direction::In, "not the protocol"), []);
    }
}
