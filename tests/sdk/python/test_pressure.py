"""A client that reads too slowly, and a server that goes down."""

from support.client import publications, subscribed
from support.tokens import token


async def test_a_client_that_reads_too_slowly_is_told_so_and_recovers_all_it_missed(
    start_server, start_hop, connected
):
    server = await start_server(queue_max_size=65536)
    hop = await start_hop(server)
    slow = await subscribed(await connected(hop.ws), "open:room")
    quick = await subscribed(await connected(server.ws), "open:room")

    hop.freeze()
    total = 0
    while await server.metric("pubsub_slow_consumers_total") == 0:
        assert total < 1000, "sixty megabytes wait, and nobody is cut"
        total += 1
        await server.publish("open:room", {"number": total, "payload": "x" * 60_000})
    hop.thaw()

    every = [(number, number) for number in range(1, total + 1)]
    arrived = [(offset, data["number"]) for offset, data in await publications(quick, total)]
    assert arrived == every, "the quick one is not held up"
    assert (await slow.client.journal.next("connecting")).code == 3008
    told = await slow.journal.next("subscribed")
    assert (told.was_recovering, told.recovered) == (True, True)
    assert [(offset, data["number"]) for offset, data in await publications(slow, total)] == every
    slow.journal.nothing_left("publication")
    assert quick.client.journal.count("connecting") == 1


async def test_a_server_that_goes_down_says_so_ends_well_and_has_its_clients_back_after(start_server, connected):
    server = await start_server()
    rooms = [await subscribed(await connected(server.ws), "open:room") for _ in range(10)]
    assert await server.terminate() == 0
    for room in rooms:
        told = await room.client.journal.next("connecting")
        assert (told.code, told.reason) == (3001, "shutdown")
    restarted = await start_server(port=server.port)
    for room in rooms:
        await room.client.journal.next("connected")
        assert not (await room.journal.next("subscribed")).recovered
    await restarted.publish("open:room", "hello again")
    for room in rooms:
        assert await publications(room, 1) == [(1, "hello again")]


async def test_a_server_that_dies_without_a_word_has_its_clients_back_after(start_server, connected):
    server = await start_server()
    client = await connected(server.ws)
    await server.kill()
    await client.journal.next("connecting")
    await start_server(port=server.port)
    await client.journal.next("connected")


async def test_past_the_limit_of_connections_a_client_waits_outside_until_there_is_room(
    start_server, connected, new_client
):
    server = await start_server(connection_limit=1)
    first = await connected(server.ws)
    second = new_client(server.ws, token=token("ann"))
    await second.connect()
    await second.journal.next("error")
    await first.disconnect()
    await second.journal.next("connected")
