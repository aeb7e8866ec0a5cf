//! The one check that protects a newcomer from the internet: beyond loopback nobody may be let in who shows nothing.

use std::net::{IpAddr, SocketAddr};

use super::Config;
use super::problem::Origin;
use super::report::Report;

/// Refuses a listener that others can reach while a key lets everyone in, and names that key. `open` says why the
/// configuration is an open one from the ground up, if it is.
pub(crate) fn check(config: &Config, open: Option<&str>, report: &mut Report) {
    for door in open_doors(config).into_iter().filter(|door| !is_loopback(door.listener.ip())) {
        let Door { listener, key, lets, cure } = door;
        let because = match (report.origin(key), open) {
            (Origin::Default, Some(why)) => format!(" ({why})"),
            _ => String::new(),
        };
        if config.http_server.open_to_network {
            report.doubt(&[key], format!("anyone who reaches {listener} can {lets}{because}"));
        } else {
            report.conflict(
                &[key],
                format!(
                    "refusing to listen on {listener}, where anyone could {lets}, which this key decides{because}; {cure}, or \
                     set http_server.address to 127.0.0.1, or, on a closed network, http_server.open_to_network to true"
                ),
            );
        }
    }
}

/// A listener on which a key lets everyone in.
struct Door {
    listener: SocketAddr,
    key: &'static str,
    lets: &'static str,
    cure: &'static str,
}

fn open_doors(config: &Config) -> Vec<Door> {
    let public = config.http_server.public_addr();
    let client = &config.client;
    let mut doors = Vec::new();
    let mut door = |when: bool, listener, key, lets, cure| {
        if when {
            doors.push(Door { listener, key, lets, cure });
        }
    };
    if !config.websocket.disabled {
        door(
            client.insecure,
            public,
            "client.insecure",
            "connect, subscribe and publish without a token",
            "turn it off and set client.token.hmac_secret_key",
        );
        door(
            client.allow_anonymous_connect_without_token && !client.insecure,
            public,
            "client.allow_anonymous_connect_without_token",
            if publishes_anonymously(config) {
                "connect without a token and publish"
            } else {
                "connect without a token"
            },
            "turn it off",
        );
        door(
            client.user_id_http_header.is_some() && !client.insecure,
            public,
            "client.user_id_http_header",
            "connect as any user, by sending that header",
            "listen where only the proxy that sets the header can connect",
        );
    }
    let api = &config.http_api;
    let api_listener = config.http_server.internal_addr().filter(|_| !api.external).unwrap_or(public);
    door(
        !api.disabled && api.insecure,
        api_listener,
        "http_api.insecure",
        "use the HTTP API without a key",
        "turn it off and set http_api.key",
    );
    doors
}

fn publishes_anonymously(config: &Config) -> bool {
    let channel = &config.channel;
    let options = channel.namespaces.iter().map(|namespace| &namespace.options).chain([&channel.without_namespace]);
    options.into_iter().any(|options| {
        options.allow_publish_for_anonymous
            && (options.allow_publish_for_client || options.allow_publish_for_subscriber)
    })
}

/// Also `::ffff:127.0.0.1`.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
