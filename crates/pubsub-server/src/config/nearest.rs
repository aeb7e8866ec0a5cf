//! "Did you mean …?": the known key nearest to one that is not known.

use super::foreign::FOREIGN;
use super::inventory::{Kind, generic, keys, variable};

/// Below this two names have nothing to do with each other.
const SIMILAR: f64 = 0.7;

/// The key nearest to `path`, if any is near: first among its neighbours in the same section, then anywhere, and there
/// also by the flat names of earlier versions (`token_hmac_secret_key`, `api_key`).
pub(crate) fn key(path: &str) -> Option<String> {
    let wanted = generic(path);
    let (section, name) = wanted.rsplit_once('.').unwrap_or(("", &wanted));
    let known = || {
        let foreign =
            FOREIGN.iter().map(|foreign| foreign.path).filter(|path| !path.contains('*') && !path.contains("OPTIONS"));
        keys().iter().map(|key| key.path.as_str()).chain(foreign)
    };
    let neighbours = known().filter(|path| path.rsplit_once('.').map_or("", |(section, _)| section) == section);
    let nearest = best(neighbours.map(|path| (path, likeness(name, last(path)))))
        .or_else(|| best(known().map(|path| (path, anywhere(&wanted, name, path)))))?;
    // Inside a list item, say the item's name again.
    Some(match (path.rfind(']'), nearest.rfind(']')) {
        (Some(item), Some(end)) if wanted[..=wanted.rfind(']')?] == nearest[..=end] => {
            format!("{}{}", &path[..=item], &nearest[end + 1..])
        }
        _ => nearest.to_owned(),
    })
}

/// The environment variable nearest to `name`.
pub(crate) fn variable_name(name: &str) -> Option<String> {
    let names: Vec<_> = keys()
        .iter()
        .filter(|key| !matches!(key.kind, Kind::Section) && !key.path.contains('['))
        .map(|key| variable(&key.path))
        .collect();
    let tail = name.trim_start_matches("PUBSUB");
    let nearest = best(names.iter().map(|known| {
        let score = if known.ends_with(tail) && tail.len() > 1 { 0.9 } else { likeness(name, known) };
        // All of them begin alike: ask for more.
        (known.as_str(), if score < 0.85 { 0.0 } else { score })
    }))?;
    Some(nearest.to_owned())
}

fn best<'a>(candidates: impl Iterator<Item = (&'a str, f64)>) -> Option<&'a str> {
    candidates
        .filter(|(_, score)| *score >= SIMILAR)
        // The first of equals: that is the order in which the keys are written down.
        .fold(None, |best: Option<(&str, f64)>, it| best.filter(|best| best.1 >= it.1).or(Some(it)))
        .map(|(path, _)| path)
}

fn anywhere(wanted: &str, name: &str, path: &str) -> f64 {
    let flat = path.replace('.', "_");
    let wanted_flat = wanted.replace('.', "_");
    if wanted_flat.contains('_') && flat.ends_with(&format!("_{wanted_flat}")) {
        return 0.95;
    }
    let whole = likeness(&wanted_flat, &flat);
    let own = if name == last(path) { 0.8 } else { 0.0 };
    whole.max(own)
}

fn likeness(left: &str, right: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(left, right)
}

fn last(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_the_one_that_was_meant() {
        let cases = [
            ("client.ping_intervall", "client.ping_interval"),
            ("cleint", "client"),
            ("http_server.prot", "http_server.port"),
            ("api_key", "http_api.key"),
            ("token_hmac_secret_key", "client.token.hmac_secret_key"),
            ("allowed_origins", "client.allowed_origins"),
            ("namespaces", "channel.namespaces"),
            ("port", "http_server.port"),
            ("channel.namespaces[chat].histroy_size", "channel.namespaces[chat].history_size"),
            ("channel.without_namespace.subscribe_for_client", "channel.without_namespace.allow_subscribe_for_client"),
        ];
        for (wrong, meant) in cases {
            assert_eq!(key(wrong).as_deref(), Some(meant), "{wrong}");
        }
        assert_eq!(key("zzz"), None);
        assert_eq!(key("client.quux"), None);
    }

    #[test]
    fn the_nearest_variable_is_the_one_that_was_meant() {
        let cases = [
            ("PUBSUB_PORT", Some("PUBSUB_HTTP_SERVER_PORT")),
            ("PUBSUB_CLIENT_TOKEN_HMAC_SECRT_KEY", Some("PUBSUB_CLIENT_TOKEN_HMAC_SECRET_KEY")),
            ("PUBSUB_EMULATOR_HOST", None),
            ("PUBSUB_PROJECT_ID", None),
        ];
        for (wrong, meant) in cases {
            assert_eq!(variable_name(wrong).as_deref(), meant, "{wrong}");
        }
    }
}
