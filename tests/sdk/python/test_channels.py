"""What a connected client does with channels: subscribe, publish, presence, history, join and leave."""

import asyncio

import pytest
from centrifuge import ReplyError, StreamPosition
from support.client import publications, subscribe, subscribed
from support.tokens import in_seconds, token


async def refused_with(code, asked):
    with pytest.raises(ReplyError) as refused:
        await asked
    assert refused.value.code == code


async def test_what_a_client_publishes_reaches_every_subscriber_with_who_it_was(start_server, connected):
    server = await start_server()
    ann = await connected(server.ws, token=token("ann", info={"name": "Ann"}))
    bob = await connected(server.ws, "bob")
    heard = [await subscribed(client, "open:room") for client in (ann, bob)]
    await heard[0].publish({"text": "hi", "ünïcode": '"\n\u2028'})
    for subscription in heard:
        pub = (await subscription.journal.next("publication")).pub
        assert (pub.offset, pub.data) == (1, {"text": "hi", "ünïcode": '"\n\u2028'})
        assert (pub.info.client, pub.info.user, pub.info.conn_info) == (ann.id, "ann", {"name": "Ann"})


async def test_what_is_published_by_http_reaches_every_subscriber_with_its_tags(start_server, connected):
    server = await start_server()
    room = await subscribed(await connected(server.ws), "open:room")
    result = await server.publish("open:room", {"text": "hi"}, tags={"lang": "en"})
    assert result == {"offset": 1, "epoch": room.context.stream_position.epoch}
    pub = (await room.journal.next("publication")).pub
    assert (pub.offset, pub.data, pub.tags, pub.info) == (1, {"text": "hi"}, {"lang": "en"}, None)


async def test_a_subscription_ends_when_the_client_wants_it_and_can_begin_again(start_server, connected):
    server = await start_server()
    left = await subscribed(await connected(server.ws), "open:room")
    stayed = await subscribed(await connected(server.ws, "bob"), "open:room")
    await left.unsubscribe()
    assert (await left.journal.next("unsubscribed")).code == 0
    await stayed.journal.next("leave")
    await left.subscribe()
    await left.journal.next("subscribed")
    await stayed.publish("again")
    assert await publications(left, 1) == [(1, "again")]


async def test_publishing_needs_permission(start_server, connected):
    server = await start_server()
    ann = await connected(server.ws)
    await refused_with(103, ann.publish("private:room", 1))
    room = await subscribed(ann, "private:room", token=token("ann", channel="private:room"))
    await room.publish(1)
    assert await publications(room, 1) == [(1, 1)]


@pytest.mark.parametrize(
    ("channel", "code"), [("private:room", 103), ("nowhere:room", 102), ("open:" + "x" * 300, 107)]
)
async def test_a_channel_that_cannot_be_had_is_refused_and_nothing_else_suffers(
    start_server, connected, channel, code
):
    server = await start_server()
    ann = await connected(server.ws)
    room = await subscribed(ann, "open:room")
    refused = await subscribe(ann, channel)
    assert (await refused.journal.next("unsubscribed")).code == code
    await room.publish("still here")
    assert await publications(room, 1) == [(1, "still here")]


async def test_a_subscription_token_opens_its_channel_to_its_user_only(start_server, connected):
    server = await start_server()
    ann = await connected(server.ws)
    opens = token("ann", "ES256", channel="private:room", info={"role": "admin"}, exp=in_seconds(600))
    room = await subscribed(ann, "private:room", token=opens)
    await room.publish("hello")
    assert (await room.journal.next("publication")).pub.info.chan_info == {"role": "admin"}

    bob = await connected(server.ws, "bob")
    await subscribe(bob, "private:room", token=opens)
    assert (await bob.journal.next("disconnected")).code == 3500, "another user's token"


async def test_a_subscription_token_that_somebody_changed_is_refused(start_server, connected):
    server = await start_server()
    ann = await connected(server.ws)
    room = await subscribe(ann, "private:room", token=token("ann", channel="private:room") + "x")
    assert (await room.journal.next("unsubscribed")).code == 103


async def test_an_expired_subscription_token_is_renewed_through_get_token(start_server, connected):
    server = await start_server()
    ann = await connected(server.ws)
    asked = []

    async def get_token(channel):
        asked.append(channel)
        return token("ann", channel=channel, exp=in_seconds(600))

    expired = token("ann", channel="private:room", exp=in_seconds(-60))
    room = await subscribed(ann, "private:room", token=expired, get_token=get_token)
    assert asked == ["private:room"]
    assert (await room.journal.next("error")).error.code == 109


async def test_presence_tells_who_is_there(start_server, connected):
    server = await start_server()
    ann = await connected(server.ws, token=token("ann", info={"name": "Ann"}))
    twice = [await connected(server.ws, "bob"), await connected(server.ws, "bob")]
    room = await subscribed(ann, "open:room")
    for bob in twice:
        await subscribed(bob, "open:room")
    clients = (await room.presence()).clients
    assert {id: (info.client, info.user, info.conn_info) for id, info in clients.items()} == {
        ann.id: (ann.id, "ann", {"name": "Ann"}),
        twice[0].id: (twice[0].id, "bob", None),
        twice[1].id: (twice[1].id, "bob", None),
    }
    stats = await room.presence_stats()
    assert (stats.num_clients, stats.num_users) == (3, 2)
    await twice[0].disconnect()
    assert (await room.journal.next("leave")).info.client == twice[0].id
    stats = await room.presence_stats()
    assert (stats.num_clients, stats.num_users) == (2, 2)


async def test_joins_and_leaves_are_told_in_their_order_the_own_join_among_them(start_server, connected):
    server = await start_server()
    ann = await connected(server.ws)
    room = await subscribed(ann, "open:room")
    assert (await room.journal.next("join")).info.client == ann.id
    for ends_alone in (True, False, True, False):
        bob = await connected(server.ws, "bob")
        theirs = await subscribed(bob, "open:room")
        assert (await room.journal.next("join")).info.client == bob.id
        await (theirs.unsubscribe() if ends_alone else bob.disconnect())
        assert (await room.journal.next("leave")).info.client == bob.id
    room.journal.nothing_left("join")
    room.journal.nothing_left("leave")


async def test_what_a_channel_does_not_keep_is_not_available(start_server, connected):
    server = await start_server()
    plain = await subscribed(await connected(server.ws), "plain:room")
    assert (plain.context.recoverable, plain.context.stream_position) == (False, None)
    for asked in (plain.presence(), plain.presence_stats(), plain.history(limit=1)):
        await refused_with(108, asked)
    await plain.publish("no offset")
    assert await publications(plain, 1) == [(0, "no offset")]


async def test_history_is_read_from_where_one_likes_forwards_and_backwards(start_server, connected):
    server = await start_server()
    room = await subscribed(await connected(server.ws), "open:room")
    epoch = room.context.stream_position.epoch
    await server.publish_all("open:room", "abcde")

    async def read(**options):
        result = await room.history(**options)
        assert (result.epoch, result.offset) == (epoch, 5)
        return " ".join(f"{pub.offset}{pub.data}" for pub in result.publications)

    third = StreamPosition(3, epoch)
    assert await read(limit=-1) == "1a 2b 3c 4d 5e"
    assert await read(limit=0) == ""
    assert await read(limit=2) == "1a 2b"
    assert await read(limit=2, reverse=True) == "5e 4d"
    assert await read(limit=-1, since=third) == "4d 5e"
    assert await read(limit=1, since=third) == "4d"
    assert await read(limit=-1, since=third, reverse=True) == "2b 1a"
    await refused_with(112, room.history(limit=1, since=StreamPosition(3, "another")))
    await refused_with(107, room.history(limit=1, since=StreamPosition(0, epoch), reverse=True))


async def test_a_call_is_answered_that_none_is_available(start_server, connected):
    server = await start_server()
    ann = await connected(server.ws)
    await refused_with(108, ann.rpc("sum", [1, 2]))
    await ann.publish("open:room", "the connection goes on")


async def test_many_commands_at_once_are_all_answered(start_server, connected):
    server = await start_server()
    room = await subscribed(await connected(server.ws), "open:room")
    await asyncio.gather(*(room.publish(number) for number in range(100)), room.presence_stats())
    assert await publications(room, 100) == [(number + 1, number) for number in range(100)]


async def test_many_subscriptions_asked_for_before_the_connection_are_all_there_after_it(start_server, new_client):
    server = await start_server()
    client = new_client(server.ws, token=token("ann"))
    rooms = [await subscribe(client, f"open:{number}") for number in range(50)]
    await client.connect()
    for room in rooms:
        await room.journal.next("subscribed")
    await server.api("broadcast", channels=[room.channel for room in rooms], data="to all")
    for room in rooms:
        assert await publications(room, 1) == [(1, "to all")]
