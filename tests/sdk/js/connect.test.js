// Who may connect, and how a connection is kept alive.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { WebSocket } from 'ws';

import { bounded } from './support/bounded.js';
import { connected, newClient, publications, subscribed, who } from './support/client.js';
import { config } from './support/config.js';
import { Hop } from './support/hop.js';
import { pinged, QUICK } from './support/pings.js';
import { startServer } from './support/server.js';
import { ALGORITHMS, inSeconds, token } from './support/tokens.js';

test('a client without a token connects where that is allowed', async (t) => {
  const server = await startServer(t, config({ client: { allow_anonymous_connect_without_token: true } }));
  const client = await connected(t, server.ws);
  assert.match(client.id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  client.disconnect();
  assert.equal((await client.journal.next('disconnected')).code, 0);
});

test('a client without a token is told to stay away where one is needed', async (t) => {
  const server = await startServer(t, config());
  const client = newClient(t, server.ws);
  client.connect();
  assert.equal((await client.journal.next('disconnected')).code, 3501);
});

for (const algorithm of ALGORITHMS) {
  test(`a token signed with ${algorithm} is believed`, async (t) => {
    const server = await startServer(t, config());
    const claims = { sub: 'ann', exp: inSeconds(600), info: { name: 'Ann' } };
    const client = await connected(t, server.ws, { token: token(claims, algorithm) });
    const room = await subscribed(client, 'open:room');
    const { clients } = await room.presence();
    assert.deepEqual(who(clients[client.id]), { client: client.id, user: 'ann', connInfo: { name: 'Ann' } });
  });
}

test('a token that somebody changed is refused for good', async (t) => {
  const server = await startServer(t, config());
  const good = token({ sub: 'ann' }).split('.');
  const forged = token({ sub: 'root' }).split('.');
  const client = newClient(t, server.ws, { token: [good[0], forged[1], good[2]].join('.') });
  client.connect();
  assert.equal((await client.journal.next('disconnected')).code, 3500);
});

test('an expired token is renewed through getToken', async (t) => {
  const server = await startServer(t, config());
  let asked = 0;
  const client = await connected(t, server.ws, {
    token: token({ sub: 'ann', exp: inSeconds(-60) }),
    getToken: async () => {
      asked += 1;
      return token({ sub: 'ann', exp: inSeconds(600) });
    },
  });
  assert.equal(asked, 1);
  const { error } = await client.journal.next('error');
  assert.deepEqual([error.code, error.message], [109, 'token expired']);
  assert.equal(client.journal.count('disconnected'), 0);
});

test('an expired token that cannot be renewed ends the client', async (t) => {
  const server = await startServer(t, config());
  const client = newClient(t, server.ws, { token: token({ sub: 'ann', exp: inSeconds(-60) }) });
  client.connect();
  assert.equal((await client.journal.next('disconnected')).code, 1);
});

// A WebSocket class that never asks for a subprotocol, so that only the address says what is spoken.
class Plain extends WebSocket {
  constructor(url) {
    super(url);
  }
}

for (const [way, query, websocket] of [
  ['by the subprotocol', '', WebSocket],
  ['by ?format=protobuf', '?format=protobuf', Plain],
  ['by ?cf_protocol=protobuf', '?cf_protocol=protobuf', Plain],
]) {
  test(`a client that asks for protobuf ${way} gets it`, async (t) => {
    const server = await startServer(t, config());
    const client = await connected(t, server.ws + query, { protobuf: true, token: token({ sub: 'ann' }), websocket });
    const room = await subscribed(client, 'open:room');
    await room.publish(Uint8Array.of(0, 255, 1));
    assert.deepEqual(await publications(room, 1), [[1, Uint8Array.of(0, 255, 1)]]);
  });
}

test('a client that speaks protobuf without asking for it is told to stay away', async (t) => {
  const server = await startServer(t, config());
  const client = newClient(t, server.ws, { protobuf: true, token: token({ sub: 'ann' }), websocket: Plain });
  client.connect();
  assert.equal((await client.journal.next('disconnected')).code, 3501);
});

test('a client that answers pings stays', async (t) => {
  const server = await startServer(t, config({ client: QUICK }));
  const seen = pinged({ answers: true });
  const client = await connected(t, server.ws, { token: token({ sub: 'ann' }), websocket: seen.WebSocket });
  await bounded(seen.third, 'a third ping');
  assert.equal(client.state, 'connected');
  assert.equal(client.journal.count('connecting'), 1);
});

test('a client that answers no ping is sent away and comes back', async (t) => {
  const server = await startServer(t, config({ client: QUICK }));
  const seen = pinged({ answers: false });
  const client = await connected(t, server.ws, { token: token({ sub: 'ann' }), websocket: seen.WebSocket });
  assert.equal((await client.journal.next('connecting')).code, 3012);
  await client.journal.next('connected');
});

test('a client that hears no ping comes back by itself', async (t) => {
  const server = await startServer(t, config({ client: QUICK }));
  const hop = await Hop.start(t, server.port);
  const client = await connected(t, hop.ws, { token: token({ sub: 'ann' }), maxServerPingDelay: 200 });
  hop.freeze();
  assert.equal((await client.journal.next('connecting')).code, 2, 'no ping');
  hop.thaw();
  await client.journal.next('connected');
});
