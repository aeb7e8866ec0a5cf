// What a client gets after it was away: exactly what it missed, or the truth that it cannot.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connected, publications, subscribed } from './support/client.js';
import { config } from './support/config.js';
import { Hop } from './support/hop.js';
import { startServer } from './support/server.js';
import { token } from './support/tokens.js';

const ann = { token: token({ sub: 'ann' }) };

// A client behind a hop, subscribed to `channel` and as far as the `first` publications.
async function listening(t, channel, first, options = {}, clientOptions = {}) {
  const server = await startServer(t, config({ client: clientOptions }));
  const hop = await Hop.start(t, server.port);
  const client = await connected(t, hop.ws, ann);
  const room = await subscribed(client, channel, options);
  await server.publishAll(channel, first);
  await publications(room, first.length);
  return { server, hop, client, room };
}

// Cuts the connection, lets `meanwhile` happen, and lets the client back in. Returns what it was told then.
async function away({ hop, room }, meanwhile) {
  hop.close();
  await room.journal.next('subscribing');
  await meanwhile();
  hop.open();
  return room.journal.next('subscribed');
}

// Nothing but `data` arrives, live, at `offset`: whatever was wrongly delivered before it would be seen now.
async function onlyThen({ server, room }, channel, offset, data) {
  await server.publish(channel, data);
  assert.deepEqual(await publications(room, 1), [[offset, data]]);
  room.journal.nothingLeft('publication');
}

test('after a cut exactly what was missed arrives', async (t) => {
  const here = await listening(t, 'open:room', ['a', 'b']);
  const told = await away(here, () => here.server.publishAll('open:room', ['c', 'd', 'e']));
  assert.deepEqual(
    [told.wasRecovering, told.recovered, told.hasRecoveredPublications],
    [true, true, true],
  );
  assert.equal(told.streamPosition.offset, 2, 'the client moves its own position on, as it handles them');
  assert.deepEqual(await publications(here.room, 3), [[3, 'c'], [4, 'd'], [5, 'e']]);
  await onlyThen(here, 'open:room', 6, 'live');
});

test('after a cut in which nothing was published nothing arrives', async (t) => {
  const here = await listening(t, 'open:room', ['a']);
  const told = await away(here, async () => {});
  assert.deepEqual(
    [told.wasRecovering, told.recovered, told.hasRecoveredPublications],
    [true, true, false],
  );
  await onlyThen(here, 'open:room', 2, 'live');
});

test('cuts while publications flow lose none, repeat none and turn none around', async (t) => {
  const here = await listening(t, 'open:room', []);
  const publisher = await connected(t, here.server.ws, { token: token({ sub: 'publisher' }) });
  let going = true;
  const publishing = (async () => {
    let published = 0;
    while (going) await publisher.publish('open:room', (published += 1));
    return published;
  })();
  const arrived = [];
  for (let cut = 0; cut < 10; cut += 1) {
    arrived.push(...(await publications(here.room, 20)));
    here.hop.cut();
    const { wasRecovering, recovered } = await here.room.journal.next('subscribed');
    assert.deepEqual([wasRecovering, recovered], [true, true]);
  }
  going = false;
  const total = await publishing;
  arrived.push(...(await publications(here.room, total - arrived.length)));
  assert.deepEqual(arrived, Array.from({ length: total }, (_, i) => [i + 1, i + 1]));
  assert.ok(here.hop.passed > 10, `only ${here.hop.passed} connections: the cuts did not bite`);
  await onlyThen(here, 'open:room', total + 1, 'live');
});

test('a client that missed more than is kept is told so', async (t) => {
  const here = await listening(t, 'brief:room', ['a']);
  const told = await away(here, () => here.server.publishAll('brief:room', ['b', 'c', 'd', 'e', 'f']));
  const { wasRecovering, recovered, hasRecoveredPublications, streamPosition } = told;
  assert.deepEqual([wasRecovering, recovered, hasRecoveredPublications], [true, false, false]);
  assert.equal(streamPosition.offset, 6, 'it goes on from the top');
  await onlyThen(here, 'brief:room', 7, 'live');
});

test('a client that missed just as much as is kept recovers', async (t) => {
  const here = await listening(t, 'brief:room', ['a']);
  const told = await away(here, () => here.server.publishAll('brief:room', ['b', 'c', 'd']));
  assert.equal(told.recovered, true);
  assert.deepEqual(await publications(here.room, 3), [[2, 'b'], [3, 'c'], [4, 'd']]);
  await onlyThen(here, 'brief:room', 5, 'live');
});

test('a client that missed more than it may recover at once is told so', async (t) => {
  const here = await listening(t, 'open:room', ['a'], {}, { recovery_max_publication_limit: 2 });
  const told = await away(here, () => here.server.publishAll('open:room', ['b', 'c', 'd']));
  assert.deepEqual([told.wasRecovering, told.recovered, told.streamPosition.offset], [true, false, 4]);
  await onlyThen(here, 'open:room', 5, 'live');
});

test('a client whose history was removed is told so', async (t) => {
  const here = await listening(t, 'open:room', ['a']);
  const told = await away(here, async () => {
    await here.server.publishAll('open:room', ['b', 'c']);
    await here.server.api('history_remove', { channel: 'open:room' });
  });
  assert.deepEqual([told.wasRecovering, told.recovered], [true, false]);
  await onlyThen(here, 'open:room', 4, 'live');
});

test('after a restart, which forgets, a client is told so and goes on', async (t) => {
  const here = await listening(t, 'open:room', ['a', 'b']);
  const { epoch } = here.room.context.streamPosition;
  let restarted;
  const told = await away(here, async () => {
    assert.equal(await here.server.terminate(), 0);
    restarted = await startServer(t, config(), { port: here.server.port });
    await restarted.publishAll('open:room', ['other', 'life']);
  });
  assert.deepEqual([told.wasRecovering, told.recovered], [true, false]);
  assert.notEqual(told.streamPosition.epoch, epoch);
  assert.equal(told.streamPosition.offset, 2);
  await onlyThen({ ...here, server: restarted }, 'open:room', 3, 'live');
});

test('where recovery is for those who ask, it is', async (t) => {
  const here = await listening(t, 'asked:room', ['a'], { recoverable: true, positioned: true });
  assert.deepEqual([here.room.context.recoverable, here.room.context.positioned], [true, true]);
  const told = await away(here, () => here.server.publish('asked:room', 'b'));
  assert.equal(told.recovered, true);
  assert.deepEqual(await publications(here.room, 1), [[2, 'b']]);
  await onlyThen(here, 'asked:room', 3, 'live');
});

test('where recovery is for those who ask, others begin at the top', async (t) => {
  const here = await listening(t, 'asked:room', ['a']);
  const told = await away(here, () => here.server.publish('asked:room', 'b'));
  assert.deepEqual([told.wasRecovering, told.recovered, told.recoverable], [false, false, false]);
  await onlyThen(here, 'asked:room', 3, 'live');
});

test('a client that knows a position begins there', async (t) => {
  const here = await listening(t, 'open:room', ['a', 'b', 'c']);
  const { epoch } = here.room.context.streamPosition;
  const other = await connected(t, here.server.ws, ann);
  const since = await subscribed(other, 'open:room', { since: { offset: 1, epoch } });
  assert.deepEqual([since.context.wasRecovering, since.context.recovered], [true, true]);
  assert.deepEqual(await publications(since, 2), [[2, 'b'], [3, 'c']]);

  const wrong = await connected(t, here.server.ws, ann);
  const lost = await subscribed(wrong, 'open:room', { since: { offset: 1, epoch: 'another' } });
  assert.deepEqual([lost.context.wasRecovering, lost.context.recovered], [true, false]);
  await here.server.publish('open:room', 'd');
  assert.deepEqual(await publications(lost, 1), [[4, 'd']]);
});

test('in a cache channel only the newest of what was missed arrives', async (t) => {
  const here = await listening(t, 'cache:room', ['a']);
  const told = await away(here, () => here.server.publishAll('cache:room', ['b', 'c', 'd']));
  assert.equal(told.recovered, true);
  assert.deepEqual(await publications(here.room, 1), [[4, 'd']]);
  await onlyThen(here, 'cache:room', 5, 'live');
});

test('in a cache channel a client that missed nothing gets nothing', async (t) => {
  const here = await listening(t, 'cache:room', ['a']);
  const told = await away(here, async () => {});
  assert.deepEqual([told.recovered, told.hasRecoveredPublications], [true, false]);
  await onlyThen(here, 'cache:room', 2, 'live');
});

test('an application that loads its own state is sent to load it again when it missed too much', async (t) => {
  let loads = 0;
  let server;
  const getState = async () => {
    loads += 1;
    // Straight from the source of truth; here the stream's own top.
    const { offset, epoch } = await server.api('history', { channel: 'brief:state', limit: 0 });
    return { offset, epoch };
  };
  server = await startServer(t, config());
  await server.publishAll('brief:state', ['a', 'b']);
  const hop = await Hop.start(t, server.port);
  const client = await connected(t, hop.ws, ann);
  const room = await subscribed(client, 'brief:state', { getState });
  assert.equal(loads, 1);
  await away({ hop, room }, () => server.publish('brief:state', 'c'));
  assert.equal(loads, 1, 'what is recovered needs no state');
  assert.deepEqual(await publications(room, 1), [[3, 'c']]);
  await away({ hop, room }, () => server.publishAll('brief:state', ['d', 'e', 'f', 'g', 'h']));
  assert.equal(loads, 2);
  await onlyThen({ server, room }, 'brief:state', 9, 'live');
});
