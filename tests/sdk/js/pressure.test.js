// A client that reads too slowly, and a server that goes down.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { polled } from './support/bounded.js';
import { connected, newClient, publications, subscribed } from './support/client.js';
import { config } from './support/config.js';
import { Hop } from './support/hop.js';
import { startServer } from './support/server.js';
import { token } from './support/tokens.js';

const ann = { token: token({ sub: 'ann' }) };

// Two subscribers of one channel, the first of them behind a hop that stops reading; publications flow until the
// server has cut that one, however much the sockets between them hold.
async function floodedUntilCut(t) {
  const server = await startServer(t, config({ client: { queue_max_size: 65536 } }));
  const hop = await Hop.start(t, server.port);
  const slow = await subscribed(await connected(t, hop.ws, ann), 'open:room');
  const quick = await subscribed(await connected(t, server.ws, ann), 'open:room');
  const slowOnes = () => server.metric('pubsub_slow_consumers_total');

  hop.freeze();
  const payload = 'x'.repeat(60_000);
  let total = 0;
  while ((await slowOnes()) === 0) {
    assert.ok(total < 1000, 'sixty megabytes wait, and nobody is cut');
    await server.publish('open:room', { number: (total += 1), payload });
  }
  const all = Array.from({ length: total }, (_, i) => [i + 1, i + 1]);
  const arrivedAt = async (room) => (await publications(room, total)).map(([offset, { number }]) => [offset, number]);
  return { server, hop, slow, quick, all, arrivedAt, slowOnes };
}

test('a client that reads too slowly is told 3008, and recovers all it missed', async (t) => {
  const { hop, slow, quick, all, arrivedAt, slowOnes } = await floodedUntilCut(t);
  hop.thaw();
  assert.deepEqual(await arrivedAt(quick), all, 'the quick one is not held up');
  const { code } = await slow.client.journal.next('connecting');
  assert.equal(code, 3008);
  const { wasRecovering, recovered, hasRecoveredPublications } = await slow.journal.next('subscribed');
  assert.deepEqual([wasRecovering, recovered, hasRecoveredPublications], [true, true, true]);
  assert.deepEqual(await arrivedAt(slow), all);
  slow.journal.nothingLeft('publication');
  assert.equal(await slowOnes(), 1);
  assert.equal(quick.client.journal.count('connecting'), 1);
});

test('a client that reads nothing at all is dropped, and recovers all it missed when it reads again', async (t) => {
  const { server, hop, slow, quick, all, arrivedAt } = await floodedUntilCut(t);
  assert.deepEqual(await arrivedAt(quick), all, 'the quick one is not held up');
  const connections = () => server.metric('pubsub_connections');
  await polled(async () => (await connections()) === 1, 'the server to give up on the last word');
  assert.equal(await server.metric('pubsub_outbox_bytes'), 0, 'nothing is kept for it');
  hop.thaw();
  assert.equal((await slow.journal.next('subscribed')).recovered, true);
  assert.deepEqual(await arrivedAt(slow), all);
  slow.journal.nothingLeft('publication');
});

test('a server that goes down says so, ends well, and has its clients back after', async (t) => {
  const server = await startServer(t, config());
  const clients = [];
  for (let i = 0; i < 10; i += 1) {
    const client = await connected(t, server.ws, ann);
    clients.push({ client, room: await subscribed(client, 'open:room') });
  }
  assert.equal(await server.terminate(), 0);
  for (const { client } of clients) {
    const { code, reason } = await client.journal.next('connecting');
    assert.deepEqual([code, reason], [3001, 'shutdown']);
  }
  const restarted = await startServer(t, config(), { port: server.port });
  for (const { client, room } of clients) {
    await client.journal.next('connected');
    assert.equal((await room.journal.next('subscribed')).recovered, false);
  }
  await restarted.publish('open:room', 'hello again');
  for (const { room } of clients) assert.deepEqual(await publications(room, 1), [[1, 'hello again']]);
});

test('a server that dies without a word has its clients back after', async (t) => {
  const server = await startServer(t, config());
  const client = await connected(t, server.ws, ann);
  await server.kill();
  assert.equal((await client.journal.next('connecting')).code, 1, 'transport closed');
  await startServer(t, config(), { port: server.port });
  await client.journal.next('connected');
});

test('past the limit of connections a client waits outside until there is room', async (t) => {
  const server = await startServer(t, config({ client: { connection_limit: 1 } }));
  const first = await connected(t, server.ws, ann);
  const second = newClient(t, server.ws, ann);
  second.connect();
  await second.journal.next('error');
  first.disconnect();
  await second.journal.next('connected');
});
