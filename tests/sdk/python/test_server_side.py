"""What the server decides: subscriptions in the token, and what the application does to a connection by HTTP."""

from centrifuge import ClientState
from support.client import publications, subscribed
from support.tokens import token


async def test_the_channels_of_a_token_are_subscribed_at_once_and_recover(start_server, start_hop, connected):
    server = await start_server()
    hop = await start_hop(server)
    client = await connected(hop.ws, token=token("ann", channels=["open:a"]))
    assert (await client.journal.next("subscribed")).channel == "open:a"
    await server.publish("open:a", "one")
    await client.journal.next("publication")
    hop.shut()
    await client.journal.next("subscribing")
    await server.publish_all("open:a", ["two", "three"])
    hop.open()
    told = await client.journal.next("subscribed")
    assert (told.was_recovering, told.recovered) == (True, True)
    await server.publish("open:a", "four")
    arrived = await client.journal.take("publication", 3)
    assert [(it.pub.offset, it.pub.data) for it in arrived] == [(2, "two"), (3, "three"), (4, "four")]
    client.journal.nothing_left("publication")


async def test_the_subs_of_a_token_are_subscribed_at_once_with_what_the_token_says_of_them(start_server, connected):
    server = await start_server()
    subs = {"open:a": {"data": {"welcome": True}, "info": {"role": "guest"}}}
    client = await connected(server.ws, token=token("ann", subs=subs))
    assert (await client.journal.next("subscribed")).data == {"welcome": True}
    assert (await client.presence("open:a")).clients[client.id].chan_info == {"role": "guest"}


async def test_the_application_subscribes_and_unsubscribes_a_user(start_server, connected):
    server = await start_server()
    client = await connected(server.ws)
    await server.publish("open:news", "before")
    await server.api("subscribe", user="ann", channel="open:news")
    told = await client.journal.next("subscribed")
    assert (told.channel, told.stream_position.offset) == ("open:news", 1)
    await server.publish("open:news", "after")
    pub = (await client.journal.next("publication")).pub
    assert (pub.offset, pub.data) == (2, "after")
    await server.api("unsubscribe", user="ann", channel="open:news")
    assert (await client.journal.next("unsubscribed")).channel == "open:news"
    client.journal.nothing_left("publication")


async def test_a_subscription_that_the_application_ends_stays_ended(start_server, connected):
    server = await start_server()
    client = await connected(server.ws)
    room = await subscribed(client, "open:room")
    await server.api("unsubscribe", user="ann", channel="open:room")
    assert (await room.journal.next("unsubscribed")).code == 2000
    assert client.state == ClientState.CONNECTED


async def test_a_user_that_the_application_sends_away_stays_away(start_server, connected):
    server = await start_server()
    client = await connected(server.ws)
    other = await connected(server.ws, "bob")
    await server.api("disconnect", user="ann")
    assert (await client.journal.next("disconnected")).code == 3503
    room = await subscribed(other, "open:room")
    await room.publish("undisturbed")
    assert await publications(room, 1) == [(1, "undisturbed")]


async def test_a_user_that_the_application_asks_to_come_back_comes_back(start_server, connected):
    server = await start_server()
    client = await connected(server.ws)
    await server.api("disconnect", user="ann", disconnect={"code": 4000, "reason": "rebalance"})
    told = await client.journal.next("connecting")
    assert (told.code, told.reason) == (4000, "rebalance")
    await client.journal.next("connected")
