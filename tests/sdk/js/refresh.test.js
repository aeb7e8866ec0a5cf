// Tokens that run out while a client is connected.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connected, publications, subscribed } from './support/client.js';
import { config } from './support/config.js';
import { startServer } from './support/server.js';
import { fountain, inSeconds, token } from './support/tokens.js';

const CLOSED_SOON = { expired_close_delay: '1s', expired_sub_close_delay: '1s' };

test('a connection whose token is refreshed in time goes on', async (t) => {
  const server = await startServer(t, config({ client: CLOSED_SOON }));
  const { getToken, often } = fountain({ sub: 'ann' });
  const client = await connected(t, server.ws, { token: token({ sub: 'ann', exp: inSeconds(2) }), getToken });
  // The first token and the one after it are long out by the time of the third.
  await often(3);
  assert.equal(client.journal.count('connecting'), 1);
  assert.equal(client.state, 'connected');
});

test('a connection whose token is not refreshed is closed, and comes back with a new one', async (t) => {
  const server = await startServer(t, config({ client: CLOSED_SOON }));
  let asked = 0;
  const getToken = () => {
    asked += 1;
    return asked === 1 ? new Promise(() => {}) : Promise.resolve(token({ sub: 'ann', exp: inSeconds(600) }));
  };
  const client = await connected(t, server.ws, { token: token({ sub: 'ann', exp: inSeconds(1) }), getToken });
  assert.equal((await client.journal.next('connecting')).code, 3005);
  await client.journal.next('connected');
  assert.equal(asked, 2);
});

test('a refresh with the token of another user ends the connection', async (t) => {
  const server = await startServer(t, config({ client: CLOSED_SOON }));
  const getToken = async () => token({ sub: 'bob', exp: inSeconds(600) });
  const client = await connected(t, server.ws, { token: token({ sub: 'ann', exp: inSeconds(1) }), getToken });
  assert.equal((await client.journal.next('disconnected')).code, 3500);
});

test('a subscription whose token is refreshed in time goes on', async (t) => {
  const server = await startServer(t, config({ client: CLOSED_SOON }));
  const client = await connected(t, server.ws, { token: token({ sub: 'ann' }) });
  const claims = { sub: 'ann', channel: 'private:room' };
  const { getToken, often } = fountain(claims);
  const room = await subscribed(client, 'private:room', { token: token({ ...claims, exp: inSeconds(2) }), getToken });
  await often(3);
  assert.equal(room.journal.count('subscribing'), 1);
  await server.publish('private:room', 'still here');
  assert.deepEqual(await publications(room, 1), [[1, 'still here']]);
});

test('a subscription whose token is not refreshed ends, and comes back with what it missed', async (t) => {
  const server = await startServer(t, config({ client: CLOSED_SOON }));
  const client = await connected(t, server.ws, { token: token({ sub: 'ann' }) });
  const claims = { sub: 'ann', channel: 'private:room' };
  let release;
  const released = new Promise((resolve) => (release = resolve));
  let asked = 0;
  const getToken = async () => {
    asked += 1;
    if (asked === 1) await new Promise(() => {});
    await released;
    return token({ ...claims, exp: inSeconds(600) });
  };
  const room = await subscribed(client, 'private:room', { token: token({ ...claims, exp: inSeconds(1) }), getToken });
  assert.equal((await room.journal.next('subscribing')).code, 2501);
  await server.publish('private:room', 'missed');
  release();
  assert.equal((await room.journal.next('subscribed')).recovered, true);
  assert.deepEqual(await publications(room, 1), [[1, 'missed']]);
  assert.equal(client.journal.count('connecting'), 1, 'the connection was not touched');
});
