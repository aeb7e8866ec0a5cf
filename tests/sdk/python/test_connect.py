"""Who may connect, and how a connection is kept alive."""

import pytest
from centrifuge import ClientState
from support.bounded import polled
from support.client import publications, subscribed
from support.tokens import ALGORITHMS, in_seconds, token

QUICK = {"ping_interval": "1s", "pong_timeout": "900ms"}


async def test_a_client_without_a_token_connects_where_that_is_allowed(start_server, connected):
    server = await start_server(allow_anonymous_connect_without_token=True)
    client = await connected(server.ws, token="")
    assert len(client.id) == 36
    await client.disconnect()
    assert (await client.journal.next("disconnected")).code == 0


async def test_a_client_without_a_token_is_told_to_stay_away_where_one_is_needed(start_server, new_client):
    server = await start_server()
    client = new_client(server.ws)
    await client.connect()
    assert (await client.journal.next("disconnected")).code == 3501


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_token_is_believed_whatever_signed_it(start_server, connected, algorithm):
    server = await start_server()
    signed = token("ann", algorithm, exp=in_seconds(600), info={"name": "Ann"})
    client = await connected(server.ws, token=signed)
    room = await subscribed(client, "open:room")
    info = (await room.presence()).clients[client.id]
    assert (info.client, info.user, info.conn_info) == (client.id, "ann", {"name": "Ann"})


async def test_a_token_that_somebody_changed_is_refused_for_good(start_server, new_client):
    server = await start_server()
    good, forged = token("ann").split("."), token("root").split(".")
    client = new_client(server.ws, token=".".join([good[0], forged[1], good[2]]))
    await client.connect()
    assert (await client.journal.next("disconnected")).code == 3500


async def test_an_expired_token_is_renewed_through_get_token(start_server, connected):
    server = await start_server()
    asked = []

    async def get_token():
        asked.append(True)
        return token("ann", exp=in_seconds(600))

    client = await connected(server.ws, token=token("ann", exp=in_seconds(-60)), get_token=get_token)
    assert len(asked) == 1
    assert (await client.journal.next("error")).error.code == 109
    assert client.journal.count("disconnected") == 0


async def test_an_expired_token_that_cannot_be_renewed_ends_the_client(start_server, new_client):
    server = await start_server()
    client = new_client(server.ws, token=token("ann", exp=in_seconds(-60)))
    await client.connect()
    assert (await client.journal.next("disconnected")).code == 1


async def test_a_client_that_asks_for_protobuf_gets_it(start_server, connected):
    server = await start_server()
    room = await subscribed(await connected(server.ws, use_protobuf=True), "open:room")
    await room.publish(b"\x00\xff\x01")
    assert await publications(room, 1) == [(1, b"\x00\xff\x01")]


async def test_a_client_that_answers_pings_stays(start_server, start_hop, connected):
    server = await start_server(**QUICK)
    hop = await start_hop(server)
    client = await connected(hop.ws)

    async def thrice():
        return hop.pings >= 3

    # The third comes two seconds after the first: that one had its pong in time.
    await polled(thrice, "a third ping")
    assert client.state == ClientState.CONNECTED
    assert client.journal.count("connecting") == 1


async def test_a_client_that_hears_no_ping_comes_back_by_itself(start_server, start_hop, connected):
    server = await start_server(**QUICK)
    hop = await start_hop(server)
    client = await connected(hop.ws, max_server_ping_delay=0.2)
    hop.freeze()
    assert (await client.journal.next("connecting")).code == 2, "no ping"
    hop.thaw()
    await client.journal.next("connected")
