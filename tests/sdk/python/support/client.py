"""The SDK's client and subscriptions, each with its journal."""

from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler

from .journal import Journal


def new_client(url, **options):
    """A client of the SDK that has not connected yet. Its delays are short, so that tests of coming back are too."""
    journal = Journal("client")
    events = journal.handlers(ClientEventHandler)
    # A proxy of the surroundings has no business between these tests and loopback.
    client = Client(url, events, proxy=None, min_reconnect_delay=0.02, max_reconnect_delay=0.1, **options)
    client.journal = journal
    return client


async def subscribe(client, channel, **options):
    """A subscription that was asked for."""
    journal = Journal(channel)
    events = journal.handlers(SubscriptionEventHandler)
    subscription = client.new_subscription(
        channel, events, min_resubscribe_delay=0.02, max_resubscribe_delay=0.1, **options
    )
    subscription.journal = journal
    subscription.client = client
    await subscription.subscribe()
    await journal.next("subscribing")
    return subscription


async def subscribed(client, channel, **options):
    """A subscription that is subscribed; `subscription.context` is what the SDK told of it."""
    subscription = await subscribe(client, channel, **options)
    subscription.context = await subscription.journal.next("subscribed")
    return subscription


async def publications(subscription, count):
    """Takes `count` publications, as (offset, data) pairs."""
    contexts = await subscription.journal.take("publication", count)
    return [(context.pub.offset, context.pub.data) for context in contexts]
