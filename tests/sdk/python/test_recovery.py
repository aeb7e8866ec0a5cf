"""What a client gets after it was away: exactly what it missed, or the truth that it cannot."""

import asyncio

import pytest
from centrifuge import StreamPosition
from support.client import publications, subscribed


class Listener:
    """A client behind a hop, subscribed to a channel."""

    def __init__(self, server, hop, room):
        self.server, self.hop, self.room = server, hop, room

    async def away(self, meanwhile):
        """Cuts the connection, lets `meanwhile` happen, and lets the client back in. Returns what it was told then."""
        self.hop.shut()
        await self.room.journal.next("subscribing")
        await meanwhile
        self.hop.open()
        return await self.room.journal.next("subscribed")

    async def only_then(self, offset, data):
        """Nothing but `data` arrives, live, at `offset`: whatever was wrongly delivered before would be seen now."""
        await self.server.publish(self.room.channel, data)
        assert await publications(self.room, 1) == [(offset, data)]
        self.room.journal.nothing_left("publication")


@pytest.fixture
def listening(start_server, start_hop, connected):
    """Makes listeners, as far as the `first` publications."""

    async def listen(channel, first, **options):
        server = await start_server()
        hop = await start_hop(server)
        room = await subscribed(await connected(hop.ws), channel, **options)
        await server.publish_all(channel, first)
        await publications(room, len(first))
        return Listener(server, hop, room)

    return listen


async def nothing():
    pass


async def test_after_a_cut_exactly_what_was_missed_arrives(listening):
    here = await listening("open:room", "ab")
    told = await here.away(here.server.publish_all("open:room", "cde"))
    assert (told.was_recovering, told.recovered) == (True, True)
    assert told.stream_position.offset == 2, "the client moves its own position on, as it handles them"
    assert await publications(here.room, 3) == [(3, "c"), (4, "d"), (5, "e")]
    await here.only_then(6, "live")


async def test_after_a_cut_in_which_nothing_was_published_nothing_arrives(listening):
    here = await listening("open:room", "a")
    told = await here.away(nothing())
    assert (told.was_recovering, told.recovered) == (True, True)
    await here.only_then(2, "live")


async def test_cuts_while_publications_flow_lose_none_repeat_none_and_turn_none_around(listening, connected):
    here = await listening("open:room", "")
    publisher = await connected(here.server.ws, "publisher")
    going = True

    async def publish():
        published = 0
        while going:
            published += 1
            await publisher.publish("open:room", published)
        return published

    publishing = asyncio.create_task(publish())
    arrived = []
    for _ in range(10):
        arrived += await publications(here.room, 20)
        here.hop.cut()
        told = await here.room.journal.next("subscribed")
        assert (told.was_recovering, told.recovered) == (True, True)
    going = False
    total = await publishing
    arrived += await publications(here.room, total - len(arrived))
    assert arrived == [(number, number) for number in range(1, total + 1)]
    assert here.hop.passed > 10, "the cuts did not bite"
    await here.only_then(total + 1, "live")


async def test_a_client_that_missed_more_than_is_kept_is_told_so(listening):
    here = await listening("brief:room", "a")
    told = await here.away(here.server.publish_all("brief:room", "bcdef"))
    assert (told.was_recovering, told.recovered, told.stream_position.offset) == (True, False, 6)
    await here.only_then(7, "live")


async def test_a_client_that_missed_just_as_much_as_is_kept_recovers(listening):
    here = await listening("brief:room", "a")
    told = await here.away(here.server.publish_all("brief:room", "bcd"))
    assert told.recovered
    assert await publications(here.room, 3) == [(2, "b"), (3, "c"), (4, "d")]
    await here.only_then(5, "live")


async def test_after_a_restart_which_forgets_a_client_is_told_so_and_goes_on(listening, start_server):
    here = await listening("open:room", "ab")
    epoch = here.room.context.stream_position.epoch

    async def restart():
        assert await here.server.terminate() == 0
        here.server = await start_server(port=here.server.port)
        await here.server.publish_all("open:room", ["other", "life"])

    told = await here.away(restart())
    assert (told.was_recovering, told.recovered, told.stream_position.offset) == (True, False, 2)
    assert told.stream_position.epoch != epoch
    await here.only_then(3, "live")


async def test_a_client_that_missed_more_than_it_may_recover_at_once_is_told_so(start_server, start_hop, connected):
    server = await start_server(recovery_max_publication_limit=2)
    hop = await start_hop(server)
    here = Listener(server, hop, await subscribed(await connected(hop.ws), "open:room"))
    told = await here.away(server.publish_all("open:room", "abc"))
    assert (told.was_recovering, told.recovered, told.stream_position.offset) == (True, False, 3)
    await here.only_then(4, "live")


async def test_where_recovery_is_for_those_who_ask_it_is(listening):
    here = await listening("asked:room", "a", recoverable=True, positioned=True)
    assert (here.room.context.recoverable, here.room.context.positioned) == (True, True)
    told = await here.away(here.server.publish("asked:room", "b"))
    assert told.recovered
    assert await publications(here.room, 1) == [(2, "b")]
    await here.only_then(3, "live")


async def test_in_a_cache_channel_only_the_newest_of_what_was_missed_arrives(listening):
    here = await listening("cache:room", "a")
    told = await here.away(here.server.publish_all("cache:room", "bcd"))
    assert told.recovered
    assert await publications(here.room, 1) == [(4, "d")]
    await here.only_then(5, "live")


async def test_an_application_that_loads_its_own_state_loads_it_again_when_it_missed_too_much(
    start_server, start_hop, connected
):
    server = await start_server()
    hop = await start_hop(server)
    await server.publish_all("brief:state", "ab")
    loads = []

    async def get_state(channel):
        top = await server.api("history", channel=channel, limit=0)
        loads.append(top["offset"])
        return StreamPosition(top["offset"], top["epoch"])

    room = await subscribed(await connected(hop.ws), "brief:state", get_state=get_state)
    here = Listener(server, hop, room)
    assert loads == [2]
    await here.away(server.publish("brief:state", "c"))
    assert await publications(room, 1) == [(3, "c")]
    assert loads == [2], "what is recovered needs no state"
    await here.away(server.publish_all("brief:state", "defgh"))
    assert loads == [2, 8]
    await here.only_then(9, "live")
