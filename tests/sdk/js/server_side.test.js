// What the server decides: subscriptions in the token, and what the application does to a connection by HTTP.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connected, publications, subscribed, who } from './support/client.js';
import { config } from './support/config.js';
import { Hop } from './support/hop.js';
import { startServer } from './support/server.js';
import { inSeconds, token } from './support/tokens.js';

test('the channels of a token are subscribed at once', async (t) => {
  const server = await startServer(t, config());
  const client = await connected(t, server.ws, { token: token({ sub: 'ann', channels: ['open:a', 'private:b'] }) });
  const told = await client.journal.take('subscribed', 2);
  assert.deepEqual(told.map(({ channel }) => channel).sort(), ['open:a', 'private:b']);
  await server.publish('private:b', 'hi');
  const { channel, data, offset } = await client.journal.next('publication');
  assert.deepEqual([channel, data, offset], ['private:b', 'hi', 1]);
});

test('the subs of a token are subscribed at once, with what the token says of them', async (t) => {
  const server = await startServer(t, config());
  const subs = { 'open:a': { data: { welcome: true }, info: { role: 'guest' } } };
  const client = await connected(t, server.ws, { token: token({ sub: 'ann', subs }) });
  assert.deepEqual((await client.journal.next('subscribed')).data, { welcome: true });
  const { clients } = await client.presence('open:a');
  assert.deepEqual(who(clients[client.id]), { client: client.id, user: 'ann', chanInfo: { role: 'guest' } });
});

test('the channels of a token recover too', async (t) => {
  const server = await startServer(t, config());
  const hop = await Hop.start(t, server.port);
  const client = await connected(t, hop.ws, { token: token({ sub: 'ann', channels: ['open:a'] }) });
  await client.journal.next('subscribed');
  await server.publish('open:a', 'one');
  await client.journal.next('publication');
  hop.close();
  await client.journal.next('subscribing');
  await server.publishAll('open:a', ['two', 'three']);
  hop.open();
  const told = await client.journal.next('subscribed');
  assert.deepEqual([told.wasRecovering, told.recovered], [true, true]);
  await server.publish('open:a', 'four');
  const arrived = await client.journal.take('publication', 3);
  assert.deepEqual(arrived.map(({ offset, data }) => [offset, data]), [[2, 'two'], [3, 'three'], [4, 'four']]);
  client.journal.nothingLeft('publication');
});

test("a user's own channel is subscribed at once where that is configured", async (t) => {
  const server = await startServer(t, config({
    client: { subscribe_to_user_personal_channel: { enabled: true, personal_channel_namespace: 'open' } },
  }));
  const client = await connected(t, server.ws, { token: token({ sub: 'ann' }) });
  const { channel } = await client.journal.next('subscribed');
  assert.equal(channel, 'open:#ann');
  await server.publish(channel, 'for you');
  assert.equal((await client.journal.next('publication')).data, 'for you');
});

test('the application subscribes and unsubscribes a user', async (t) => {
  const server = await startServer(t, config());
  const client = await connected(t, server.ws, { token: token({ sub: 'ann' }) });
  await server.publish('open:news', 'before');
  await server.api('subscribe', { user: 'ann', channel: 'open:news' });
  const told = await client.journal.next('subscribed');
  assert.deepEqual([told.channel, told.streamPosition.offset], ['open:news', 1]);
  await server.publish('open:news', 'after');
  const { offset, data } = await client.journal.next('publication');
  assert.deepEqual([offset, data], [2, 'after']);
  await server.api('unsubscribe', { user: 'ann', channel: 'open:news' });
  assert.equal((await client.journal.next('unsubscribed')).channel, 'open:news');
  client.journal.nothingLeft('publication');
});

test('a subscription that the application ends stays ended', async (t) => {
  const server = await startServer(t, config());
  const client = await connected(t, server.ws, { token: token({ sub: 'ann' }) });
  const room = await subscribed(client, 'open:room');
  await server.api('unsubscribe', { user: 'ann', channel: 'open:room' });
  assert.equal((await room.journal.next('unsubscribed')).code, 2000);
  assert.equal(client.state, 'connected');
});

test('a user that the application sends away stays away', async (t) => {
  const server = await startServer(t, config());
  const client = await connected(t, server.ws, { token: token({ sub: 'ann' }) });
  const other = await connected(t, server.ws, { token: token({ sub: 'bob' }) });
  await server.api('disconnect', { user: 'ann' });
  assert.equal((await client.journal.next('disconnected')).code, 3503);
  assert.equal(other.state, 'connected');
  const room = await subscribed(other, 'open:room');
  await room.publish('undisturbed');
  assert.deepEqual(await publications(room, 1), [[1, 'undisturbed']]);
});

test('a user that the application asks to come back comes back', async (t) => {
  const server = await startServer(t, config());
  const client = await connected(t, server.ws, { token: token({ sub: 'ann' }) });
  await server.api('disconnect', { user: 'ann', disconnect: { code: 4000, reason: 'rebalance' } });
  const { code, reason } = await client.journal.next('connecting');
  assert.deepEqual([code, reason], [4000, 'rebalance']);
  await client.journal.next('connected');
});

test('a refresh whose token names other channels makes the client come back', async (t) => {
  const server = await startServer(t, config({ client: { expired_close_delay: '5s' } }));
  const client = await connected(t, server.ws, {
    token: token({ sub: 'ann', channels: ['open:a'], exp: inSeconds(1) }),
    getToken: async () => token({ sub: 'ann', channels: ['open:b'], exp: inSeconds(600) }),
  });
  assert.equal((await client.journal.next('subscribed')).channel, 'open:a');
  assert.equal((await client.journal.next('connecting')).code, 3010);
  assert.equal((await client.journal.next('subscribed')).channel, 'open:b');
  assert.equal((await client.journal.next('unsubscribed')).channel, 'open:a');
});
