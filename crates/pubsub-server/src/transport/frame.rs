//! Values to WebSocket frames, in pieces of memory that can be shared and written as they are: mostly one for each.

use pubsub_protocol::codec::Batch;
use pubsub_protocol::push::{ClientInfo, PushBody};
use pubsub_protocol::websocket::{FrameBuilder, Opcode, close_payload};
use pubsub_protocol::{Format, Push, Reply};

use crate::outbox::Frame;

/// A data frame with one reply.
pub fn encode_reply(format: Format, reply: &Reply) -> Frame {
    let mut builder = FrameBuilder::with_capacity(capacity(reply));
    format.encode_reply(reply, builder.payload_mut());
    let (bytes, start) = builder.finish(opcode(format));
    Frame::new(bytes, start)
}

/// The same in pieces: for each batch of publications `lay` either appends it, or gives the pieces to be sent in its place.
pub fn encode_reply_in_pieces(
    format: Format,
    reply: &Reply,
    mut lay: impl FnMut(&mut Vec<u8>, Batch<'_>) -> Vec<Frame>,
) -> Vec<Frame> {
    let mut builder = FrameBuilder::with_capacity(capacity(reply));
    let mut batches: Vec<(usize, Vec<Frame>)> = Vec::new();
    format.encode_reply_around(reply, builder.payload_mut(), |own, batch| {
        let pieces = lay(own, batch);
        if !pieces.is_empty() {
            batches.push((own.len(), pieces));
        }
    });
    let elsewhere = batches.iter().flat_map(|(_, pieces)| pieces).map(Frame::size).sum();
    let (mut own, start) = builder.finish_with(opcode(format), elsewhere);
    // From the end, so that each byte is moved once.
    let behind: Vec<(Vec<Frame>, Vec<u8>)> =
        batches.into_iter().rev().map(|(place, pieces)| (pieces, own.split_off(place))).collect();
    let mut frame = vec![Frame::new(own, start)];
    for (pieces, own) in behind.into_iter().rev() {
        frame.extend(pieces);
        frame.push(Frame::new(own, 0));
    }
    frame
}

fn opcode(format: Format) -> Opcode {
    match format {
        Format::Json => Opcode::Text,
        Format::Protobuf => Opcode::Binary,
    }
}

/// A control frame.
pub fn encode_control(opcode: Opcode, payload: &[u8]) -> Frame {
    let mut builder = FrameBuilder::with_capacity(payload.len());
    builder.payload_mut().extend_from_slice(payload);
    let (bytes, start) = builder.finish(opcode);
    Frame::new(bytes, start)
}

/// A close frame; a reason that is too long is cut.
pub fn encode_close(code: u16, reason: &str) -> Frame {
    encode_control(Opcode::Close, &close_payload(code, reason))
}

/// A guess at a reply's encoded size that spares a large publication from being copied as the buffer grows.
fn capacity(reply: &Reply) -> usize {
    match reply {
        Reply::Push(Push { channel, body: PushBody::Publication(publication) }) => {
            80 + channel.len() + publication.data.len() + publication.info.as_deref().map_or(0, size_of_info)
        }
        Reply::Ping => 2,
        _ => 128,
    }
}

/// About how many bytes it takes.
pub fn size_of_info(info: &ClientInfo) -> usize {
    let payloads = info.conn_info.iter().chain(&info.chan_info).map(|payload| 16 + payload.len());
    40 + info.user.len() + info.client.len() + payloads.sum::<usize>()
}
