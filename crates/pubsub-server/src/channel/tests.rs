use proptest::prelude::*;
use pubsub_protocol::{ErrorCode, Payload};

use super::*;
use crate::config::{Namespace, Pattern, PublicationDataFormat};

use ErrorCode::{BadRequest, NotAvailable, PermissionDenied, UnknownChannel};

const ADA: Caller<'static> = Caller { user: "ada", insecure: false };
const ANONYMOUS: Caller<'static> = Caller { user: "", insecure: false };
const INSECURE: Caller<'static> = Caller { user: "", insecure: true };

fn namespace(name: &str, options: NamespaceOptions) -> Namespace {
    Namespace { name: name.to_owned(), options }
}

fn limited() -> NamespaceOptions {
    NamespaceOptions { allow_user_limited_channels: true, ..NamespaceOptions::default() }
}

fn matching(pattern: &str) -> NamespaceOptions {
    NamespaceOptions { channel_regex: Some(Pattern::new(pattern).unwrap()), ..NamespaceOptions::default() }
}

/// Namespaces `news`, `dialog` (user-limited) and `named` (with a pattern).
fn config() -> ChannelConfig {
    ChannelConfig {
        namespaces: vec![
            namespace("news", NamespaceOptions::default()),
            namespace("dialog", limited()),
            namespace("named", matching("^[a-zä]+$")),
        ],
        ..ChannelConfig::default()
    }
}

/// A channel of its own namespace with these options.
fn with(options: NamespaceOptions) -> Channels {
    Channels::new(&ChannelConfig { without_namespace: options, ..ChannelConfig::default() })
}

// Names.

#[test]
fn a_name_is_read_as_prefix_namespace_and_rest() {
    let channels = Channels::new(&config());
    let table = [
        ("a", "", "a", false),
        ("news:eu", "news", "eu", false),
        ("news:eu:west", "news", "eu:west", false),
        ("news:", "news", "", false),
        ("$news:eu", "news", "eu", true),
        ("$a", "", "$a", true),
        ("$", "", "$", true),
        ("$$news", "", "$$news", true),
        ("a$", "", "a$", false),
        (":a", "", "a", false),
        ("$:a", "", "a", true),
        ("dialog:#1,2", "dialog", "#1,2", false),
        ("a#1", "", "a#1", false),
        (" a b ", "", " a b ", false),
        ("news", "", "news", false),
        ("named:abä", "named", "abä", false),
        ("$named:abä", "named", "abä", true),
    ];
    for (name, namespace, rest, private) in table {
        let channel = channels.resolve(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((channel.namespace, channel.rest, channel.private), (namespace, rest, private), "{name}");
        assert_eq!(channel.name, name);
    }
}

#[test]
fn a_bad_name_is_refused_with_its_code() {
    let channels = Channels::new(&config());
    let longest = "x".repeat(255);
    let too_long = "x".repeat(256);
    // 254 bytes and a letter of two: the bound is in bytes.
    let too_long_in_bytes = format!("named:{}ä", "x".repeat(248));
    let long_and_unknown = format!("nowhere:{too_long}");
    assert!(channels.resolve(&longest).is_ok());
    assert!(channels.resolve(&too_long_in_bytes[1..]).is_err_and(|code| code == UnknownChannel));
    let table = [
        ("", BadRequest),
        (too_long.as_str(), BadRequest),
        (too_long_in_bytes.as_str(), BadRequest),
        (long_and_unknown.as_str(), BadRequest),
        ("a\nb", BadRequest),
        ("a\0", BadRequest),
        ("a\u{7f}", BadRequest),
        ("named:\n", BadRequest),
        ("named:ä\u{85}", BadRequest),
        ("nowhere:\t", BadRequest),
        ("ä", BadRequest),
        ("news:ä", BadRequest),
        ("named:", BadRequest),
        ("named:ab1", BadRequest),
        ("named:ab cd", BadRequest),
        ("nowhere:a", UnknownChannel),
        ("nowhere:ä", UnknownChannel),
        ("$nowhere:a", UnknownChannel),
        ("$$news:a", UnknownChannel),
        ("News:a", UnknownChannel),
        (" news:a", UnknownChannel),
        ("#1:a", UnknownChannel),
    ];
    for (name, code) in table {
        assert_eq!(channels.resolve(name).map(|channel| channel.rest), Err(code), "{name:?}");
    }
}

#[test]
fn the_application_may_spell_as_it_likes_but_not_break_the_rules() {
    let channels = Channels::new(&config());
    for name in ["ä", "news:ä", "named:1", "named:"] {
        assert!(channels.resolve(name).is_err());
        assert!(channels.resolve_trusted(name).is_ok(), "{name}");
    }
    let too_long = "x".repeat(256);
    for (name, code) in [("", BadRequest), ("a\r", BadRequest), (&too_long, BadRequest), ("nowhere:a", UnknownChannel)]
    {
        assert_eq!(channels.resolve_trusted(name).map(|channel| channel.rest), Err(code), "{name:?}");
    }
}

#[test]
fn the_marks_in_a_name_are_configurable_and_can_be_switched_off() {
    let custom = ChannelConfig {
        private_prefix: "private/".into(),
        namespace_boundary: "::".into(),
        user_boundary: "@@".into(),
        user_separator: "+".into(),
        max_length: 20,
        ..config()
    };
    let channels = Channels::new(&custom);
    let channel = channels.resolve("private/dialog::x@@1").unwrap();
    assert_eq!((channel.namespace, channel.rest, channel.private), ("dialog", "x@@1", true));
    let channel = channels.resolve("dialog::a@@ada+eve").unwrap();
    assert!(channel.lists("ada") && channel.lists("eve") && !channel.lists("ada+eve"));
    assert_eq!(channels.resolve("news:eu").unwrap().namespace, "");
    assert!(!channels.resolve("$news").unwrap().private);
    assert_eq!(channels.resolve(&"x".repeat(21)).map(|_| ()), Err(BadRequest));

    let off = ChannelConfig {
        private_prefix: String::new(),
        namespace_boundary: String::new(),
        user_boundary: String::new(),
        user_separator: String::new(),
        without_namespace: limited(),
        ..config()
    };
    let channels = Channels::new(&off);
    let channel = channels.resolve("$nowhere:a#1,2").unwrap();
    assert_eq!((channel.namespace, channel.rest, channel.private), ("", "$nowhere:a#1,2", false));
    assert!(!channel.is_user_limited());

    let one_user = ChannelConfig { user_separator: String::new(), without_namespace: limited(), ..config() };
    let channels = Channels::new(&one_user);
    assert!(channels.resolve("a#1,2").unwrap().lists("1,2"));
    assert!(!channels.resolve("a#1,2").unwrap().lists("1"));
}

#[test]
fn options_carry_what_the_section_says_for_all() {
    use std::time::Duration;
    let own = NamespaceOptions {
        history_meta_ttl: Duration::from_secs(5),
        publication_data_format: PublicationDataFormat::Binary,
        ..NamespaceOptions::default()
    };
    let channels = Channels::new(&ChannelConfig {
        history_meta_ttl: Duration::from_secs(9),
        publication_data_format: PublicationDataFormat::Json,
        namespaces: vec![namespace("own", own), namespace("news", NamespaceOptions::default())],
        ..ChannelConfig::default()
    });
    let options = |name: &'static str| {
        let options = channels.resolve(name).unwrap().options;
        (options.history_meta_ttl.as_secs(), options.publication_data_format)
    };
    assert_eq!(options("own:a"), (5, PublicationDataFormat::Binary));
    assert_eq!(options("news:a"), (9, PublicationDataFormat::Json));
    assert_eq!(options("a"), (9, PublicationDataFormat::Json));
}

#[test]
fn a_user_list_stands_after_the_last_boundary() {
    let channels = Channels::new(&config());
    let table = [
        ("dialog:#ada", &["ada"][..], &["", "ad", "adam", "#ada", "eve"][..]),
        ("dialog:a#ada,eve", &["ada", "eve"], &["ada,eve", "a", ",", ""]),
        ("dialog:a#ada#eve", &["eve"], &["ada", "ada#eve"]),
        ("dialog:#ada,", &["ada"], &[""]),
        ("dialog:#", &[], &["", "ada"]),
        ("dialog:#,", &[], &["", ","]),
        ("$dialog:#ada", &["ada"], &["eve"]),
        ("dialog:# ada", &[" ada"], &["ada"]),
    ];
    for (name, listed, not_listed) in table {
        let channel = channels.resolve(name).unwrap();
        assert!(channel.is_user_limited(), "{name}");
        for user in listed {
            assert!(channel.lists(user), "{name} {user:?}");
        }
        for user in not_listed {
            assert!(!channel.lists(user), "{name} {user:?}");
        }
    }
    for name in ["dialog:ada", "a#ada", "news:#ada"] {
        let channel = channels.resolve(name).unwrap();
        assert!(!channel.is_user_limited() && !channel.lists("ada"), "{name}");
    }
}

#[test]
fn a_user_has_a_channel_of_its_own() {
    let on = |namespace: &str| PersonalChannelConfig {
        enabled: true,
        personal_channel_namespace: namespace.into(),
        ..PersonalChannelConfig::default()
    };
    let channels = Channels::new(&config());
    let longest = "x".repeat(254);
    let too_long = "x".repeat(255);
    let table = [
        (on(""), "ada", Ok(Some("#ada"))),
        (on("dialog"), "ada", Ok(Some("dialog:#ada"))),
        (on("news"), "ada", Ok(Some("news:#ada"))),
        (on("named"), "ada", Ok(Some("named:#ada"))),
        (on("news"), "jürgen", Ok(Some("news:#jürgen"))),
        (on("news"), "a:b", Ok(Some("news:#a:b"))),
        (on(""), "", Ok(None)),
        (on("nowhere"), "", Ok(None)),
        (PersonalChannelConfig { enabled: false, ..on("") }, "ada", Ok(None)),
        (on("nowhere"), "ada", Err(UnknownChannel)),
        (on(""), "a:b", Err(BadRequest)),
        (on(""), "a\nb", Err(BadRequest)),
        (on(""), too_long.as_str(), Err(BadRequest)),
        (on("dialog"), "a,b", Err(BadRequest)),
        (on("dialog"), "a#b", Err(BadRequest)),
        (on("dialog"), ",", Err(BadRequest)),
        // There the marks mean nothing, so they open nothing.
        (on("news"), "a,b#c", Ok(Some("news:#a,b#c"))),
    ];
    for (config, user, expected) in table {
        let name = channels.personal(&config, user);
        assert_eq!(name.as_ref().map(Option::as_deref).map_err(|code| *code), expected, "{user:?} {config:?}");
        if let Ok(Some(name)) = name {
            let channel = channels.resolve_trusted(&name).unwrap();
            assert_eq!(channel.namespace, config.personal_channel_namespace);
            assert!(!channel.is_user_limited() || channel.lists(user));
        }
    }
    assert_eq!(channels.personal(&on(""), &longest).unwrap().unwrap().len(), 255);
}

// Permissions.

#[test]
fn who_may_subscribe() {
    let open = NamespaceOptions { allow_subscribe_for_client: true, ..NamespaceOptions::default() };
    let open_to_all = NamespaceOptions { allow_subscribe_for_anonymous: true, ..open.clone() };
    let open_to_nobody = NamespaceOptions { allow_subscribe_for_anonymous: true, ..NamespaceOptions::default() };
    let limited_and_open = NamespaceOptions { allow_user_limited_channels: true, ..open_to_all.clone() };
    let closed = NamespaceOptions::default();
    let no = Err(PermissionDenied);
    let table = [
        (&closed, "a", ADA, false, no),
        (&closed, "a", ADA, true, Ok(())),
        (&closed, "a", ANONYMOUS, true, Ok(())),
        (&closed, "a", INSECURE, false, Ok(())),
        (&closed, "$a", ADA, false, no),
        (&closed, "$a", ADA, true, Ok(())),
        (&closed, "$a", INSECURE, false, no),
        (&closed, "$a", INSECURE, true, Ok(())),
        (&open, "a", ADA, false, Ok(())),
        (&open, "a", ANONYMOUS, false, no),
        (&open, "$a", ADA, false, no),
        (&open_to_all, "a", ANONYMOUS, false, Ok(())),
        (&open_to_all, "$a", ANONYMOUS, false, no),
        (&open_to_nobody, "a", ANONYMOUS, false, no),
        (&open_to_nobody, "a", ADA, false, no),
        // Where the namespace does not heed user lists, `#` is a letter like any other.
        (&open, "a#eve", ADA, false, Ok(())),
        (&limited_and_open, "a", ADA, false, Ok(())),
        (&limited_and_open, "a#ada", ADA, false, Ok(())),
        (&limited_and_open, "a#eve", ADA, false, no),
        (&limited_and_open, "a#eve,ada", ADA, false, Ok(())),
        (&limited_and_open, "a#eve", ADA, true, Ok(())),
        (&limited_and_open, "a#", ANONYMOUS, false, no),
        (&limited_and_open, "a#eve", INSECURE, false, Ok(())),
        (&limited_and_open, "$a#ada", ADA, false, no),
    ];
    for (options, name, caller, token_ok, expected) in table {
        let channels = with(options.clone());
        let result = channels.resolve(name).unwrap().may_subscribe(&caller, token_ok);
        assert_eq!(result, expected, "{name} {caller:?} token {token_ok}");
    }
}

/// All combinations against the order as `docs/protocol.md` words it, one rule after the other.
#[test]
fn subscribing_follows_the_documented_order_in_every_combination() {
    let mut seen = [0, 0];
    for bits in 0..1_u32 << 8 {
        let bit = |n: u32| bits >> n & 1 == 1;
        let [private, token_ok, heeded, has_list, listed, for_client, for_anonymous, insecure] =
            std::array::from_fn(|n| bit(n as u32));
        for user in ["ada", ""] {
            let channels = with(NamespaceOptions {
                allow_user_limited_channels: heeded,
                allow_subscribe_for_client: for_client,
                allow_subscribe_for_anonymous: for_anonymous,
                ..NamespaceOptions::default()
            });
            let list = if listed { format!("#x,{user}") } else { "#x".to_owned() };
            let name = format!("{}a{}", if private { "$" } else { "" }, if has_list { list.as_str() } else { "" });
            let order = || {
                if private && !token_ok {
                    return false;
                }
                if token_ok {
                    return true;
                }
                if heeded && has_list {
                    return (listed && !user.is_empty()) || insecure;
                }
                if for_client && (!user.is_empty() || for_anonymous) {
                    return true;
                }
                insecure
            };
            let allowed = channels.resolve(&name).unwrap().may_subscribe(&Caller { user, insecure }, token_ok).is_ok();
            assert_eq!(allowed, order(), "{name} user {user:?} bits {bits:08b}");
            seen[usize::from(allowed)] += 1;
        }
    }
    assert!(seen[0] > 100 && seen[1] > 100, "both answers are exercised: {seen:?}");
}

#[test]
fn publishing_presence_and_history_follow_their_options_in_every_combination() {
    for bits in 0..1_u32 << 6 {
        let bit = |n: u32| bits >> n & 1 == 1;
        let [client, subscriber, anonymous, subscribed, insecure, on] = std::array::from_fn(|n| bit(n as u32));
        for user in ["ada", ""] {
            let caller = Caller { user, insecure };
            let allowed = (client && (!user.is_empty() || anonymous))
                || (subscriber && subscribed && (!user.is_empty() || anonymous))
                || insecure;
            let expected = if allowed { Ok(()) } else { Err(PermissionDenied) };
            let what = format!("user {user:?} bits {bits:06b}");

            let channels = with(NamespaceOptions {
                allow_publish_for_client: client,
                allow_publish_for_subscriber: subscriber,
                allow_publish_for_anonymous: anonymous,
                ..NamespaceOptions::default()
            });
            assert_eq!(channels.resolve("a").unwrap().may_publish(&caller, subscribed), expected, "{what}");

            let if_on = if on { expected } else { Err(NotAvailable) };
            let channels = with(NamespaceOptions {
                presence: on,
                allow_presence_for_client: client,
                allow_presence_for_subscriber: subscriber,
                allow_presence_for_anonymous: anonymous,
                ..NamespaceOptions::default()
            });
            assert_eq!(channels.resolve("a").unwrap().may_presence(&caller, subscribed), if_on, "{what}");

            let channels = with(NamespaceOptions {
                history_size: usize::from(on),
                history_ttl: std::time::Duration::from_secs(1),
                allow_history_for_client: client,
                allow_history_for_subscriber: subscriber,
                allow_history_for_anonymous: anonymous,
                ..NamespaceOptions::default()
            });
            assert_eq!(channels.resolve("a").unwrap().may_history(&caller, subscribed), if_on, "{what}");
        }
    }
    // One right opens one door.
    let publisher =
        with(NamespaceOptions { allow_publish_for_client: true, presence: true, ..NamespaceOptions::default() });
    assert_eq!(publisher.resolve("a").unwrap().may_presence(&ADA, true), Err(PermissionDenied));
    assert_eq!(publisher.resolve("a").unwrap().may_history(&ADA, true), Err(NotAvailable));
    assert_eq!(publisher.resolve("a").unwrap().may_subscribe(&ADA, false), Err(PermissionDenied));
}

#[test]
fn wishes_of_a_subscriber_are_granted_where_it_could_help_itself() {
    let history = NamespaceOptions {
        history_size: 1,
        history_ttl: std::time::Duration::from_secs(1),
        ..NamespaceOptions::default()
    };
    let grants = |options: &NamespaceOptions, caller: &Caller<'_>| {
        let channels = with(options.clone());
        let channel = channels.resolve("a").unwrap();
        [channel.grants_positioning(caller), channel.grants_recovery(caller), channel.grants_join_leave(caller)]
    };
    let readers = NamespaceOptions { allow_history_for_subscriber: true, ..history.clone() };
    let told =
        NamespaceOptions { join_leave: true, allow_presence_for_subscriber: true, ..NamespaceOptions::default() };
    let table = [
        (history.clone(), ADA, [false, false, false]),
        (history.clone(), INSECURE, [true, true, false]),
        (NamespaceOptions { allow_positioning: true, ..history.clone() }, ANONYMOUS, [true, false, false]),
        (NamespaceOptions { allow_recovery: true, ..history }, ANONYMOUS, [false, true, false]),
        (readers.clone(), ADA, [true, true, false]),
        (readers.clone(), ANONYMOUS, [false, false, false]),
        (NamespaceOptions { allow_history_for_anonymous: true, ..readers.clone() }, ANONYMOUS, [true, true, false]),
        // Without history there is nothing to recover, whoever asks.
        (
            NamespaceOptions { history_size: 0, allow_recovery: true, allow_positioning: true, ..readers },
            INSECURE,
            [false, false, false],
        ),
        (told.clone(), ADA, [false, false, true]),
        (told.clone(), ANONYMOUS, [false, false, false]),
        (NamespaceOptions { join_leave: false, ..told }, ADA, [false, false, false]),
    ];
    for (options, caller, expected) in table {
        assert_eq!(grants(&options, &caller), expected, "{caller:?} {options:?}");
    }
}

// Data.

#[test]
fn a_publication_holds_what_its_channel_takes() {
    use PublicationDataFormat::{Binary, Json, JsonObject, Unset};
    // Data, whether it is JSON, and which formats take it.
    let table = [
        (&b""[..], false, &[Binary][..]),
        (b"\x00\xff", false, &[Binary, Unset]),
        (b"{", false, &[Binary, Unset]),
        (b"{} {}", false, &[Binary, Unset]),
        (b"{}x", false, &[Binary, Unset]),
        (b" ", false, &[Binary, Unset]),
        (b"{\"a\":\"\xff\"}", false, &[Binary, Unset]),
        (b"null", true, &[Binary, Unset, Json]),
        (b" [1]", true, &[Binary, Unset, Json]),
        (b"\"{}\"", true, &[Binary, Unset, Json]),
        (b"{}", true, &[Binary, Unset, Json, JsonObject]),
        (b" \t{\"a\":[{}]} ", true, &[Binary, Unset, Json, JsonObject]),
    ];
    for format in [Unset, Json, JsonObject, Binary] {
        let channels = with(NamespaceOptions { publication_data_format: format, ..NamespaceOptions::default() });
        let channel = channels.resolve("a").unwrap();
        for (data, is_json, takers) in table {
            let expected = if takers.contains(&format) { Ok(()) } else { Err(BadRequest) };
            let payload = Payload::opaque(data);
            assert_eq!(channel.check_data(&payload), expected, "{format:?} {payload:?}");
            if is_json {
                assert_eq!(channel.check_data(&Payload::from_bytes(data)), expected, "{format:?} {payload:?}");
            }
        }
    }
}

// Anything else.

proptest! {
    #[test]
    fn any_name_is_read_without_panic_and_keeps_its_parts(
        name in "[$:#,a-c\\x00ä\\n]{0,12}|.{0,40}|(news|dialog|named|nowhere):.{0,20}",
    ) {
        let channels = Channels::new(&config());
        if let Ok(channel) = channels.resolve_trusted(&name) {
            prop_assert!(name.ends_with(channel.rest));
            prop_assert!(!name.chars().any(char::is_control) && name.len() <= 255);
            prop_assert_eq!(channel.private, name.starts_with('$'));
            prop_assert!(["", "news", "dialog", "named"].contains(&channel.namespace));
            prop_assert!(!channel.lists(""));
        }
        if let Ok(channel) = channels.resolve(&name) {
            prop_assert!(name.is_ascii() || channel.namespace == "named");
        }
    }

    /// Whoever may subscribe to somebody's own channel without a token is that user.
    #[test]
    fn a_personal_channel_is_open_to_its_user_alone(user in "[ab,#:$]{1,4}", other in "[ab,#:$]{1,4}") {
        let everywhere = NamespaceOptions { allow_subscribe_for_client: true, ..limited() };
        let channels = Channels::new(&ChannelConfig {
            without_namespace: everywhere.clone(),
            namespaces: vec![namespace("own", everywhere)],
            ..ChannelConfig::default()
        });
        for space in ["", "own"] {
            let config = PersonalChannelConfig {
                enabled: true,
                personal_channel_namespace: space.into(),
                ..PersonalChannelConfig::default()
            };
            if let Ok(Some(name)) = channels.personal(&config, &user) {
                let caller = Caller { user: &other, insecure: false };
                let allowed = channels.resolve(&name).unwrap().may_subscribe(&caller, false).is_ok();
                prop_assert_eq!(allowed, user == other);
            }
        }
    }
}
