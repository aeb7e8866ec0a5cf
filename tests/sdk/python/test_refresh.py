"""Tokens that run out while a client is connected."""

import asyncio

from centrifuge import ClientState
from support.bounded import polled
from support.client import publications, subscribed
from support.tokens import in_seconds, token

CLOSED_SOON = {"expired_close_delay": "1s", "expired_sub_close_delay": "1s"}


class Fountain:
    """Makes tokens that last two seconds, and counts them."""

    def __init__(self, user, **claims):
        self.user, self.claims, self.made = user, claims, 0

    async def get_token(self, *_channel):
        self.made += 1
        return token(self.user, exp=in_seconds(2), **self.claims)

    async def third(self):
        """The first token and the one after it are long out by the time of the third."""

        async def made():
            return self.made >= 3

        await polled(made, "a third token")


async def test_a_connection_whose_token_is_refreshed_in_time_goes_on(start_server, connected):
    server = await start_server(**CLOSED_SOON)
    fountain = Fountain("ann")
    client = await connected(server.ws, get_token=fountain.get_token)
    await fountain.third()
    assert client.journal.count("connecting") == 1
    assert client.state == ClientState.CONNECTED


async def test_a_connection_whose_token_is_not_refreshed_is_closed_and_comes_back_with_a_new_one(
    start_server, connected
):
    server = await start_server(**CLOSED_SOON)
    asked = []

    async def get_token():
        asked.append(True)
        if len(asked) == 1:
            await asyncio.Event().wait()
        return token("ann", exp=in_seconds(600))

    client = await connected(server.ws, token=token("ann", exp=in_seconds(1)), get_token=get_token)
    assert (await client.journal.next("connecting")).code == 3005
    await client.journal.next("connected")
    assert len(asked) == 2


async def test_a_refresh_with_the_token_of_another_user_ends_the_connection(start_server, connected):
    server = await start_server(**CLOSED_SOON)

    async def get_token():
        return token("bob", exp=in_seconds(600))

    client = await connected(server.ws, token=token("ann", exp=in_seconds(1)), get_token=get_token)
    assert (await client.journal.next("disconnected")).code == 3500


async def test_a_subscription_whose_token_is_refreshed_in_time_goes_on(start_server, connected):
    server = await start_server(**CLOSED_SOON)
    client = await connected(server.ws)
    fountain = Fountain("ann", channel="private:room")
    room = await subscribed(client, "private:room", get_token=fountain.get_token)
    await fountain.third()
    assert room.journal.count("subscribing") == 1
    await server.publish("private:room", "still here")
    assert await publications(room, 1) == [(1, "still here")]


async def test_a_subscription_whose_token_is_not_refreshed_ends_and_comes_back_with_what_it_missed(
    start_server, connected
):
    server = await start_server(**CLOSED_SOON)
    client = await connected(server.ws)
    released = asyncio.Event()
    asked = []

    async def get_token(channel):
        asked.append(True)
        if len(asked) == 1:
            await asyncio.Event().wait()
        await released.wait()
        return token("ann", channel=channel, exp=in_seconds(600))

    expiring = token("ann", channel="private:room", exp=in_seconds(1))
    room = await subscribed(client, "private:room", token=expiring, get_token=get_token)
    assert (await room.journal.next("subscribing")).code == 2501
    await server.publish("private:room", "missed")
    released.set()
    assert (await room.journal.next("subscribed")).recovered
    assert await publications(room, 1) == [(1, "missed")]
    assert client.journal.count("connecting") == 1, "the connection was not touched"
