use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::*;
use pubsub_protocol::Payload;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use super::*;
use crate::config::Secret;

const SECRET: &str = "secret";
/// A moment in 2026; the tokens of the fixtures expire in 2100.
const NOW: i64 = 1_795_000_000;

const RSA: &str = include_str!("fixtures/rsa.pem");
const RSA_PKCS1: &str = include_str!("fixtures/rsa_pkcs1.pem");
const RSA_1024: &str = include_str!("fixtures/rsa1024.pem");
const P256: &str = include_str!("fixtures/p256.pem");
const P384: &str = include_str!("fixtures/p384.pem");
const P521: &str = include_str!("fixtures/p521.pem");
const SECP256K1: &str = include_str!("fixtures/secp256k1.pem");
const ED25519: &str = include_str!("fixtures/ed25519.pem");

/// A token that another implementation made.
fn foreign(algorithm: &str) -> &'static str {
    let line = include_str!("fixtures/tokens.txt").lines().find(|line| line.split(' ').next() == Some(algorithm));
    line.and_then(|line| line.split(' ').nth(1)).expect("the fixture has this algorithm")
}

fn secret(text: &str) -> Option<Secret> {
    Some(Secret::new(text))
}

/// As the configuration reads it: an empty text is none.
fn text(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn pattern(pattern: &str) -> Option<Pattern> {
    text(pattern).map(|pattern| Pattern::new(&pattern).unwrap())
}

fn with_secret() -> TokenConfig {
    TokenConfig { hmac_secret_key: secret(SECRET), ..TokenConfig::default() }
}

fn with_everything() -> TokenConfig {
    TokenConfig {
        rsa_public_key: Some(RSA.into()),
        ecdsa_public_key: Some(P256.into()),
        eddsa_public_key: Some(ED25519.into()),
        ..with_secret()
    }
}

fn verifier(config: &TokenConfig) -> Verifier {
    Verifier::new(config).unwrap()
}

fn sign(claims: &Value) -> String {
    Signer::hs256(SECRET).sign(claims)
}

fn connect(claims: &Value) -> Result<ConnectClaims, TokenError> {
    verifier(&with_secret()).verify_connect(&sign(claims), NOW)
}

fn subscribe(claims: &Value) -> Result<SubscribeClaims, TokenError> {
    verifier(&with_secret()).verify_subscribe(&sign(claims), NOW)
}

fn payload(value: &Value) -> Option<Payload> {
    Some(Payload::to_json(value).unwrap())
}

#[track_caller]
fn assert_invalid<T: std::fmt::Debug>(result: Result<T, TokenError>, part_of_the_reason: &str) {
    match result {
        Err(TokenError::Invalid { reason }) if reason.contains(part_of_the_reason) => {}
        other => panic!("expected an invalid token because of {part_of_the_reason:?}, got {other:?}"),
    }
}

// Algorithms and keys.

#[test]
fn tokens_of_every_algorithm_made_by_another_implementation_verify() {
    let config = |key: &str| {
        let mut config = TokenConfig::default();
        match key {
            "hmac" => config.hmac_secret_key = secret(SECRET),
            "rsa" => config.rsa_public_key = Some(RSA.into()),
            "rsa pkcs1" => config.rsa_public_key = Some(RSA_PKCS1.into()),
            "p256" => config.ecdsa_public_key = Some(P256.into()),
            "p384" => config.ecdsa_public_key = Some(P384.into()),
            "ed25519" => config.eddsa_public_key = Some(ED25519.into()),
            "everything" => config = with_everything(),
            other => unreachable!("{other}"),
        }
        config
    };
    let table = [
        ("hmac", &["HS256", "HS384", "HS512"][..]),
        ("rsa", &["RS256", "RS384", "RS512"]),
        ("rsa pkcs1", &["RS256", "RS384", "RS512"]),
        ("p256", &["ES256"]),
        ("p384", &["ES384"]),
        ("ed25519", &["EdDSA"]),
        ("everything", &["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "EdDSA"]),
    ];
    let all =
        ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "ES512", "ES256K", "EdDSA"];
    for (key, accepted) in table {
        let verifier = verifier(&config(key));
        for algorithm in all {
            let result = verifier.verify_connect(foreign(algorithm), NOW);
            if accepted.contains(&algorithm) {
                let claims = result.unwrap_or_else(|error| panic!("{key} refuses {algorithm}: {error}"));
                assert_eq!(claims.user, "42");
                assert_eq!(claims.expire_at, Some(4_102_444_800));
                assert_eq!(claims.info, Some(Payload::from_json(r#"{"name": "Ada"}"#).unwrap()));
            } else {
                assert!(matches!(result, Err(TokenError::Invalid { .. })), "{key} takes {algorithm}: {result:?}");
            }
        }
    }
}

#[test]
fn fresh_keys_of_every_kind_sign_and_verify_and_no_other_key_does() {
    let p256 = [
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
    ];
    let p384 = [
        KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
        KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
    ];
    let ed = [KeyPair::generate_for(&PKCS_ED25519).unwrap(), KeyPair::generate_for(&PKCS_ED25519).unwrap()];
    let rsa = [KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(), KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap()];
    let ec_config = |pem: String| TokenConfig { ecdsa_public_key: Some(pem), ..TokenConfig::default() };
    let ed_config = |pem: String| TokenConfig { eddsa_public_key: Some(pem), ..TokenConfig::default() };
    let rsa_config = |pem: String| TokenConfig { rsa_public_key: Some(pem), ..TokenConfig::default() };
    let ec_key = |pem: String| EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
    let ed_key = |pem: String| EncodingKey::from_ed_pem(pem.as_bytes()).unwrap();
    let rsa_key = |pem: String| EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();

    type Config<'a> = &'a dyn Fn(String) -> TokenConfig;
    type Read<'a> = &'a dyn Fn(String) -> EncodingKey;
    let table: [(Algorithm, &[KeyPair; 2], Config<'_>, Read<'_>); 6] = [
        (Algorithm::ES256, &p256, &ec_config, &ec_key),
        (Algorithm::ES384, &p384, &ec_config, &ec_key),
        (Algorithm::EdDSA, &ed, &ed_config, &ed_key),
        (Algorithm::RS256, &rsa, &rsa_config, &rsa_key),
        (Algorithm::RS384, &rsa, &rsa_config, &rsa_key),
        (Algorithm::RS512, &rsa, &rsa_config, &rsa_key),
    ];
    for (algorithm, [key, other], config, read) in table {
        let verifier = verifier(&config(key.public_key_pem()));
        let claims = json!({ "sub": "7" });
        let token = encode(&Header::new(algorithm), &claims, &read(key.serialize_pem())).unwrap();
        assert_eq!(verifier.verify_connect(&token, NOW).unwrap().user, "7", "{algorithm:?}");
        let forged = encode(&Header::new(algorithm), &claims, &read(other.serialize_pem())).unwrap();
        assert_invalid(verifier.verify_connect(&forged, NOW), "signature");
    }
}

#[test]
fn a_public_key_used_as_hmac_secret_opens_nothing() {
    // The classic confusion: everybody knows the public key, so everybody can make this token.
    for pem in [RSA, P256, ED25519] {
        let token = Signer::hs256(pem).connection("admin", None);
        let asymmetric = TokenConfig { hmac_secret_key: None, ..with_everything() };
        assert_invalid(
            verifier(&asymmetric).verify_connect(&token, NOW),
            "no key is configured for its algorithm HS256",
        );
        assert_invalid(verifier(&with_everything()).verify_connect(&token, NOW), "signature");
    }
}

#[test]
fn a_token_without_signature_is_invalid() {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let claims = part(r#"{"sub":"admin"}"#);
    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        let header = part(&format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#));
        for signature in ["", "AAAA"] {
            let token = format!("{header}.{claims}.{signature}");
            let reason = format!("its algorithm {algorithm:?} is not supported");
            assert_invalid(verifier(&with_everything()).verify_connect(&token, NOW), &reason);
        }
    }
    let header = part(r#"{"alg":"HS256"}"#);
    assert_invalid(verifier(&with_everything()).verify_connect(&format!("{header}.{claims}."), NOW), "signature");
    let endless = part(&format!(r#"{{"alg":"{}"}}"#, "n".repeat(1000)));
    for shape in ["", ".", "..", "...", "a", "a.b", "a.b.c", "a.b.c.d", &format!("{endless}.a.b")] {
        assert_invalid(verifier(&with_everything()).verify_connect(shape, NOW), "three base64url parts");
    }
    assert_invalid(verifier(&with_everything()).verify_connect(foreign("ES512"), NOW), r#"algorithm "ES512""#);
}

#[test]
fn a_key_inside_the_token_is_not_used() {
    let attacker = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut header = Header::new(Algorithm::EdDSA);
    let x = URL_SAFE_NO_PAD.encode(attacker.public_key_raw());
    header.jwk = Some(serde_json::from_value(json!({ "kty": "OKP", "crv": "Ed25519", "x": x })).unwrap());
    let key = EncodingKey::from_ed_pem(attacker.serialize_pem().as_bytes()).unwrap();
    let token = encode(&header, &json!({ "sub": "admin" }), &key).unwrap();
    assert_invalid(verifier(&with_everything()).verify_connect(&token, NOW), "signature");
}

#[test]
fn a_header_that_demands_extensions_is_refused() {
    let header = Header { crit: Some(vec!["exp".into()]), ..Header::default() };
    let token = encode(&header, &json!({ "sub": "42" }), &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    assert_invalid(verifier(&with_secret()).verify_connect(&token, NOW), "crit");
}

#[test]
fn without_any_key_no_token_is_looked_at() {
    let verifier = verifier(&TokenConfig::default());
    assert!(!verifier.is_configured());
    for token in ["", "garbage", foreign("HS256")] {
        assert_eq!(verifier.verify_connect(token, NOW), Err(TokenError::NotConfigured));
        assert_eq!(verifier.verify_subscribe(token, NOW), Err(TokenError::NotConfigured));
    }
}

#[test]
fn the_previous_secret_is_good_until_its_time() {
    let old = Signer::hs256("old secret").connection("42", None);
    let new = Signer::hs256(SECRET).connection("42", None);
    let other = Signer::hs256("other secret").connection("42", None);
    for (until, now, old_is_good) in
        [(0, NOW, true), (NOW as u64 + 1, NOW, true), (NOW as u64, NOW, false), (1, NOW, false), (u64::MAX, NOW, true)]
    {
        let config = TokenConfig {
            hmac_previous_secret_key: secret("old secret"),
            hmac_previous_secret_key_valid_until: until,
            ..with_secret()
        };
        for verifier in [verifier(&config), verifier(&config).ignoring_expiry()] {
            assert_eq!(verifier.verify_connect(&old, now).is_ok(), old_is_good, "until {until}");
            assert!(verifier.verify_connect(&new, now).is_ok());
            assert_invalid(verifier.verify_connect(&other, now), "signature");
        }
    }
}

#[test]
fn all_wrong_keys_are_reported_at_once_and_say_what_is_allowed() {
    let private = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
    let damaged = ED25519.replace("MCow", "MCox");
    type Set = fn(&mut TokenConfig, String);
    let hmac: Set = |config, key| config.hmac_secret_key = secret(&key);
    let previous: Set = |config, key| config.hmac_previous_secret_key = secret(&key);
    let rsa: Set = |config, key| config.rsa_public_key = Some(key);
    let ecdsa: Set = |config, key| config.ecdsa_public_key = Some(key);
    let ed: Set = |config, key| config.eddsa_public_key = Some(key);
    let table: [(Set, &str, &str, &str); 18] = [
        (hmac, RSA, "hmac_secret_key", "not a secret"),
        (previous, RSA, "hmac_previous_secret_key", "not a secret"),
        (rsa, "secret", "rsa_public_key", "not a PEM"),
        (rsa, P256, "rsa_public_key", "not a public RSA key"),
        (rsa, ED25519, "rsa_public_key", "not a public RSA key"),
        (rsa, RSA_1024, "rsa_public_key", "2048"),
        (rsa, certificate, "rsa_public_key", "certificate"),
        (ecdsa, RSA, "ecdsa_public_key", "P-256"),
        (ecdsa, RSA_PKCS1, "ecdsa_public_key", "P-256"),
        (ecdsa, ED25519, "ecdsa_public_key", "P-256"),
        (ecdsa, P521, "ecdsa_public_key", "another curve"),
        (ecdsa, SECP256K1, "ecdsa_public_key", "another curve"),
        (ecdsa, &private, "ecdsa_public_key", "private key"),
        (ecdsa, "-----BEGIN PUBLIC KEY-----\n!!!\n-----END PUBLIC KEY-----", "ecdsa_public_key", "P-256"),
        (ed, P256, "eddsa_public_key", "not a public Ed25519 key"),
        (ed, RSA, "eddsa_public_key", "not a public Ed25519 key"),
        (ed, &damaged, "eddsa_public_key", "Ed25519"),
        (ed, "MCowBQYDK2VwAyEA", "eddsa_public_key", "not a PEM"),
    ];
    for (set, key, option, part) in table {
        let mut config = TokenConfig::default();
        set(&mut config, key.to_owned());
        let error = Verifier::new(&config).expect_err(option);
        assert_eq!(error.problems.len(), 1, "{error}");
        assert_eq!(error.problems[0].key, option);
        assert!(error.problems[0].message.contains(part), "{error} lacks {part:?}");
        assert!(!error.to_string().contains("MI"), "a key must not be printed: {error}");
    }

    let everything = TokenConfig {
        hmac_secret_key: secret(RSA),
        rsa_public_key: Some(P256.into()),
        ecdsa_public_key: Some(P521.into()),
        eddsa_public_key: Some(RSA.into()),
        audience: Some("a".into()),
        audience_regex: Some(Pattern::new("a").unwrap()),
        issuer: Some("a".into()),
        issuer_regex: Some(Pattern::new("a").unwrap()),
        ..TokenConfig::default()
    };
    let error = Verifier::new(&everything).unwrap_err();
    let keys: Vec<_> = error.problems.iter().map(|problem| problem.key).collect();
    assert_eq!(
        keys,
        ["hmac_secret_key", "rsa_public_key", "ecdsa_public_key", "eddsa_public_key", "audience_regex", "issuer_regex"]
    );
}

// Times.

#[test]
fn exp_and_nbf_are_read_against_the_time_passed_in() {
    let leeway = NOT_BEFORE_LEEWAY_SECONDS;
    let good = [
        json!({}),
        json!({ "exp": NOW + 1 }),
        json!({ "exp": NOW as f64 + 1.5 }),
        json!({ "exp": 1e300 }),
        json!({ "exp": null, "nbf": null, "expire_at": null }),
        json!({ "nbf": NOW }),
        json!({ "nbf": NOW + leeway }),
        json!({ "nbf": -1 }),
        json!({ "exp": NOW + 10, "nbf": NOW - 10, "iat": NOW + 100 }),
        json!({ "exp": u64::MAX }),
    ];
    for claims in good {
        connect(&claims).unwrap_or_else(|error| panic!("{claims}: {error}"));
    }
    let late = [
        json!({ "exp": NOW }),
        json!({ "exp": NOW as f64 + 0.5 }),
        json!({ "exp": NOW - 1 }),
        json!({ "exp": 0 }),
        json!({ "exp": -5 }),
        json!({ "exp": -1e300 }),
        json!({ "exp": i64::MIN }),
        json!({ "nbf": NOW + leeway + 1 }),
        json!({ "nbf": u64::MAX }),
        json!({ "exp": NOW - 1, "expire_at": 0 }),
        json!({ "exp": NOW - 1, "expire_at": NOW + 100 }),
    ];
    for claims in late {
        let verifier = verifier(&with_secret());
        let token = sign(&claims);
        let result = verifier.verify_connect(&token, NOW);
        assert!(matches!(result, Err(TokenError::Expired { .. })), "{claims}: {result:?}");
        let patient = verifier.ignoring_expiry();
        assert_eq!(patient.verify_connect(&token, NOW).unwrap().expire_at, None, "{claims}");

        let mut claims = claims;
        claims["channel"] = "news".into();
        let result = subscribe(&claims);
        assert!(matches!(result, Err(TokenError::Expired { .. })), "{claims}: {result:?}");
    }
    for claims in [json!({ "exp": "soon" }), json!({ "nbf": {} }), json!({ "expire_at": "0" }), json!({ "exp": [1] })] {
        assert_invalid(connect(&claims), "claims");
    }
}

#[test]
fn what_is_wrong_anyway_is_not_called_expired() {
    // "Expired" makes the client fetch another token from the same place: of no use if that is wrong as well.
    let exp = NOW - 1;
    assert_invalid(connect(&json!({ "exp": exp, "channel": "news" })), "channel");
    assert_invalid(connect(&json!({ "exp": exp, "b64info": "!" })), "b64info");
    assert_invalid(subscribe(&json!({ "exp": exp })), "no `channel`");
    let forged = Signer::hs256("other").connection("42", Some(exp));
    assert_invalid(verifier(&with_secret()).verify_connect(&forged, NOW), "signature");
    let ours = TokenConfig { audience: Some("us".into()), ..with_secret() };
    let token = sign(&json!({ "exp": exp, "aud": "them" }));
    assert_invalid(verifier(&ours).verify_connect(&token, NOW), "audience");
}

#[test]
fn expire_at_decides_when_the_connection_ends() {
    let (exp, later) = (NOW + 60, NOW + 3600);
    let table = [
        (json!({}), None),
        (json!({ "exp": exp }), Some(exp)),
        (json!({ "exp": exp, "expire_at": 0 }), None),
        (json!({ "exp": exp, "expire_at": later }), Some(later)),
        (json!({ "expire_at": later }), Some(later)),
        (json!({ "expire_at": NOW - 1 }), Some(NOW - 1)),
        (json!({ "exp": exp, "expire_at": null }), Some(exp)),
        (json!({ "exp": exp as f64 + 0.9 }), Some(exp)),
    ];
    for (mut claims, expected) in table {
        assert_eq!(connect(&claims).unwrap().expire_at, expected, "{claims}");
        claims["channel"] = "news".into();
        assert_eq!(subscribe(&claims).unwrap().expire_at, expected, "{claims}");
    }
}

// Whom it is for, whom it is from, whose it is.

#[test]
fn audience_and_issuer_must_be_those_configured() {
    let audience = |exactly: &str, regex: &str| TokenConfig {
        audience: text(exactly),
        audience_regex: pattern(regex),
        ..with_secret()
    };
    let issuer = |exactly: &str, regex: &str| TokenConfig {
        issuer: text(exactly),
        issuer_regex: pattern(regex),
        ..with_secret()
    };
    let table = [
        (audience("", ""), json!({ "aud": "anyone", "iss": "anyone" }), true),
        (audience("", ""), json!({ "aud": null, "iss": null }), true),
        (audience("us", ""), json!({ "aud": "us" }), true),
        (audience("us", ""), json!({ "aud": ["them", "us"] }), true),
        (audience("us", ""), json!({ "aud": ["them", "usual"] }), false),
        (audience("us", ""), json!({ "aud": "US" }), false),
        (audience("us", ""), json!({ "aud": [] }), false),
        (audience("us", ""), json!({ "aud": null }), false),
        (audience("us", ""), json!({}), false),
        (audience("", "^us-(east|west)$"), json!({ "aud": "us-east" }), true),
        (audience("", "^us-(east|west)$"), json!({ "aud": ["eu", "us-west"] }), true),
        (audience("", "^us-(east|west)$"), json!({ "aud": "us-north" }), false),
        (audience("", "^us-(east|west)$"), json!({ "aud": "not us-east" }), false),
        (audience("", "^us-(east|west)$"), json!({}), false),
        (audience("", "us"), json!({ "aud": "focus" }), true),
        (audience("", ".*"), json!({}), false),
        (issuer("me", ""), json!({ "iss": "me" }), true),
        (issuer("me", ""), json!({ "iss": "you" }), false),
        (issuer("me", ""), json!({}), false),
        (issuer("", "^me"), json!({ "iss": "me too" }), true),
        (issuer("", "^me"), json!({ "iss": "you and me" }), false),
        (issuer("", "^me"), json!({}), false),
    ];
    for (config, mut claims, good) in table {
        let verifier = verifier(&config);
        let result = verifier.verify_connect(&sign(&claims), NOW);
        assert_eq!(result.is_ok(), good, "{claims} for {config:?}: {result:?}");
        assert!(good || matches!(result, Err(TokenError::Invalid { .. })), "{result:?}");
        claims["channel"] = "news".into();
        assert_eq!(verifier.verify_subscribe(&sign(&claims), NOW).is_ok(), good, "{claims} for {config:?}");
    }
    for claims in [json!({ "aud": 5 }), json!({ "aud": [5] }), json!({ "aud": {} }), json!({ "iss": ["me"] })] {
        assert_invalid(connect(&claims), "claims");
    }
}

#[test]
fn the_user_stands_in_sub_or_in_the_configured_claim() {
    let table = [
        ("", json!({ "sub": "42" }), Some("42")),
        ("", json!({ "sub": "" }), Some("")),
        ("", json!({ "sub": null }), Some("")),
        ("", json!({}), Some("")),
        ("", json!({ "sub": 42 }), None),
        ("", json!({ "sub": ["42"] }), None),
        ("", json!({ "sub": "42", "uid": "43" }), Some("42")),
        ("sub", json!({ "sub": "42" }), Some("42")),
        ("uid", json!({ "sub": "42", "uid": "43" }), Some("43")),
        ("uid", json!({ "sub": "42", "uid": 43 }), Some("43")),
        ("uid", json!({ "sub": "42", "uid": null }), Some("")),
        ("uid", json!({ "sub": "42" }), Some("")),
        ("uid", json!({ "sub": "42", "uid": true }), None),
        ("uid", json!({ "sub": "42", "uid": {} }), None),
        ("https://example.com/uid", json!({ "https://example.com/uid": "ü\"\n" }), Some("ü\"\n")),
    ];
    for (claim, claims, user) in table {
        let config = TokenConfig { user_id_claim: text(claim), ..with_secret() };
        let result = verifier(&config).verify_connect(&sign(&claims), NOW);
        match user {
            Some(user) => assert_eq!(result.unwrap().user, user, "{claims}"),
            None => assert_invalid(result, "user id"),
        }
    }
}

// What it says.

#[test]
fn a_connection_token_says_this() {
    let info = json!({ "name": "Ada", "n": [1, 2.5, null] });
    let claims = connect(&json!({
        "sub": "42",
        "info": info,
        "channels": ["ignored, since there are subs"],
        "subs": {
            "news": {},
            "chat": {
                "info": { "role": "admin" },
                "data": "hi",
                "override": {
                    "presence": { "value": true },
                    "join_leave": { "value": false },
                    "force_push_join_leave": {},
                    "force_recovery": null,
                    "of a later version": { "value": true },
                },
            },
            "raw": {
                "info": 0, "b64info": STANDARD.encode("{\"a\":\n1}"),
                "data": 0, "b64data": STANDARD.encode("[2]"),
            },
        },
        "meta": { "never": "read" },
        "jti": "x",
        "channel": "",
        "of a later version": [],
    }))
    .unwrap();
    assert_eq!(claims.user, "42");
    assert_eq!(claims.info, payload(&info));
    assert!(claims.channels.is_empty());
    assert_eq!(claims.subs.len(), 3);
    assert_eq!(claims.subs["news"], SubClaims::default());
    assert_eq!(
        claims.subs["chat"],
        SubClaims {
            info: payload(&json!({ "role": "admin" })),
            data: payload(&json!("hi")),
            overrides: Overrides {
                presence: Some(true),
                join_leave: Some(false),
                force_push_join_leave: Some(false),
                force_recovery: None,
                force_positioning: None,
            },
        }
    );
    // A newline would end the message it travels in.
    assert_eq!(claims.subs["raw"].info.as_ref().unwrap().as_bytes(), b"{\"a\": 1}");
    assert_eq!(claims.subs["raw"].data.as_ref().unwrap().as_bytes(), b"[2]");
    // What is no JSON is for those who speak protobuf, and base64 to all others.
    let info = connect(&json!({ "b64info": STANDARD.encode([0xff, 0xfe]) })).unwrap().info.unwrap();
    assert_eq!((info.as_bytes(), &*info.json()), (&[0xff, 0xfe][..], &b"\"//4=\""[..]));

    let claims = connect(&json!({ "channels": ["b", "a", "b"], "subs": {}, "info": null, "b64info": "" })).unwrap();
    assert_eq!(claims.channels, ["b", "a"]);
    assert_eq!(claims.info, None);
    assert_eq!(connect(&json!({ "channels": null, "subs": null })).unwrap(), ConnectClaims::default());
    assert_eq!(connect(&json!({ "info": 1, "b64info": STANDARD.encode("2") })).unwrap().info, payload(&json!(2)));
}

#[test]
fn a_subscription_token_says_this() {
    let claims = subscribe(&json!({
        "sub": "42",
        "channel": "$chat:index",
        "client": "9d",
        "exp": NOW + 5,
        "info": { "role": "admin" },
        "b64data": STANDARD.encode("true"),
        "override": { "force_recovery": { "value": true }, "force_positioning": { "value": false } },
    }));
    let expected = SubscribeClaims {
        user: "42".into(),
        channel: "$chat:index".into(),
        client: Some("9d".into()),
        expire_at: Some(NOW + 5),
        info: payload(&json!({ "role": "admin" })),
        data: payload(&json!(true)),
        overrides: Overrides { force_recovery: Some(true), force_positioning: Some(false), ..Overrides::default() },
    };
    assert_eq!(claims.unwrap(), expected);
    let plain = SubscribeClaims { channel: "news".into(), ..SubscribeClaims::default() };
    assert_eq!(subscribe(&json!({ "channel": "news", "client": "", "override": null })).unwrap(), plain);
}

#[test]
fn a_token_for_one_purpose_does_not_serve_the_other() {
    assert_invalid(connect(&json!({ "sub": "42", "channel": "news" })), "for subscribing");
    assert_invalid(subscribe(&json!({ "sub": "42" })), "for connecting");
    assert_invalid(subscribe(&json!({ "sub": "42", "channel": "" })), "for connecting");
    assert_invalid(subscribe(&json!({ "sub": "42", "channel": null })), "for connecting");
}

#[test]
fn claims_of_the_wrong_shape_are_invalid() {
    let connection = [
        json!({ "channel": 5 }),
        json!({ "channels": "news" }),
        json!({ "channels": [5] }),
        json!({ "subs": ["news"] }),
        json!({ "subs": { "news": 5 } }),
        json!({ "subs": { "news": { "override": { "presence": true } } } }),
        json!({ "subs": { "news": { "override": { "presence": { "value": 1 } } } } }),
        json!({ "b64info": 5 }),
        json!({ "b64info": "***" }),
        json!({ "subs": { "news": { "b64info": "***" } } }),
        json!(5),
        json!("text"),
        Value::Null,
    ];
    for claims in connection {
        assert_invalid(connect(&claims), "");
    }
    for claims in [
        json!({ "channel": 5 }),
        json!({ "channel": "news", "client": 5 }),
        json!({ "channel": "news", "override": true }),
        json!({ "channel": "news", "b64data": "***" }),
        json!({ "channel": "news", "b64info": STANDARD.encode("") + "AA" }),
    ] {
        assert_invalid(subscribe(&claims), "");
    }
    let part = |text: &[u8]| URL_SAFE_NO_PAD.encode(text);
    for claims in [&b"{\"sub\":\"1\",\"sub\":\"2\"}"[..], b"{\"exp\":1,\"exp\":9999999999}", b"{\"sub\":", b"\xff", b""]
    {
        let message = format!("{}.{}", part(br#"{"alg":"HS256"}"#), part(claims));
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        assert_invalid(verifier(&with_secret()).verify_connect(&format!("{message}.{signature}"), NOW), "");
    }
}

#[test]
fn the_signer_makes_what_the_verifier_takes() {
    let signer = Signer::hs256(SECRET);
    let verifier = verifier(&with_secret());
    let claims = verifier.verify_connect(&signer.connection("42", Some(NOW + 60)), NOW).unwrap();
    assert_eq!((claims.user.as_str(), claims.expire_at), ("42", Some(NOW + 60)));
    let claims = verifier.verify_connect(&signer.connection("", None), NOW).unwrap();
    assert_eq!((claims.user.as_str(), claims.expire_at), ("", None));
    let claims = verifier.verify_subscribe(&signer.subscription("42", "$a", Some(NOW + 60)), NOW).unwrap();
    assert_eq!((claims.user.as_str(), claims.channel.as_str(), claims.expire_at), ("42", "$a", Some(NOW + 60)));
    let shown = format!("{signer:?} {verifier:?}");
    assert!(!shown.contains(SECRET), "a secret must not be printed: {shown}");
}

// Anything else.

fn intact() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["HS256", "HS512", "RS256", "ES256", "EdDSA"]).prop_map(foreign)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// One character of the token replaced by any other, anywhere.
    #[test]
    fn a_mangled_token_never_verifies(token in intact(), place in any::<prop::sample::Index>(), by in any::<char>()) {
        let mut mangled: Vec<char> = token.chars().collect();
        let place = place.index(mangled.len());
        prop_assume!(mangled[place] != by);
        mangled[place] = by;
        let mangled: String = mangled.into_iter().collect();
        prop_assert!(verifier(&with_everything()).verify_connect(&mangled, NOW).is_err(), "{}", mangled);
    }

    /// The same with characters that a token may have, which get past the decoding.
    #[test]
    fn a_token_with_another_letter_never_verifies(
        token in intact(), place in any::<prop::sample::Index>(), by in "[A-Za-z0-9_-]",
    ) {
        let place = place.index(token.len());
        prop_assume!(!token[place..].starts_with(&by));
        let mangled = format!("{}{by}{}", &token[..place], &token[place + 1..]);
        prop_assert!(verifier(&with_everything()).verify_connect(&mangled, NOW).is_err(), "{}", mangled);
    }

    #[test]
    fn a_token_cut_or_grown_never_verifies(
        token in intact(),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        text in "[A-Za-z0-9_.=-]{0,3}",
    ) {
        let (mut from, mut to) = (from.index(token.len() + 1), to.index(token.len() + 1));
        if from > to {
            std::mem::swap(&mut from, &mut to);
        }
        let mangled = format!("{}{text}{}", &token[..from], &token[to..]);
        prop_assume!(mangled != token);
        prop_assert!(verifier(&with_everything()).verify_connect(&mangled, NOW).is_err(), "{}", mangled);
    }

    /// Header, claims and signature of different good tokens, put together.
    #[test]
    fn a_token_of_parts_of_others_never_verifies(
        header in intact(), claims in intact(), signature in intact(), user in "[a-z]{1,8}",
    ) {
        let own = Signer::hs256(SECRET).connection(&user, None);
        let part = |token: &str, index: usize| token.split('.').nth(index).unwrap().to_owned();
        for claims in [claims, &own] {
            let mixed = [part(header, 0), part(claims, 1), part(signature, 2)].join(".");
            prop_assume!(mixed != header);
            prop_assert!(verifier(&with_everything()).verify_connect(&mixed, NOW).is_err(), "{}", mixed);
        }
    }

    #[test]
    fn garbage_never_verifies_and_never_panics(token in ".{0,200}") {
        prop_assert!(verifier(&with_everything()).verify_connect(&token, NOW).is_err());
        prop_assert!(verifier(&with_everything()).verify_subscribe(&token, NOW).is_err());
    }

    /// Whoever holds the key can write anything into the claims: that must not panic either.
    #[test]
    fn signed_nonsense_never_panics(text in claims_text(), now in any::<i64>()) {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(text));
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        let token = format!("{message}.{signature}");
        let verifier = verifier(&with_secret());
        let calm = catch_unwind(AssertUnwindSafe(|| {
            drop(verifier.verify_connect(&token, now));
            drop(verifier.verify_subscribe(&token, now));
        }));
        prop_assert!(calm.is_ok());
    }
}

/// Objects of the claims we know, each with a value of any kind.
fn claims_text() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "sub",
        "exp",
        "nbf",
        "iat",
        "aud",
        "iss",
        "channel",
        "channels",
        "subs",
        "info",
        "b64info",
        "data",
        "b64data",
        "meta",
        "override",
        "expire_at",
        "client",
    ]);
    let value = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| json!(n).to_string()),
        any::<String>().prop_map(|text| json!(text).to_string()),
        prop::sample::select(vec![
            "null",
            "true",
            "[]",
            "{}",
            "[{}]",
            r#"{"a":{"info":{}}}"#,
            r#"["a"]"#,
            "1e999",
            "-0"
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec((name, value), 0..6).prop_map(|members| {
        let members: Vec<_> = members.into_iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}
