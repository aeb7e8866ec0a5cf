//! What it costs to read commands, to write replies, and to take frames apart.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pubsub_protocol::push::PushBody;
use pubsub_protocol::reply::Reply;
use pubsub_protocol::websocket::{Decoder, FrameBuilder, Opcode, Role, encode_frame};
use pubsub_protocol::{Format, Payload, Publication, Push};

const SIZES: [usize; 3] = [128, 4 * 1024, 64 * 1024];

fn data(bytes: usize) -> Payload {
    Payload::from_bytes(format!("\"{}\"", "x".repeat(bytes - 2)).as_bytes())
}

fn push(bytes: usize) -> Reply {
    let (tags, epoch) = (BTreeMap::new(), String::new());
    let body = PushBody::Publication(Publication { data: data(bytes), info: None, offset: 1_000_000, tags, epoch });
    Reply::Push(Push { channel: "news:sport".to_owned(), body })
}

fn publications_to_frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("a publication to a frame");
    for bytes in SIZES {
        let reply = push(bytes);
        group.throughput(Throughput::Bytes(bytes as u64)).bench_function(format!("{bytes} B"), |b| {
            b.iter(|| {
                let mut builder = FrameBuilder::with_capacity(bytes + 64);
                Format::Json.encode_reply(black_box(&reply), builder.payload_mut());
                builder.finish(Opcode::Text)
            });
        });
    }
}

fn commands_from_messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("commands from a message");
    let publish = |bytes| {
        let data = String::from_utf8_lossy(data(bytes).as_bytes()).into_owned();
        format!(r#"{{"id":7,"publish":{{"channel":"news:sport","data":{data}}}}}"#)
    };
    let subscribe = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"news:sport\"}}".to_owned();
    for (name, message) in [
        ("publish, 128 B", publish(128)),
        ("publish, 64 KiB", publish(64 * 1024)),
        ("connect and subscribe", subscribe),
    ] {
        group.throughput(Throughput::Bytes(message.len() as u64)).bench_function(name, |b| {
            b.iter(|| {
                for command in Format::Json.commands(black_box(message.as_bytes())) {
                    black_box(command.expect("it is one"));
                }
            });
        });
    }
}

fn replies_from_messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("replies from a message");
    for bytes in SIZES {
        let mut message = Vec::new();
        Format::Json.encode_reply(&push(bytes), &mut message);
        group.throughput(Throughput::Bytes(message.len() as u64)).bench_function(
            format!("a publication, {bytes} B"),
            |b| {
                b.iter(|| {
                    for reply in Format::Json.replies(black_box(&message)) {
                        black_box(reply.expect("it is one"));
                    }
                });
            },
        );
    }
}

fn frames_to_messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("a masked frame to a message");
    for bytes in SIZES {
        let mut frame = Vec::new();
        encode_frame(Opcode::Text, "x".repeat(bytes).as_bytes(), Some([1, 2, 3, 4]), true, &mut frame);
        let mut decoder = Decoder::new(Role::Server, 1 << 20);
        group.throughput(Throughput::Bytes(bytes as u64)).bench_function(format!("{bytes} B"), |b| {
            // It is unmasked where it lies, so each needs a fresh one.
            b.iter_batched_ref(
                || frame.clone(),
                |frame| {
                    let decoded = decoder.decode(black_box(frame)).expect("it is in order");
                    decoded.event.is_some()
                },
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, publications_to_frames, commands_from_messages, replies_from_messages, frames_to_messages);
criterion_main!(benches);
