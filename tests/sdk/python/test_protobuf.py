"""The protobuf format: what a client can do in JSON it can do with bytes of any kind, and both meet in one channel."""

import asyncio
import base64

import pytest
from centrifuge import ClientState, ReplyError, StreamPosition
from support.bounded import polled
from support.client import publications, subscribe, subscribed
from support.tokens import token

NO_JSON = b"\x00\xff\x01"


def in_base64(data):
    return base64.b64encode(data).decode()


@pytest.fixture
def binary(connected):
    """Makes clients that are connected and speak protobuf: `await binary(server.ws, user="bob")`."""

    async def connect(url, user="ann", **options):
        return await connected(url, user, use_protobuf=True, **options)

    return connect


async def refused_with(code, asked):
    with pytest.raises(ReplyError) as refused:
        await asked
    assert refused.value.code == code


async def test_bytes_that_are_no_json_reach_every_subscriber_with_who_published_them(start_server, binary):
    server = await start_server()
    ann = await binary(server.ws, token=token("ann", info={"name": "Ann"}))
    bob = await binary(server.ws, "bob")
    heard = [await subscribed(client, "open:room") for client in (ann, bob)]
    await heard[0].publish(NO_JSON)
    for subscription in heard:
        pub = (await subscription.journal.next("publication")).pub
        assert (pub.offset, pub.data) == (1, NO_JSON)
        assert (pub.info.client, pub.info.user, pub.info.conn_info) == (ann.id, "ann", b'{"name":"Ann"}')


async def test_bytes_of_any_length_arrive_as_they_were_sent(start_server, binary):
    server = await start_server()
    room = await subscribed(await binary(server.ws), "open:room")
    # Around where the lengths before them, and before what they are wrapped in, take a byte more.
    lengths = [1, 2, *range(100, 130), *range(16_350, 16_390), 60_000]
    sent = [bytes((i * 7 + length) % 256 for i in range(length)) for length in lengths]
    for data in sent:
        await room.publish(data)
    assert await publications(room, len(sent)) == list(enumerate(sent, 1))


async def test_what_is_published_by_http_arrives_as_the_text_or_the_bytes_that_it_was(start_server, binary):
    server = await start_server()
    room = await subscribed(await binary(server.ws), "open:room")
    await server.publish("open:room", {"text": "hi"}, tags={"lang": "en"})
    await server.api("publish", channel="open:room", b64data=in_base64(NO_JSON))
    first, second = [context.pub for context in await room.journal.take("publication", 2)]
    assert (first.offset, first.data, first.tags, first.info) == (1, b'{"text": "hi"}', {"lang": "en"}, None)
    assert (second.offset, second.data) == (2, NO_JSON)


async def test_what_is_refused_is_refused_with_its_code_and_nothing_else_suffers(start_server, binary):
    server = await start_server()
    ann = await binary(server.ws)
    room = await subscribed(ann, "open:room")
    for channel, code in [("nowhere:room", 102), ("private:room", 103), ("open:" + "x" * 300, 107)]:
        refused = await subscribe(ann, channel)
        assert (await refused.journal.next("unsubscribed")).code == code
        await refused_with(code, ann.publish(channel, NO_JSON))
    await refused_with(107, room.publish(b""))
    await refused_with(108, ann.rpc("sum", NO_JSON))
    await room.publish(b"\xff")
    assert await publications(room, 1) == [(1, b"\xff")]


async def test_history_is_read_from_where_one_likes_forwards_and_backwards(start_server, binary):
    server = await start_server()
    room = await subscribed(await binary(server.ws), "open:room")
    epoch = room.context.stream_position.epoch
    sent = [bytes([255, number]) for number in range(5)]
    for data in sent:
        await room.publish(data)

    async def read(**options):
        result = await room.history(**options)
        assert (result.epoch, result.offset) == (epoch, 5)
        assert [pub.data for pub in result.publications] == [sent[pub.offset - 1] for pub in result.publications]
        return [pub.offset for pub in result.publications]

    third = StreamPosition(3, epoch)
    assert await read(limit=-1) == [1, 2, 3, 4, 5]
    assert await read(limit=0) == []
    assert await read(limit=2, reverse=True) == [5, 4]
    assert await read(limit=1, since=third) == [4]
    assert await read(limit=-1, since=third, reverse=True) == [2, 1]
    await refused_with(112, room.history(limit=1, since=StreamPosition(3, "another")))


async def test_presence_tells_who_is_there_and_who_comes_and_goes(start_server, binary):
    server = await start_server()
    ann = await binary(server.ws, token=token("ann", info={"name": "Ann"}))
    room = await subscribed(ann, "open:room")
    bob = await binary(server.ws, "bob")
    theirs = await subscribed(bob, "open:room")
    clients = (await room.presence()).clients
    assert {id: (info.client, info.user, info.conn_info) for id, info in clients.items()} == {
        ann.id: (ann.id, "ann", b'{"name":"Ann"}'),
        bob.id: (bob.id, "bob", None),
    }
    stats = await room.presence_stats()
    assert (stats.num_clients, stats.num_users) == (2, 2)
    await theirs.unsubscribe()
    assert [join.info.client for join in await room.journal.take("join", 2)] == [ann.id, bob.id]
    assert (await room.journal.next("leave")).info.client == bob.id
    stats = await room.presence_stats()
    assert (stats.num_clients, stats.num_users) == (1, 1)


async def test_a_client_that_answers_pings_stays(start_server, start_hop, binary):
    server = await start_server(ping_interval="1s", pong_timeout="900ms")
    hop = await start_hop(server)
    client = await binary(hop.ws)

    async def thrice():
        return hop.pings >= 3

    # The third comes two seconds after the first: that one had its pong in time.
    await polled(thrice, "a third ping")
    assert client.state == ClientState.CONNECTED
    assert client.journal.count("connecting") == 1


async def test_after_a_cut_exactly_what_was_missed_arrives(start_server, start_hop, binary):
    server = await start_server()
    hop = await start_hop(server)
    publisher = await binary(server.ws, "publisher")
    room = await subscribed(await binary(hop.ws), "open:room")
    await publisher.publish("open:room", NO_JSON)
    assert await publications(room, 1) == [(1, NO_JSON)]
    hop.shut()
    await room.journal.next("subscribing")
    for number in (2, 3, 4):
        await publisher.publish("open:room", bytes([255, number]))
    hop.open()
    told = await room.journal.next("subscribed")
    assert (told.was_recovering, told.recovered, told.stream_position.offset) == (True, True, 1)
    await publisher.publish("open:room", b"\xfe")
    assert await publications(room, 4) == [(2, b"\xff\x02"), (3, b"\xff\x03"), (4, b"\xff\x04"), (5, b"\xfe")]
    room.journal.nothing_left("publication")


async def test_cuts_while_publications_flow_lose_none_repeat_none_and_turn_none_around(
    start_server, start_hop, binary
):
    server = await start_server()
    hop = await start_hop(server)
    publisher = await binary(server.ws, "publisher")
    room = await subscribed(await binary(hop.ws), "open:room")
    going = True

    def payload(number):
        return b"\xff" + number.to_bytes(4, "big")

    async def publish():
        published = 0
        while going:
            published += 1
            await publisher.publish("open:room", payload(published))
        return published

    publishing = asyncio.create_task(publish())
    arrived = []
    for _ in range(10):
        arrived += await publications(room, 20)
        hop.cut()
        told = await room.journal.next("subscribed")
        assert (told.was_recovering, told.recovered) == (True, True)
    going = False
    total = await publishing
    await publisher.publish("open:room", b"\xfe")
    arrived += await publications(room, total + 1 - len(arrived))
    assert arrived == [*((number, payload(number)) for number in range(1, total + 1)), (total + 1, b"\xfe")]
    assert hop.passed > 10, "the cuts did not bite"
    room.journal.nothing_left("publication")


async def test_the_channels_of_a_token_are_subscribed_at_once_with_what_the_token_says_of_them(start_server, binary):
    server = await start_server()
    client = await binary(server.ws, token=token("ann", subs={"open:a": {"data": {"welcome": True}}}))
    told = await client.journal.next("subscribed")
    assert (told.channel, told.data) == ("open:a", b'{"welcome":true}')
    await client.publish("open:a", NO_JSON)
    told = await client.journal.next("publication")
    assert (told.channel, told.pub.offset, told.pub.data) == ("open:a", 1, NO_JSON)


async def test_many_subscriptions_asked_for_before_the_connection_are_all_there_after_it(start_server, new_client):
    server = await start_server()
    client = new_client(server.ws, token=token("ann"), use_protobuf=True)
    rooms = [await subscribe(client, f"open:{number}") for number in range(50)]
    await client.connect()
    for room in rooms:
        await room.journal.next("subscribed")
    await server.api("broadcast", channels=[room.channel for room in rooms], b64data=in_base64(NO_JSON))
    for room in rooms:
        assert await publications(room, 1) == [(1, NO_JSON)]


async def test_in_one_channel_clients_of_both_formats_get_all_that_either_publishes(start_server, connected, binary):
    server = await start_server()
    ours = await subscribed(await binary(server.ws), "open:room")
    theirs = await subscribed(await connected(server.ws, "bob"), "open:room")
    await ours.publish(b'{"text":\n"JSON in bytes"}')
    await theirs.publish({"text": "JSON"})
    await ours.publish(b"\xfb\xff\xfe\xff")
    await theirs.publish("last")
    as_bytes = [
        (1, b'{"text":\n"JSON in bytes"}'),
        (2, b'{"text": "JSON"}'),
        (3, b"\xfb\xff\xfe\xff"),
        (4, b'"last"'),
    ]
    as_json = [(1, {"text": "JSON in bytes"}), (2, {"text": "JSON"}), (3, "+//+/w=="), (4, "last")]
    assert await publications(ours, 4) == as_bytes
    assert await publications(theirs, 4) == as_json
    for room, all_of_them in ((ours, as_bytes), (theirs, as_json)):
        kept = (await room.history(limit=-1)).publications
        assert [(pub.offset, pub.data) for pub in kept] == all_of_them


async def test_after_a_cut_clients_of_both_formats_get_what_they_missed_each_in_its_own(
    start_server, start_hop, connected, binary
):
    server = await start_server()
    hop = await start_hop(server)
    publisher = await binary(server.ws, "publisher")
    ours = await subscribed(await binary(hop.ws), "open:room")
    theirs = await subscribed(await connected(hop.ws, "bob"), "open:room")
    hop.shut()
    for room in (ours, theirs):
        await room.journal.next("subscribing")
    for data in (NO_JSON, b'{"number":2}'):
        await publisher.publish("open:room", data)
    hop.open()
    for room in (ours, theirs):
        assert (await room.journal.next("subscribed")).recovered
    await publisher.publish("open:room", b"\xff")
    assert await publications(ours, 3) == [(1, NO_JSON), (2, b'{"number":2}'), (3, b"\xff")]
    assert await publications(theirs, 3) == [(1, "AP8B"), (2, {"number": 2}), (3, "/w==")]
    for room in (ours, theirs):
        room.journal.nothing_left("publication")
