//! Any conversation of one client with the whole server, in memory and on a paused clock: every command is answered
//! exactly once, or the connection is closed; what is said is always well formed; and nothing stays behind.

use std::collections::BTreeMap;
use std::time::Duration;

use pubsub_server::config::Config;
use pubsub_server::server::{Server, ServerHandle};
use pubsub_server::transport::listener::memory;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::{sleep, timeout};

const UPGRADE: &[u8] =
    b"GET /connection/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// `data`: how the client begins, then what it does, a byte for each deed.
pub fn check(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (listener, connector) = memory();
        let server = Server::new(Config::strict()).seed(7).on_current_runtime().start(listener).unwrap();
        let stream = connector.connect(1 << 20).unwrap();
        let mut client = Client { stream, heard: Vec::new(), asked: BTreeMap::new(), closed: false };
        client.stream.write_all(UPGRADE).await.unwrap();
        client.hear().await;
        let end = client.heard.windows(4).position(|end| end == b"\r\n\r\n").expect("the end of a head") + 4;
        assert!(client.heard.starts_with(b"HTTP/1.1 101 "));
        client.heard.drain(..end);
        client.act(data).await;
        client.judge();
        drop(client);
        empties(&server).await;
        let drained = server.shutdown().await;
        assert_eq!(drained.left, 0);
    });
}

async fn empties(server: &ServerHandle) {
    for _ in 0..100 {
        if server.connections() == 0 {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("a connection stays behind");
}

struct Client {
    stream: DuplexStream,
    heard: Vec<u8>,
    /// How often each id was answered.
    asked: BTreeMap<u64, usize>,
    closed: bool,
}

impl Client {
    async fn act(&mut self, data: &[u8]) {
        let mut deeds = data.iter().copied();
        let mut message = String::new();
        // Nearly all begin as they should: what comes after a wrong beginning is never heard.
        if deeds.next().is_some_and(|first| first < 0xF0) {
            self.asked.insert(1, 0);
            message += "{\"id\":1,\"connect\":{}}\n";
        }
        while let Some(deed) = deeds.next() {
            let channel = format!("c{}", deed >> 6);
            let id = self.asked.len() as u64 + 1;
            let command = match deed % 16 {
                0 => r#""connect":{}"#.to_owned(),
                1 => format!(r#""subscribe":{{"channel":"{channel}"}}"#),
                2 => format!(
                    r#""subscribe":{{"channel":"{channel}","recover":true,"offset":{},"epoch":"x"}}"#,
                    deed >> 4
                ),
                3 => format!(r#""unsubscribe":{{"channel":"{channel}"}}"#),
                4 | 5 => format!(r#""publish":{{"channel":"{channel}","data":{{"n":{id}}}}}"#),
                6 => format!(r#""history":{{"channel":"{channel}","limit":{}}}"#, i32::from(deed >> 4) - 4),
                7 => format!(r#""presence":{{"channel":"{channel}"}}"#),
                8 => format!(r#""presence_stats":{{"channel":"{channel}"}}"#),
                9 => r#""rpc":{"method":"m","data":1}"#.to_owned(),
                // A bad token ends the conversation, and so does a pong that nobody asked for: seldom, then.
                10 if deed >= 0xF0 => r#""refresh":{"token":"t"}"#.to_owned(),
                11 if deed >= 0xF0 => format!(r#""sub_refresh":{{"channel":"{channel}","token":"t"}}"#),
                12 => {
                    sleep(Duration::from_millis(100 * u64::from(deed >> 4))).await;
                    self.hear().await;
                    continue;
                }
                13 => {
                    self.send(0x8A - (deed >> 6 & 1), b"ping").await;
                    continue;
                }
                14 if (0xE0..0xF0).contains(&deed) => {
                    self.send(0x81, b"{}").await;
                    self.hear().await;
                    continue;
                }
                // The wire broken by whatever comes next.
                14 if deed >= 0xF0 => {
                    let raw: Vec<u8> = deeds.by_ref().take(8).collect();
                    let _ = self.stream.write_all(&raw).await;
                    self.hear().await;
                    // Only what was asked before can be counted on.
                    self.closed = true;
                    return;
                }
                _ => {
                    self.flush(&mut message).await;
                    continue;
                }
            };
            self.asked.insert(id, 0);
            message += &format!("{{\"id\":{id},{command}}}\n");
            if deed & 0x10 == 0 {
                self.flush(&mut message).await;
            }
        }
        self.flush(&mut message).await;
        self.hear().await;
    }

    async fn flush(&mut self, message: &mut String) {
        if !message.is_empty() {
            self.send(0x81, std::mem::take(message).as_bytes()).await;
            self.hear().await;
        }
    }

    async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first, 0xFE];
        if payload.len() < 126 {
            frame[1] = 0x80 | payload.len() as u8;
        } else {
            frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        // It may be closed already; that is judged by what it said.
        let _ = self.stream.write_all(&frame).await;
    }

    /// Takes in all that is there. On a paused clock a millisecond passes only when nobody has anything to do.
    async fn hear(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(Ok(n @ 1..)) = timeout(Duration::from_millis(1), self.stream.read(&mut buffer)).await {
            self.heard.extend_from_slice(&buffer[..n]);
        }
    }

    /// Reads what was heard as frames, and counts the answers.
    fn judge(&mut self) {
        let mut rest = &self.heard[..];
        let mut over = false;
        while !rest.is_empty() {
            assert!(!over, "nothing comes after a close frame");
            let (opcode, length, header) = match rest[1] {
                126 => (rest[0], usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
                127 => (rest[0], u64::from_be_bytes(rest[2..10].try_into().unwrap()) as usize, 10),
                short => (rest[0], usize::from(short), 2),
            };
            let payload = &rest[header..header + length];
            rest = &rest[header + length..];
            match opcode {
                0x81 => {
                    let reply: Value = serde_json::from_slice(payload).expect("a reply is JSON");
                    if let Some(id) = reply["id"].as_u64() {
                        let answers = self.asked.get_mut(&id).expect("an answer to something that was asked");
                        *answers += 1;
                        assert_eq!(*answers, 1, "{id} was answered twice");
                    }
                }
                0x8A => {}
                0x88 => over = true,
                other => panic!("opcode {other:#x}"),
            }
        }
        // One is answered after the other: what was answered is all up to some command. If nothing ended the
        // conversation, that is the last one.
        let answered = self.asked.values().filter(|answers| **answers == 1).count();
        let gap = self.asked.iter().take(answered).find(|(_, answers)| **answers == 0);
        assert!(gap.is_none(), "{gap:?} was never answered, and later ones were");
        assert!(
            over || self.closed || answered == self.asked.len(),
            "only {answered} of {} are answered",
            self.asked.len()
        );
    }
}
