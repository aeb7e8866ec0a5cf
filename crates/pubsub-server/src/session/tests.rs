//! The session by itself: commands, completions and time go in, effects come out.

#![allow(clippy::needless_pass_by_value, reason = "json! values are made to be given away")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use pubsub_protocol::reply::PresenceStatsResult;
use pubsub_protocol::{Format, Publication, Reply, StreamPosition, UnsubscribeCode};
use rand::SeedableRng;
use serde_json::{Value, json};

use super::control::Action;
use super::operation::{Begun, Operation, Subscribed};
use super::*;
use crate::config::{Config, NamespaceOptions, RecoveryMode, Secret};
use crate::engine::Published;
use crate::recovery::Recovery;
use crate::stream::HistoryPage;
use crate::token::Signer;

const UNIX: i64 = 1_700_000_000;
const SECRET: &str = "a secret";

/// What a session did, in a form that is easy to compare.
#[derive(Debug, Clone, PartialEq)]
enum Did {
    Reply(Value),
    Begun(String),
    Ping,
    Run(&'static str),
    Activate(String),
    End(String),
    Close(u16),
}

struct Rig {
    session: Session,
    rules: Rules,
    now: Now,
    chance: ChaCha12Rng,
    next_join: u64,
    /// Operations under way.
    running: VecDeque<Operation>,
    /// Subscriptions handed to the node, and taken back.
    begun: usize,
    ended: usize,
}

fn config() -> Config {
    let mut config = Config::open_default();
    config.client.insecure = false;
    config.client.token.hmac_secret_key = Some(Secret::new(SECRET));
    config.channel.namespace_boundary = ":".to_owned();
    config.channel.without_namespace.allow_subscribe_for_client = true;
    config.channel.without_namespace.join_leave = false;
    config
}

fn anonymous(mut config: Config) -> Config {
    config.client.allow_anonymous_connect_without_token = true;
    config.channel.without_namespace.allow_subscribe_for_anonymous = true;
    config
}

fn signer() -> Signer {
    Signer::hs256(SECRET)
}

impl Rig {
    fn new(config: &Config) -> Self {
        Self::opened(config, Opening::default())
    }

    fn opened(config: &Config, opening: Opening) -> Self {
        let rules = Rules::new(config).unwrap();
        let mut chance = ChaCha12Rng::seed_from_u64(7);
        let now = Now { ms: 1000, unix_ms: UNIX * 1000 };
        let secret = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let id = ClientId::new(id::Place { shard: 0, slot: 0 }, &mut chance, &secret);
        let session = Session::new(id, opening, &rules, now);
        Self { session, rules, now, chance, next_join: 1, running: VecDeque::new(), begun: 0, ended: 0 }
    }

    fn pass(&mut self, ms: u64) {
        self.now.ms += ms;
        self.now.unix_ms += i64::try_from(ms).unwrap();
    }

    fn with(&mut self, work: impl FnOnce(&mut Session, &mut Context<'_>)) -> Vec<Did> {
        let mut effects = VecDeque::new();
        let mut cx = Context {
            rules: &self.rules,
            now: self.now,
            chance: &mut self.chance,
            next_join: &mut self.next_join,
            effects: &mut effects,
        };
        work(&mut self.session, &mut cx);
        effects.into_iter().map(|effect| self.note(effect)).collect()
    }

    fn note(&mut self, effect: Effect) -> Did {
        let encoded = |reply: &Reply| {
            let mut out = Vec::new();
            Format::Json.encode_reply(reply, &mut out);
            serde_json::from_slice(&out).unwrap()
        };
        match effect {
            Effect::Answer { id, outcome, .. } => Did::Reply(encoded(&Reply::Answer { id, outcome })),
            Effect::Push(reply) => Did::Reply(encoded(&reply)),
            Effect::Begun { channel, .. } => Did::Begun(channel.to_string()),
            Effect::Ping { .. } => {
                self.session.ping_left(self.now.ms, crate::clock::millis(self.rules.client.ping_interval));
                Did::Ping
            }
            Effect::Run(operation) => {
                let name = match &operation {
                    Operation::Connect { subscriptions, .. } => {
                        self.begun += subscriptions.len();
                        "connect"
                    }
                    Operation::Subscribe(..) => {
                        self.begun += 1;
                        "subscribe"
                    }
                    Operation::Introduce { .. } => "introduce",
                    Operation::Publish { .. } => "publish",
                    Operation::History { .. } => "history",
                    Operation::Presence { .. } => "presence",
                    Operation::PresenceStats { .. } => "presence_stats",
                };
                self.running.push_back(operation);
                Did::Run(name)
            }
            Effect::Activate { channel, .. } => Did::Activate(channel.to_string()),
            Effect::End(subscription) => {
                self.ended += 1;
                Did::End(subscription.channel.to_string())
            }
            Effect::Close(close) => Did::Close(close.code),
        }
    }

    fn say(&mut self, command: &Value) -> Vec<Did> {
        let text = command.to_string();
        let command = Format::Json.commands(text.as_bytes()).next().unwrap().unwrap();
        self.with(|session, cx| session.command(command, cx))
    }

    /// Ends the oldest operation; subscriptions as `subscribed` says.
    fn complete(&mut self, subscribed: impl Fn() -> Result<Subscribed, ErrorCode>) -> Vec<Did> {
        let completion = match self.running.pop_front().expect("an operation is under way") {
            Operation::Connect { id, subscriptions, .. } => {
                let begun: Begun = subscriptions.into_iter().map(|s| (s.channel, subscribed())).collect();
                Completion::Connect { id, result: Ok(begun) }
            }
            Operation::Subscribe(by, subscribe) => {
                Completion::Subscribe { by, channel: subscribe.channel, join: subscribe.join, result: subscribed() }
            }
            Operation::Introduce { .. } => Completion::Introduce,
            Operation::Publish { id, .. } => Completion::Publish { id, result: Ok(Published::default()) },
            Operation::History { id, channel, .. } => {
                let page = HistoryPage { publications: vec![], top: StreamPosition::new(0, "e") };
                Completion::History { id, channel, result: Ok(page) }
            }
            Operation::Presence { id, .. } => Completion::Presence { id, result: Ok(Default::default()) },
            Operation::PresenceStats { id, .. } => {
                Completion::PresenceStats { id, result: Ok(PresenceStatsResult::default()) }
            }
        };
        self.with(|session, cx| session.complete(completion, cx))
    }

    fn done(&mut self) -> Vec<Did> {
        self.complete(|| Ok(at(5)))
    }

    /// What comes of a command and of all that it sets going.
    fn ask(&mut self, command: &Value) -> Vec<Did> {
        let mut did = self.say(command);
        while !self.running.is_empty() {
            did.extend(self.done());
        }
        did.retain(|did| !matches!(did, Did::Run(_)));
        did
    }

    fn connect(&mut self, request: Value) -> Value {
        let did = self.ask(&json!({"id": 1, "connect": request}));
        match &did[..] {
            [Did::Reply(reply), ..] if reply["connect"].is_object() => reply["connect"].clone(),
            _ => panic!("not connected: {did:?}"),
        }
    }

    fn subscribe(
        &mut self,
        channel: &str,
        subscribed: impl Fn() -> Result<Subscribed, ErrorCode>,
        more: Value,
    ) -> Value {
        let mut request = json!({"channel": channel});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(self.say(&json!({"id": 2, "subscribe": request})), [Did::Run("subscribe")]);
        match &self.complete(subscribed)[..] {
            [Did::Reply(reply), Did::Activate(activated)] => {
                assert_eq!(activated, channel, "live behind its answer");
                reply["subscribe"].clone()
            }
            other => panic!("not subscribed: {other:?}"),
        }
    }

    fn tick(&mut self) -> Vec<Did> {
        self.with(|session, cx| session.tick(false, cx))
    }

    fn deadline(&self) -> Option<u64> {
        let client = &self.rules.client;
        self.session.deadline(crate::clock::millis(client.pong_timeout), crate::clock::millis(client.ping_interval))
    }

    /// Lets time pass to the next deadline and returns how long that was and what was done.
    fn next(&mut self) -> (u64, Vec<Did>) {
        let deadline = self.deadline().expect("something is due");
        let ahead = deadline - self.now.ms;
        self.pass(ahead - 1);
        assert_eq!(self.tick(), [], "too early");
        self.pass(1);
        (ahead, self.tick())
    }
}

fn at(offset: u64) -> Subscribed {
    Subscribed { top: Some(StreamPosition::new(offset, "e")), recovery: None }
}

fn publication(offset: u64) -> Publication {
    Publication { data: Payload::from_bytes(b"1"), info: None, offset, tags: Default::default(), epoch: String::new() }
}

fn error(id: u32, code: ErrorCode) -> Vec<Did> {
    let mut out = Vec::new();
    Format::Json.encode_reply(&Reply::Answer { id, outcome: Err(code.into()) }, &mut out);
    vec![Did::Reply(serde_json::from_slice(&out).unwrap())]
}

#[test]
fn each_token_has_its_outcome() {
    let good = |claims: Value| json!({"token": signer().sign(&claims)});
    let connect = |config: &Config, request: Value| Rig::new(config).ask(&json!({"id": 1, "connect": request}));
    let strict = config();
    for (request, code) in [
        (json!({}), 3501),
        (json!({"token": "no.such.token"}), 3500),
        (json!({"token": Signer::hs256("other").connection("anna", None)}), 3500),
        (good(json!({"sub": "anna", "channel": "news"})), 3500),
        (json!({"name": "x".repeat(17)}), 3501),
        (json!({"version": "x".repeat(65)}), 3501),
    ] {
        assert_eq!(connect(&strict, request.clone()), [Did::Close(code)], "{request}");
    }
    for (request, code) in [
        (good(json!({"sub": "anna", "exp": UNIX})), ErrorCode::TokenExpired),
        (good(json!({"sub": "anna", "nbf": UNIX + 60})), ErrorCode::TokenExpired),
        // The token is good for a minute, and what it allows is over: another like it would not help.
        (good(json!({"sub": "anna", "exp": UNIX + 60, "expire_at": UNIX})), ErrorCode::Expired),
        (good(json!({"sub": "anna", "channels": ["nowhere:x"]})), ErrorCode::UnknownChannel),
        (good(json!({"sub": "anna", "channels": [""]})), ErrorCode::BadRequest),
    ] {
        assert_eq!(connect(&strict, request.clone()), error(1, code), "{request}");
    }
    let mut rig = Rig::new(&strict);
    let result = rig.connect(good(json!({"sub": "anna", "exp": UNIX + 10, "channels": ["a"]})));
    assert_eq!((rig.session.user(), &result["ttl"], &result["subs"]["a"]["offset"]), ("anna", &json!(10), &json!(5)));
    let mut forbidding = config();
    forbidding.client.disallow_anonymous_connection_tokens = true;
    assert_eq!(connect(&forbidding, good(json!({"sub": ""}))), [Did::Close(3500)]);
    assert_eq!(Rig::new(&anonymous(config())).connect(json!({}))["expires"], json!(null));
    let mut insecure = config();
    insecure.client.insecure = true;
    let mut rig = Rig::new(&insecure);
    assert_eq!(rig.connect(good(json!({"sub": "anna", "exp": 1})))["expires"], json!(null), "expiry is ignored");
    assert_eq!(rig.session.user(), "anna");
    assert_eq!(connect(&insecure, json!({"token": "bad"})), [Did::Close(3500)], "a token that is sent is verified");
    let header = Opening { user: Some("ben".to_owned()), ..Opening::default() };
    let mut rig = Rig::opened(&strict, header);
    rig.connect(json!({}));
    assert_eq!(rig.session.user(), "ben");
}

#[test]
fn a_refused_connection_says_nothing_more_and_goes_stale() {
    let mut rig = Rig::new(&config());
    let token = signer().connection("anna", Some(UNIX - 1));
    assert_eq!(rig.say(&json!({"id": 1, "connect": {"token": token}})), error(1, ErrorCode::TokenExpired));
    assert_eq!(rig.say(&json!({"id": 2, "subscribe": {"channel": "a"}})), []);
    assert_eq!(rig.next(), (10_000, vec![Did::Close(3502)]));
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_connect_whose_subscriptions_fail_takes_back_all_of_them() {
    let mut rig = Rig::new(&config());
    let token = signer().sign(&json!({"sub": "anna", "channels": ["a", "b"]}));
    assert_eq!(rig.say(&json!({"id": 1, "connect": {"token": token}})), [Did::Run("connect")]);
    let mut expected = error(1, ErrorCode::Internal);
    expected.extend([Did::End("a".to_owned()), Did::End("b".to_owned())]);
    assert_eq!(rig.complete(|| Err(ErrorCode::Internal)), expected);
    assert_eq!((rig.begun, rig.ended), (2, 2));
}

#[test]
fn a_user_with_too_many_connections_ends_nothing_that_was_not_begun() {
    let mut rig = Rig::new(&config());
    let token = signer().sign(&json!({"sub": "anna", "channels": ["a", "b"]}));
    rig.say(&json!({"id": 1, "connect": {"token": token}}));
    let refused = Completion::Connect { id: 1, result: Err(DisconnectCode::ConnectionLimit) };
    assert_eq!(rig.with(|session, cx| session.complete(refused, cx)), [Did::Close(3504)]);
}

#[test]
fn server_side_subscriptions_include_the_personal_channel_and_their_number_is_limited() {
    let mut config = config();
    config.client.subscribe_to_user_personal_channel.enabled = true;
    config.client.channel_limit = 2;
    let mut rig = Rig::new(&config);
    let result = rig.connect(json!({"token": signer().sign(&json!({"sub": "anna", "channels": ["a"]}))}));
    let channels: Vec<&String> = result["subs"].as_object().unwrap().keys().collect();
    assert_eq!(channels, ["#anna", "a"]);
    let token = signer().sign(&json!({"sub": "anna", "channels": ["a", "b"]}));
    assert_eq!(Rig::new(&config).say(&json!({"id": 1, "connect": {"token": token}})), [Did::Close(3505)]);
}

#[test]
fn a_subscription_token_decides_and_is_bound_to_its_user_and_channel() {
    let mut config = config();
    config.channel.without_namespace = NamespaceOptions::default();
    let mut rig = Rig::new(&config);
    rig.connect(json!({"token": signer().connection("anna", None)}));
    let mut ask = |token: &str| rig.ask(&json!({"id": 2, "subscribe": {"channel": "a", "token": token}}));
    assert_eq!(ask(""), error(2, ErrorCode::PermissionDenied));
    assert_eq!(ask("bad"), error(2, ErrorCode::PermissionDenied));
    assert_eq!(ask(&signer().subscription("anna", "a", Some(UNIX))), error(2, ErrorCode::TokenExpired));
    let over = signer().sign(&json!({"sub": "anna", "channel": "a", "exp": UNIX + 30, "expire_at": UNIX}));
    assert_eq!(ask(&over), error(2, ErrorCode::Expired));
    let good = ask(&signer().subscription("anna", "a", Some(UNIX + 30)));
    let [Did::Reply(reply), Did::Activate(_)] = &good[..] else { panic!("{good:?}") };
    assert_eq!((&reply["subscribe"]["expires"], &reply["subscribe"]["ttl"]), (&json!(true), &json!(30)));
    for token in [signer().subscription("ben", "b", None), signer().subscription("anna", "c", None)] {
        let mut rig = Rig::new(&config);
        rig.connect(json!({"token": signer().connection("anna", None)}));
        assert_eq!(rig.ask(&json!({"id": 2, "subscribe": {"channel": "b", "token": token}})), [Did::Close(3500)]);
    }
}

#[test]
fn a_refresh_prolongs_or_closes() {
    let connected = || {
        let mut rig = Rig::new(&config());
        rig.connect(json!({"token": signer().sign(&json!({"sub": "anna", "exp": UNIX + 60, "channels": ["a"]}))}));
        rig
    };
    let refresh = |claims: Value| json!({"id": 3, "refresh": {"token": signer().sign(&claims)}});
    let did = connected().ask(&refresh(json!({"sub": "anna", "exp": UNIX + 90, "channels": ["a"]})));
    let [Did::Reply(reply)] = &did[..] else { panic!("{did:?}") };
    assert_eq!((&reply["refresh"]["expires"], &reply["refresh"]["ttl"]), (&json!(true), &json!(90)));
    for (command, code) in [
        (refresh(json!({"sub": "anna", "exp": UNIX - 1, "channels": ["a"]})), 3005),
        (refresh(json!({"sub": "anna", "expire_at": UNIX, "channels": ["a"]})), 3005),
        (refresh(json!({"sub": "ben", "channels": ["a"]})), 3500),
        (refresh(json!({"sub": "anna", "channels": ["a", "b"]})), 3010),
        (refresh(json!({"sub": "anna"})), 3010),
        (json!({"id": 3, "refresh": {"token": "bad"}}), 3500),
        (json!({"id": 3, "refresh": {"token": ""}}), 3501),
    ] {
        assert_eq!(connected().ask(&command), [Did::End("a".to_owned()), Did::Close(code)], "{command}");
    }
}

#[test]
fn a_sub_refresh_prolongs_or_is_refused() {
    let mut rig = Rig::new(&config());
    rig.connect(json!({"token": signer().connection("anna", None)}));
    rig.subscribe("a", || Ok(at(1)), json!({"token": signer().subscription("anna", "a", Some(UNIX + 60))}));
    rig.subscribe("b", || Ok(at(1)), json!({}));
    let mut ask =
        |channel: &str, token: &str| rig.ask(&json!({"id": 3, "sub_refresh": {"channel": channel, "token": token}}));
    let longer = signer().subscription("anna", "a", Some(UNIX + 600));
    for channel in ["a", ""] {
        assert_eq!(ask(channel, &longer), [Did::Reply(json!({"id": 3, "sub_refresh": {"expires": true, "ttl": 600}}))]);
    }
    assert_eq!(ask("a", ""), error(3, ErrorCode::BadRequest));
    assert_eq!(ask("a", "bad"), error(3, ErrorCode::PermissionDenied));
    assert_eq!(ask("a", &signer().subscription("anna", "a", Some(UNIX))), error(3, ErrorCode::Expired));
    let over = signer().sign(&json!({"sub": "anna", "channel": "a", "expire_at": UNIX}));
    assert_eq!(ask("a", &over), error(3, ErrorCode::Expired));
    assert_eq!(ask("a", &signer().subscription("ben", "a", None)), error(3, ErrorCode::PermissionDenied));
    assert_eq!(ask("a", &signer().subscription("anna", "z", None)), error(3, ErrorCode::PermissionDenied));
    assert_eq!(ask("z", &longer), error(3, ErrorCode::PermissionDenied));
    let did = ask("b", &signer().subscription("anna", "b", None));
    assert_eq!(did.last(), Some(&Did::Close(3501)), "it does not expire");
}

#[test]
fn a_recovered_answer_echoes_the_offset_that_was_asked_for() {
    let mut rig = Rig::new(&anonymous(config()));
    rig.connect(json!({}));
    let recover = json!({"recover": true, "epoch": "e", "offset": 3});
    let recovered = |recovered, publications: &[u64]| Subscribed {
        recovery: Some(Recovery { recovered, publications: publications.iter().map(|&o| publication(o)).collect() }),
        ..at(5)
    };
    let result = rig.subscribe("a", || Ok(recovered(true, &[4, 5])), recover.clone());
    assert_eq!(
        result,
        json!({"recoverable": true, "positioned": true, "epoch": "e", "offset": 3, "recovered": true,
               "was_recovering": true, "publications": [{"data": 1, "offset": 4}, {"data": 1, "offset": 5}]})
    );
    let result = rig.subscribe("b", || Ok(recovered(false, &[])), recover);
    let expected = json!({"recoverable": true, "positioned": true, "epoch": "e", "offset": 5, "was_recovering": true});
    assert_eq!(result, expected);
    let result = rig.subscribe("c", || Ok(at(5)), json!({}));
    assert_eq!(result, json!({"recoverable": true, "positioned": true, "epoch": "e", "offset": 5}));
    // Bit 2 of the flag is handed on, and 112 takes the subscription back.
    let flagged = json!({"id": 2, "subscribe": {"channel": "d", "recover": true, "epoch": "e", "flag": 2}});
    rig.say(&flagged);
    let Some(Operation::Subscribe(_, subscribe)) = rig.running.front() else { panic!("not subscribing") };
    assert!(subscribe.reject_unrecovered);
    let mut expected = vec![Did::End("d".to_owned())];
    expected.extend(error(2, ErrorCode::UnrecoverablePosition));
    assert_eq!(rig.complete(|| Err(ErrorCode::UnrecoverablePosition)), expected);
    assert!(rig.session.subscriptions().get("d").is_none());
}

#[test]
fn what_a_subscription_gets_is_what_its_channel_grants() {
    let history = |options: &mut NamespaceOptions| {
        options.history_size = 10;
        options.history_ttl = std::time::Duration::from_secs(60);
        options.allow_subscribe_for_client = true;
    };
    for (set, wish, positioned, recoverable, recovers) in [
        ((|_| {}) as fn(&mut NamespaceOptions), json!({}), false, false, false),
        (|_| {}, json!({"positioned": true, "recoverable": true, "recover": true}), false, false, false),
        (|o| o.allow_positioning = true, json!({}), false, false, false),
        (|o| o.allow_positioning = true, json!({"positioned": true}), true, false, false),
        (|o| o.force_positioning = true, json!({}), true, false, false),
        (|o| o.allow_recovery = true, json!({"recoverable": true}), true, true, false),
        (|o| o.allow_recovery = true, json!({"recover": true}), true, true, true),
        (|o| o.force_recovery = true, json!({}), true, true, false),
        (
            |o| {
                o.force_recovery = true;
                o.force_recovery_mode = RecoveryMode::Cache;
            },
            json!({}),
            true,
            true,
            false,
        ),
        (
            |o| {
                o.force_recovery = true;
                o.force_recovery_mode = RecoveryMode::Cache;
                o.auto_cache_recover = true;
            },
            json!({}),
            true,
            true,
            true,
        ),
    ] {
        let mut config = config();
        config.channel.without_namespace = NamespaceOptions::default();
        history(&mut config.channel.without_namespace);
        set(&mut config.channel.without_namespace);
        let mut rig = Rig::new(&config);
        rig.connect(json!({"token": signer().connection("anna", None)}));
        let mut request = json!({"channel": "a"});
        request.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
        rig.say(&json!({"id": 2, "subscribe": request}));
        let Some(Operation::Subscribe(_, subscribe)) = rig.running.front() else { panic!("not subscribing") };
        assert_eq!((subscribe.position.is_some(), subscribe.recover.is_some()), (positioned, recovers), "{request}");
        let traits = rig.session.subscriptions().get("a").unwrap().traits;
        assert_eq!((traits.positioned, traits.recoverable), (positioned, recoverable), "{request}");
    }
}

#[test]
fn pings_keep_their_time_and_pongs_are_held_to_it() {
    let mut rig = Rig::new(&anonymous(config()));
    rig.connect(json!({}));
    assert_eq!(rig.say(&json!({})), [Did::Close(3501)], "nobody asked for a pong");
    let mut rig = Rig::new(&anonymous(config()));
    rig.connect(json!({}));
    let (first, did) = rig.next();
    assert!((12_500..=25_000).contains(&first) && did == [Did::Ping], "{first} {did:?}");
    rig.pass(7_999);
    assert_eq!(rig.say(&json!({})), []);
    assert_eq!(rig.next(), (25_000 - 7_999, vec![Did::Ping]));
    rig.pass(8_000);
    assert_eq!(rig.with(|session, cx| session.tick(true, cx)), [], "what is not read is no silence");
    assert_eq!(rig.tick(), [Did::Close(3012)]);
}

/// A newcomer that nobody listened to was closed with 3502, after which no SDK comes back.
#[test]
fn a_newcomer_who_is_not_read_is_not_stale() {
    let mut rig = Rig::new(&anonymous(config()));
    let due = rig.deadline().unwrap();
    rig.pass(due - rig.now.ms);
    assert_eq!(rig.with(|session, cx| session.tick(true, cx)), []);
    assert_eq!(rig.next(), (10_000, vec![Did::Close(3502)]));
}

/// So was one whose connect the engine did not answer in time.
#[test]
fn who_waits_for_our_answer_to_its_connect_may_come_back() {
    let mut rig = Rig::new(&anonymous(config()));
    assert_eq!(rig.say(&json!({"id": 1, "connect": {}})), [Did::Run("connect")]);
    let due = rig.deadline().unwrap();
    rig.pass(due - rig.now.ms);
    assert_eq!(rig.with(|session, cx| session.tick(true, cx)), [Did::Close(3004)]);
}

/// A connection that waited long for the engine was pinged twice before its pongs were read, and closed for the second.
#[test]
fn each_ping_sent_before_anything_was_read_may_be_answered() {
    let mut rig = Rig::new(&anonymous(config()));
    rig.connect(json!({}));
    assert_eq!(rig.next().1, [Did::Ping]);
    rig.pass(25_000);
    assert_eq!(rig.with(|session, cx| session.tick(true, cx)), [Did::Ping]);
    assert_eq!((rig.say(&json!({})), rig.say(&json!({}))), (vec![], vec![]));
    assert_eq!(rig.say(&json!({})), [Did::Close(3501)], "and no more than these");
}

#[test]
fn without_pings_only_what_expires_is_due() {
    let mut config = anonymous(config());
    config.client.ping_interval = std::time::Duration::ZERO;
    let mut rig = Rig::new(&config);
    let result = rig.connect(json!({"token": signer().connection("anna", Some(UNIX + 60))}));
    assert_eq!((&result["ping"], &result["pong"]), (&json!(null), &json!(null)));
    assert_eq!(rig.next(), (85_000, vec![Did::Close(3005)]));
    let mut rig = Rig::new(&config);
    rig.connect(json!({}));
    assert_eq!(rig.deadline(), None);
}

#[test]
fn the_server_ends_subscriptions_by_the_code_that_fits_who_began_them() {
    let token = json!({"token": signer().sign(&json!({"sub": "anna", "channels": ["server"]}))});
    for (code, pushed, closed) in [(UnsubscribeCode::Insufficient, 2500, 3010), (UnsubscribeCode::Expired, 2501, 3006)]
    {
        let mut rig = Rig::new(&config());
        rig.connect(token.clone());
        rig.subscribe("client", || Ok(at(1)), json!({}));
        let join = |rig: &Rig, channel| rig.session.subscriptions().get(channel).unwrap().join;
        let (client, server) = (join(&rig, "client"), join(&rig, "server"));
        assert_eq!(rig.with(|session, cx| session.lose("client", client + 9, code, cx)), [], "another subscription");
        let did = rig.with(|session, cx| session.lose("client", client, code, cx));
        let [Did::Reply(push), Did::End(_)] = &did[..] else { panic!("{did:?}") };
        assert_eq!(push["push"]["unsubscribe"]["code"], pushed);
        assert!(push["push"]["unsubscribe"]["reason"].is_string());
        let did = rig.with(|session, cx| session.lose("server", server, code, cx));
        assert_eq!(did, [Did::End("server".to_owned()), Did::Close(closed)]);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Say(Value),
    Complete(Option<ErrorCode>),
    Pass(u64),
    Control(Action),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let channel = prop::sample::select(vec!["a", "b", "c", "nowhere:x", ""]);
    let body = prop::sample::select(vec![
        "connect",
        "subscribe",
        "unsubscribe",
        "publish",
        "presence",
        "presence_stats",
        "history",
        "rpc",
        "refresh",
        "sub_refresh",
        "ping",
        "nonsense",
    ]);
    let expiry = prop::sample::select(vec![None, Some(UNIX + 20), Some(UNIX + 100)]);
    let command =
        (1u32..5, body, channel.clone(), expiry, any::<bool>()).prop_map(|(id, body, channel, exp, recover)| {
            let token = match body {
                "connect" | "refresh" => signer().connection("anna", exp),
                "subscribe" | "sub_refresh" if exp.is_some() => signer().subscription("anna", channel, exp),
                _ => String::new(),
            };
            let request = json!({"channel": channel, "token": token, "data": 1, "recover": recover, "limit": 1});
            Step::Say(json!({"id": id, body: request}))
        });
    let sane = (2u32..5, prop::sample::select(vec!["subscribe", "unsubscribe", "publish", "history"]), 0..3usize)
        .prop_map(|(id, body, channel)| {
            Step::Say(json!({"id": id, body: {"channel": (["a", "b", "c"][channel]), "data": 1}}))
        });
    let outcome = prop::sample::select(vec![None, None, None, Some(ErrorCode::Internal)]);
    let control = prop_oneof![
        channel.prop_map(|channel| Action::Unsubscribe { channel: channel.to_owned(), code: 2000, reason: "x".into() }),
        Just(Action::Subscribe {
            channel: "b".to_owned(),
            claims: Default::default(),
            expire_at: Some(UNIX + 30),
            recover_since: None
        }),
        Just(Action::Refresh { expired: false, expire_at: Some(UNIX + 50), info: None }),
        Just(Action::Refresh { expired: true, expire_at: None, info: None }),
    ];
    prop::collection::vec(
        prop_oneof![
            1 => command,
            8 => sane,
            10 => outcome.prop_map(Step::Complete),
            2 => prop::sample::select(vec![1u64, 500, 5_000, 20_000]).prop_map(Step::Pass),
            1 => Just(Step::Say(json!({}))),
            1 => control.prop_map(Step::Control),
        ],
        0..60,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever is said to it: one answer for each command that it took while it was open, nothing after the end,
    /// no subscription left behind, and nothing due that a tick does not do.
    #[test]
    fn the_laws_of_the_conversation_hold(steps in steps(), connects in any::<bool>()) {
        let mut rig = Rig::new(&config());
        let mut open: BTreeMap<u64, usize> = BTreeMap::new();
        let mut closes = 0;
        let mut all = Vec::new();
        if connects {
            all.push(Step::Say(json!({"id": 99, "connect": {"token": signer().connection("anna", None)}})));
            all.push(Step::Complete(None));
        }
        all.extend(steps);
        for step in all {
            let was_closed = rig.session.is_closed();
            let refused = rig.session.phase == Phase::Refused;
            let did = match step {
                // As the shard does it: a command waits until the one before it is done with.
                Step::Say(_) if !rig.running.is_empty() => continue,
                Step::Say(command) => {
                    if let Some(id) = command["id"].as_u64().filter(|_| !was_closed && !refused) {
                        *open.entry(id).or_default() += 1;
                    }
                    rig.say(&command)
                }
                Step::Complete(_) if rig.running.is_empty() => continue,
                Step::Complete(outcome) => rig.complete(|| outcome.map_or(Ok(at(5)), Err)),
                Step::Pass(ms) => {
                    rig.pass(ms);
                    rig.tick()
                }
                Step::Control(action) => rig.with(|session, cx| session.control(action, cx)),
            };
            prop_assert!(!was_closed || did.is_empty(), "after the end: {did:?}");
            for did in &did {
                match did {
                    Did::Reply(reply) => if let Some(id) = reply["id"].as_u64() {
                        let waiting = open.get_mut(&id);
                        prop_assert!(waiting.as_ref().is_some_and(|n| **n == 1), "answered without being asked: {reply}");
                        open.remove(&id);
                    },
                    Did::Close(_) => closes += 1,
                    _ => {}
                }
            }
            if rig.session.is_closed() {
                // The shard drops what is under way.
                rig.running.clear();
                open.clear();
                prop_assert!(rig.session.subscriptions().is_empty() && rig.deadline().is_none());
            } else {
                prop_assert!(open.values().sum::<usize>() <= rig.running.len(), "unanswered: {open:?}");
                let due = rig.deadline().expect("pings or the stale deadline are always ahead");
                if due > rig.now.ms {
                    prop_assert_eq!(rig.tick(), [], "not due yet");
                } else {
                    prop_assert!(!rig.tick().is_empty(), "due, and nothing done");
                    if rig.session.is_closed() {
                        closes += 1;
                        rig.running.clear();
                        open.clear();
                    } else {
                        prop_assert!(rig.deadline().is_some_and(|due| due > rig.now.ms), "due again at once");
                    }
                }
            }
            let there = rig.session.subscriptions().len();
            prop_assert_eq!(rig.begun - rig.ended, there, "begun and not ended");
        }
        prop_assert_eq!(closes, usize::from(rig.session.is_closed()), "one close at most");
        rig.with(|session, cx| if !session.is_closed() { session.close(DisconnectCode::Shutdown.into(), cx) });
        prop_assert_eq!(rig.begun, rig.ended);
    }
}
