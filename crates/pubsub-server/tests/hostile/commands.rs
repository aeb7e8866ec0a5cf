//! Crowds that speak the client protocol, and too much of it.

use tokio::time::Instant;

use crate::peer::Peer;
use crate::siege::{Siege, Size, crowd, sieges, withstand};

sieges! { thousands_of_channels subscribes_and_unsubscribes more_commands_than_allowed more_connections_than_allowed }

async fn thousands_of_channels(size: Size) {
    let siege = Siege {
        name: "subscribes to thousands of channels",
        answer: "error 106 past 128",
        settings: &[],
        // 128 subscriptions, each to a channel of its own, with its stream and its presence.
        bytes_each: 256 << 10,
        counted: &["pubsub_reply_errors_total{method=\"subscribe\",code=\"106\"}"],
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |peer| async move {
            let mut connection = Peer::raw(address).await.connected().await;
            let (mut granted, mut refused) = (0, 0);
            for batch in 0..20 {
                let ids = (2 + 50 * batch)..(52 + 50 * batch);
                let commands: Vec<_> = ids
                    .clone()
                    .map(|id| format!(r#"{{"id":{id},"subscribe":{{"channel":"peer-{peer}-{id}"}}}}"#))
                    .collect();
                connection.say(&commands.join("\n")).await;
                let mut answered = 0;
                while answered < ids.len() {
                    let reply = connection.hear().await;
                    if !reply["id"].is_u64() {
                        continue;
                    }
                    answered += 1;
                    if reply["subscribe"].is_object() {
                        granted += 1;
                    } else {
                        assert_eq!(reply["error"]["code"], 106, "{reply}");
                        refused += 1;
                    }
                }
            }
            assert_eq!((granted, refused), (128, 1000 - 128));
        })
        .await;
    })
    .await;
}

async fn subscribes_and_unsubscribes(size: Size) {
    let siege = Siege {
        name: "floods of subscribes",
        answer: "every one answered",
        settings: &[],
        bytes_each: 64 << 10,
        counted: &["pubsub_subscriptions_opened_total"],
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |peer| async move {
            let mut connection = Peer::raw(address).await.connected().await;
            let both = format!(
                "{{\"id\":2,\"subscribe\":{{\"channel\":\"p{peer}\"}}}}\n{{\"id\":3,\"unsubscribe\":{{\"channel\":\"p{peer}\"}}}}"
            );
            for _ in 0..4 {
                connection.say(&vec![both.as_str(); 25].join("\n")).await;
                let mut left = 25;
                while left > 0 {
                    left -= usize::from(connection.hear().await["id"] == 3);
                }
            }
        })
        .await;
    })
    .await;
}

async fn more_commands_than_allowed(size: Size) {
    let siege = Siege {
        name: "more commands than allowed",
        answer: "error 111",
        // Above the pace of the healthy publisher, 200 a second, by enough to make up for a standstill of ten seconds.
        settings: &["client.command_rate_limit=400", "client.command_rate_burst=2000", "client.pong_timeout=20s"],
        bytes_each: 64 << 10,
        counted: &["pubsub_reply_errors_total{method=\"history\",code=\"111\"}"],
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |_| async move {
            let mut connection = Peer::raw(address).await.connected().await;
            let commands = vec![r#"{"id":2,"history":{"channel":"healthy"}}"#; 1000].join("\n");
            let begun = Instant::now();
            let (mut granted, mut refused) = (0, 0);
            // 2,000 are granted at once, and what the bucket gains while a busy machine gets through the rest.
            while refused < 100 {
                connection.say(&commands).await;
                for _ in 0..1000 {
                    match connection.hear().await {
                        reply if reply["error"]["code"] == 111 => refused += 1,
                        reply => {
                            assert!(reply["history"].is_object(), "{reply}");
                            granted += 1;
                        }
                    }
                }
                let most = 2001.0 + 400.0 * begun.elapsed().as_secs_f64();
                assert!(f64::from(granted) <= most, "{granted} were granted, {most} may be");
            }
        })
        .await;
    })
    .await;
}

async fn more_connections_than_allowed(size: Size) {
    let siege = Siege {
        name: "more connections than allowed",
        answer: "503",
        settings: &["client.connection_limit=15"],
        bytes_each: 4 << 10,
        counted: &["pubsub_connections_refused_total{reason=\"limit\"}"],
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        // Eleven are healthy; these are the rest.
        let mut there = Vec::new();
        for _ in 0..4 {
            there.push(Peer::raw(address).await.connected().await);
        }
        crowd(size.peers, |_| async move {
            use tokio::io::AsyncWriteExt as _;
            let mut peer = Peer::raw(address).await;
            peer.writer.write_all(crate::frame::request(crate::peer::PATH).as_bytes()).await.unwrap();
            let head = crate::frame::head(&mut peer.reader).await;
            assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        })
        .await;
    })
    .await;
}
