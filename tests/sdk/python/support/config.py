"""The configuration these tests start servers with: that of a real application, with keys and namespaces."""

from .tokens import PUBLIC_KEYS, SECRET

API_KEY = "api-key-of-the-tests"

# More than any test publishes, however slow the machine, except where a namespace says otherwise.
_HISTORY = {"history_size": 100_000, "history_ttl": "300s"}

_NAMESPACES = [
    # Every client may do everything.
    {
        "name": "open",
        **_HISTORY,
        "force_recovery": True,
        "presence": True,
        "join_leave": True,
        "force_push_join_leave": True,
        "allow_subscribe_for_client": True,
        "allow_publish_for_client": True,
        "allow_presence_for_client": True,
        "allow_history_for_client": True,
    },
    # Only a subscription token opens it, and subscribers may speak.
    {"name": "private", **_HISTORY, "force_recovery": True, "allow_publish_for_subscriber": True},
    # Forgets after three publications.
    {"name": "brief", **_HISTORY, "history_size": 3, "force_recovery": True, "allow_subscribe_for_client": True},
    # Only the newest publication counts.
    {
        "name": "cache",
        **_HISTORY,
        "force_recovery": True,
        "force_recovery_mode": "cache",
        "allow_subscribe_for_client": True,
    },
    # Keeps nothing: no history, no presence.
    {"name": "plain", "allow_subscribe_for_client": True, "allow_publish_for_client": True},
    # Keeps history, and recovers for those who ask.
    {
        "name": "asked",
        **_HISTORY,
        "allow_recovery": True,
        "allow_positioning": True,
        "allow_subscribe_for_client": True,
    },
]


def config(**client):
    """A configuration whose section `client` is changed by `client`."""
    return {
        "client": {
            "token": {"hmac_secret_key": SECRET, **PUBLIC_KEYS},
            "recovery_max_publication_limit": 100_000,
            **client,
        },
        "channel": {"namespaces": _NAMESPACES},
        "http_api": {"key": API_KEY},
    }
