//! Crowds of WebSockets that break rules, or keep them in ways that cost.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

use crate::frame::{Frame, PATIENCE, PONG, binary, close, frame, more, ping, pong, text};
use crate::peer::Peer;
use crate::siege::{Siege, Size, crowd, sieges, withstand};

sieges! {
    frames_that_announce_everything fragments_without_end empty_fragments_without_end compressed_bombs
    pings_unread pings_read tiny_frames never_reads never_pongs never_connects
}

/// Soon enough for those who answer none; and healthy clients of a busy machine have the time to answer theirs.
const QUICK_PINGS: &[&str] = &["client.ping_interval=3s", "client.pong_timeout=2900ms"];

async fn frames_that_announce_everything(size: Size) {
    let siege = Siege {
        name: "frames of 2^63 bytes",
        answer: "1002, 1009",
        settings: &[],
        bytes_each: 4 << 10,
        counted: &["pubsub_disconnects_total{code=\"1002\"}", "pubsub_disconnects_total{code=\"1009\"}"],
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |n| async move {
            let mut peer = Peer::raw(address).await.upgraded().await;
            let (length, code) = [(1 << 63, 1002), (1 << 62, 1009), (65_537, 1009)][n % 3];
            let header = [&[0x82, 0xFF][..], &u64::to_be_bytes(length), &[1, 2, 3, 4], b"and no more"].concat();
            peer.writer.write_all(&header).await.unwrap();
            assert_eq!(peer.close_code().await, Some(code));
        })
        .await;
    })
    .await;
}

async fn fragments_without_end(size: Size) {
    let siege = Siege {
        name: "fragments without end",
        answer: "1009",
        settings: &[],
        // The limit of a message (64 KiB), and as much again while it is grown.
        bytes_each: 160 << 10,
        counted: &["pubsub_disconnects_total{code=\"1009\"}"],
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |_| async move {
            let mut peer = Peer::raw(address).await.connected().await;
            peer.send(&text("[").unfinished()).await.unwrap();
            let fragment = more("1,".repeat(500)).unfinished().bytes();
            let mut sent = 0;
            while peer.writer.write_all(&fragment).await.is_ok() && sent < 1 << 20 {
                sent += fragment.len();
                // Slowly, so that all of the crowd are full at the same time.
                sleep(Duration::from_millis(5)).await;
            }
            assert!(matches!(peer.close_code().await, Some(1009) | None));
        })
        .await;
    })
    .await;
}

/// Nothing ever becomes a message, so the limit of its size is never reached; but neither can such a peer answer a ping.
async fn empty_fragments_without_end(size: Size) {
    let siege = Siege {
        name: "empty fragments without end",
        answer: "3012",
        settings: QUICK_PINGS,
        bytes_each: 16 << 10,
        counted: &["pubsub_disconnects_total{code=\"3012\"}"],
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |_| async move {
            let Peer { mut reader, mut writer } = Peer::raw(address).await.connected().await;
            writer.write_all(&text("").unfinished().bytes()).await.unwrap();
            let fragments = more("").unfinished().bytes().repeat(10);
            let flood = async {
                while writer.write_all(&fragments).await.is_ok() {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            let listening = async {
                while let Ok(frame) = frame(&mut reader).await {
                    if frame.opcode == 8 {
                        return frame.payload;
                    }
                }
                panic!("it ended without a close frame")
            };
            let ((), said) = timeout(PATIENCE, async { tokio::join!(flood, listening) }).await.expect("it is ended");
            assert_eq!(said[..2], 3012u16.to_be_bytes());
        })
        .await;
    })
    .await;
}

async fn compressed_bombs(size: Size) {
    let siege = Siege {
        name: "compressed frames",
        answer: "1002",
        settings: &[],
        bytes_each: 4 << 10,
        counted: &["pubsub_disconnects_total{code=\"1002\"}"],
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |_| async move {
            let mut peer = Peer::raw(address).await.connected().await;
            peer.send(&binary([0; 1000]).reserved(0b100)).await.unwrap();
            assert_eq!(peer.close_code().await, Some(1002));
        })
        .await;
    })
    .await;
}

/// The kernel takes a few megabytes for such a peer; then the pongs pile up here.
async fn pings_unread(size: Size) {
    let siege = Siege {
        name: "pings, and reads no pong",
        answer: "3009",
        settings: &[],
        // What waits to be decoded (64 KiB), pongs up to their number, a socket's own buffers are not the process's.
        bytes_each: 256 << 10,
        counted: &["pubsub_disconnects_total{code=\"3009\"}"],
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |_| async move {
            let mut peer = Peer::narrow(address).await.connected().await;
            let pings = ping([b'x'; 125]).bytes().repeat(100);
            let flood = async { while peer.writer.write_all(&pings).await.is_ok() {} };
            timeout(3 * PATIENCE, flood).await.expect("a peer that does not read is cut");
        })
        .await;
    })
    .await;
}

/// Bytes that one of the crowd may send in a flood that nobody stops: what is judged is that others are served.
const FLOOD_BYTES_PER_S: usize = 20_000;

/// Sends a frame over and over at a pace that a network would let through, and returns how often.
async fn flood(peer: &mut (impl AsyncWrite + Unpin), frame: &Frame, lasts: Duration) -> usize {
    let bytes = frame.bytes();
    let at_once = (FLOOD_BYTES_PER_S / 20).div_ceil(bytes.len());
    let (until, mut sent) = (Instant::now() + lasts, 0);
    while Instant::now() < until {
        peer.write_all(&bytes.repeat(at_once)).await.unwrap();
        sent += at_once;
        sleep(Duration::from_millis(50)).await;
    }
    sent
}

async fn pings_read(size: Size) {
    let siege = Siege {
        name: "floods of pings, answered",
        answer: "every one answered",
        settings: &[],
        bytes_each: 16 << 10,
        counted: &["pubsub_received_bytes_total"],
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |_| async move {
            let Peer { mut reader, mut writer } = Peer::raw(address).await.connected().await;
            let counting = tokio::spawn(async move {
                let mut pongs = 0;
                while let Ok(frame) = frame(&mut reader).await {
                    match frame.opcode {
                        PONG => pongs += 1,
                        _ => break,
                    }
                }
                pongs
            });
            let pings = flood(&mut writer, &ping("x"), size.lasts).await;
            writer.write_all(&close(1000, "").bytes()).await.unwrap();
            assert_eq!(counting.await.unwrap(), pings, "every ping is answered");
        })
        .await;
    })
    .await;
}

async fn tiny_frames(size: Size) {
    let siege = Siege {
        name: "floods of empty frames",
        answer: "nothing, as the RFC says",
        settings: &[],
        bytes_each: 16 << 10,
        counted: &["pubsub_received_bytes_total"],
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |_| async move {
            let mut peer = Peer::raw(address).await.connected().await;
            flood(&mut peer.writer, &pong(""), size.lasts).await;
            peer.send(&close(1000, "")).await.unwrap();
            assert_eq!(peer.close_code().await, Some(1000));
        })
        .await;
    })
    .await;
}

/// Subscribes to a channel in which much is said, and reads none of it.
async fn never_reads(size: Size) {
    let siege = Siege {
        name: "subscribes and never reads",
        answer: "3008, 3009",
        settings: &["client.queue_max_size=262144"],
        // Publications are shared; each of the crowd holds references to them.
        bytes_each: 16 << 10,
        counted: &["pubsub_disconnects_total{code=\"3008\"}", "pubsub_disconnects_total{code=\"3009\"}"],
    };
    const CUT: &[&str] = &["pubsub_disconnects_total{code=\"3008\"}", "pubsub_disconnects_total{code=\"3009\"}"];
    withstand(size, siege, async |victim| {
        let mut deaf = Vec::new();
        for _ in 0..size.peers {
            let mut peer = Peer::narrow(victim.address).await.connected().await;
            peer.say(r#"{"id":2,"subscribe":{"channel":"loud"}}"#).await;
            deaf.push(peer);
        }
        let mut publisher = Peer::raw(victim.address).await.connected().await;
        // 400 MB a second to all of them, until the kernel takes no more for them: a few megabytes each.
        let bytes = (8_000_000 / size.peers).clamp(1000, 20_000);
        let loud = format!(r#"{{"id":2,"publish":{{"channel":"loud","data":"{}"}}}}"#, "x".repeat(bytes));
        let until = Instant::now() + 3 * PATIENCE;
        while victim.counted(CUT).await < size.peers as f64 {
            assert!(Instant::now() < until, "peers that do not read are cut");
            for _ in 0..10 {
                publisher.say(&loud).await;
                assert!(publisher.hear().await["publish"].is_object());
                sleep(Duration::from_millis(20)).await;
            }
        }
        // Nor does the kernel keep anything for those who are gone: half a megabyte each, for a minute.
        while victim.counted(&["pubsub_connections"]).await > 12.0 {
            assert!(Instant::now() < until, "peers that do not read are let go");
            sleep(Duration::from_millis(50)).await;
        }
        for mut peer in deaf {
            let ended = timeout(PATIENCE, peer.reader.read_to_end(&mut Vec::new())).await.expect("it is ended");
            assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        }
    })
    .await;
}

async fn never_pongs(size: Size) {
    let siege = Siege {
        name: "never answers a ping",
        answer: "3012",
        settings: QUICK_PINGS,
        bytes_each: 4 << 10,
        counted: &["pubsub_disconnects_total{code=\"3012\"}"],
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |_| async move {
            assert_eq!(Peer::raw(address).await.connected().await.close_code().await, Some(3012));
        })
        .await;
    })
    .await;
}

async fn never_connects(size: Size) {
    let siege = Siege {
        name: "upgrades and never connects",
        answer: "3502",
        settings: &["client.stale_close_delay=2s"],
        bytes_each: 4 << 10,
        counted: &["pubsub_disconnects_total{code=\"3502\"}"],
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |_| async move {
            assert_eq!(Peer::raw(address).await.upgraded().await.close_code().await, Some(3502));
        })
        .await;
    })
    .await;
}
