"""What every test may ask for; all of it ends with the test."""

import pytest
from support.client import new_client as make_client
from support.config import config
from support.hop import Hop
from support.server import Server
from support.tokens import token


@pytest.fixture
async def start_server(tmp_path):
    """Starts servers: `await start_server(**client_options)`."""
    servers = []

    async def start(port=0, **client):
        server = await Server.start(tmp_path, config(**client), port)
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.close()


@pytest.fixture
async def start_hop():
    """Starts hops in front of a server: `await start_hop(server)`."""
    hops = []

    async def start(server):
        hop = await Hop.start(server.port)
        hops.append(hop)
        return hop

    yield start
    for hop in hops:
        await hop.close()


@pytest.fixture
async def new_client():
    """Makes clients that have not connected yet."""
    clients = []

    def make(url, **options):
        client = make_client(url, **options)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.disconnect()


@pytest.fixture
def connected(new_client):
    """Makes clients that are connected, as ann unless told otherwise: `await connected(server.ws, user="bob")`."""

    async def connect(url, user="ann", **options):
        if not options.keys() & {"token", "get_token"}:
            options["token"] = token(user)
        client = new_client(url, **options)
        await client.connect()
        await client.journal.next("connecting")
        client.id = (await client.journal.next("connected")).client
        return client

    return connect
