// What a connected client does with channels: subscribe, publish, presence, history, join and leave.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connected, newClient, publications, subscribe, subscribed, who } from './support/client.js';
import { config } from './support/config.js';
import { startServer } from './support/server.js';
import { inSeconds, token } from './support/tokens.js';

const as = (user, more = {}) => ({ token: token({ sub: user, ...more }) });

test('what a client publishes reaches every subscriber, with who it was', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann', { info: { name: 'Ann' } }));
  const bob = await connected(t, server.ws, as('bob'));
  const heard = await Promise.all([subscribed(ann, 'open:room'), subscribed(bob, 'open:room')]);
  await heard[0].publish({ text: 'hi', ünïcode: '"\n\u2028' });
  for (const subscription of heard) {
    const { data, offset, info, channel } = await subscription.journal.next('publication');
    assert.deepEqual({ data, offset, channel }, {
      data: { text: 'hi', ünïcode: '"\n\u2028' }, offset: 1, channel: 'open:room',
    });
    assert.deepEqual(who(info), { client: ann.id, user: 'ann', connInfo: { name: 'Ann' } });
  }
});

test('what is published by HTTP reaches every subscriber, with its tags', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const room = await subscribed(ann, 'open:room');
  const result = await server.publish('open:room', { text: 'hi' }, { tags: { lang: 'en' } });
  assert.deepEqual(result, { offset: 1, epoch: room.context.streamPosition.epoch });
  const { data, offset, tags, info } = await room.journal.next('publication');
  assert.deepEqual({ data, offset, tags, info }, {
    data: { text: 'hi' }, offset: 1, tags: { lang: 'en' }, info: undefined,
  });
});

test('every kind of JSON value arrives as it was sent', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const room = await subscribed(ann, 'open:room');
  const values = [0, -1.5e-7, '', 'a\nb', [], [[1], {}], {}, true, false, { deep: { er: [null] } }];
  for (const value of values) await room.publish(value);
  assert.deepEqual(await publications(room, values.length), values.map((value, i) => [i + 1, value]));
});

test('a subscription ends when the client wants it, and can begin again', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const bob = await connected(t, server.ws, as('bob'));
  const [left, stayed] = await Promise.all([subscribed(ann, 'open:room'), subscribed(bob, 'open:room')]);
  left.unsubscribe();
  assert.equal((await left.journal.next('unsubscribed')).code, 0);
  await stayed.journal.next('leave');
  await stayed.publish('while away');
  left.subscribe();
  await left.journal.next('subscribed');
  await stayed.publish('again');
  const last = (await left.journal.take('publication', 2)).at(-1);
  assert.equal(last.data, 'again');
});

test('publishing needs permission: before subscribing no, as a subscriber yes', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  await assert.rejects(ann.publish('private:room', 1), { code: 103, message: 'permission denied' });
  const room = await subscribed(ann, 'private:room', { token: token({ sub: 'ann', channel: 'private:room' }) });
  await room.publish(1);
  assert.deepEqual(await publications(room, 1), [[1, 1]]);
});

test('a channel that is not allowed is refused with 103, and nothing else suffers', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const room = await subscribed(ann, 'open:room');
  const refused = subscribe(ann, 'private:room');
  const { code, reason } = await refused.journal.next('unsubscribed');
  assert.deepEqual([code, reason], [103, 'permission denied']);
  await room.publish('still here');
  assert.deepEqual(await publications(room, 1), [[1, 'still here']]);
});

test('a namespace that does not exist is refused with 102', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  assert.equal((await subscribe(ann, 'nowhere:room').journal.next('unsubscribed')).code, 102);
  await assert.rejects(ann.publish('nowhere:room', 1), { code: 102, message: 'unknown channel' });
});

test('a channel with too long a name is refused with 107', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  assert.equal((await subscribe(ann, `open:${'x'.repeat(300)}`).journal.next('unsubscribed')).code, 107);
});

test('past the limit of subscriptions comes 106', async (t) => {
  const server = await startServer(t, config({ client: { channel_limit: 2 } }));
  const ann = await connected(t, server.ws, as('ann'));
  await subscribed(ann, 'open:1');
  await subscribed(ann, 'open:2');
  assert.equal((await subscribe(ann, 'open:3').journal.next('unsubscribed')).code, 106);
});

test('a subscription token opens its channel to its user only', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const claims = { sub: 'ann', channel: 'private:room', info: { role: 'admin' }, exp: inSeconds(600) };
  const room = await subscribed(ann, 'private:room', { token: token(claims, 'ES256') });
  await room.publish('hello');
  const { info } = await room.journal.next('publication');
  assert.deepEqual(info.chanInfo, { role: 'admin' });

  const bob = await connected(t, server.ws, as('bob'));
  subscribe(bob, 'private:room', { token: token(claims) });
  assert.equal((await bob.journal.next('disconnected')).code, 3500, "another user's token");
});

test('a subscription token that somebody changed is refused with 103', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const room = subscribe(ann, 'private:room', { token: `${token({ sub: 'ann', channel: 'private:room' })}x` });
  assert.equal((await room.journal.next('unsubscribed')).code, 103);
});

test('an expired subscription token is renewed through getToken', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const asked = [];
  const room = await subscribed(ann, 'private:room', {
    token: token({ sub: 'ann', channel: 'private:room', exp: inSeconds(-60) }),
    getToken: async ({ channel }) => {
      asked.push(channel);
      return token({ sub: 'ann', channel, exp: inSeconds(600) });
    },
  });
  assert.deepEqual(asked, ['private:room']);
  assert.equal((await room.journal.next('error')).error.code, 109);
});

test('presence tells who is there', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann', { info: { name: 'Ann' } }));
  const twice = [await connected(t, server.ws, as('bob')), await connected(t, server.ws, as('bob'))];
  const room = await subscribed(ann, 'open:room');
  for (const bob of twice) await subscribed(bob, 'open:room');
  const { clients } = await room.presence();
  assert.deepEqual(Object.fromEntries(Object.entries(clients).map(([id, info]) => [id, who(info)])), {
    [ann.id]: { client: ann.id, user: 'ann', connInfo: { name: 'Ann' } },
    [twice[0].id]: { client: twice[0].id, user: 'bob' },
    [twice[1].id]: { client: twice[1].id, user: 'bob' },
  });
  assert.deepEqual(await room.presenceStats(), { numClients: 3, numUsers: 2 });
  twice[0].disconnect();
  await room.journal.take('join', 3);
  assert.equal((await room.journal.next('leave')).info.client, twice[0].id);
  assert.deepEqual(await room.presenceStats(), { numClients: 2, numUsers: 2 });
  assert.deepEqual(await server.api('presence_stats', { channel: 'open:room' }), { num_clients: 2, num_users: 2 });
});

test('joins and leaves are told in their order, the own join among them', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const room = await subscribed(ann, 'open:room');
  assert.equal((await room.journal.next('join')).info.client, ann.id);
  for (let i = 0; i < 5; i += 1) {
    const bob = await connected(t, server.ws, as('bob'));
    const theirs = await subscribed(bob, 'open:room');
    assert.deepEqual(who((await room.journal.next('join')).info), { client: bob.id, user: 'bob' });
    if (i % 2) theirs.unsubscribe();
    else bob.disconnect();
    assert.deepEqual(who((await room.journal.next('leave')).info), { client: bob.id, user: 'bob' });
  }
  room.journal.nothingLeft('join');
  room.journal.nothingLeft('leave');
});

test('what a channel does not keep is not available', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const plain = await subscribed(ann, 'plain:room');
  assert.deepEqual(
    [plain.context.recoverable, plain.context.positioned, plain.context.streamPosition],
    [false, false, undefined],
  );
  for (const asked of [plain.presence(), plain.presenceStats(), plain.history({ limit: 1 })]) {
    await assert.rejects(asked, { code: 108, message: 'not available' });
  }
  await plain.publish('no offset');
  assert.deepEqual(await publications(plain, 1), [[undefined, 'no offset']]);
});

test('history is read from where one likes, forwards and backwards', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const room = await subscribed(ann, 'open:room');
  const { epoch } = room.context.streamPosition;
  await server.publishAll('open:room', ['a', 'b', 'c', 'd', 'e']);
  const read = async (options) => {
    const result = await room.history(options);
    assert.deepEqual([result.epoch, result.offset], [epoch, 5]);
    return result.publications.map(({ offset, data }) => `${offset}${data}`).join(' ');
  };
  assert.equal(await read({ limit: -1 }), '1a 2b 3c 4d 5e');
  assert.equal(await read({ limit: 0 }), '');
  assert.equal(await read({ limit: 2 }), '1a 2b');
  assert.equal(await read({ limit: 2, reverse: true }), '5e 4d');
  assert.equal(await read({ limit: -1, since: { offset: 3, epoch } }), '4d 5e');
  assert.equal(await read({ limit: 1, since: { offset: 3, epoch } }), '4d');
  assert.equal(await read({ limit: -1, since: { offset: 3, epoch }, reverse: true }), '2b 1a');
  assert.equal(await read({ limit: -1, since: { offset: 5, epoch } }), '');
  await assert.rejects(room.history({ limit: 1, since: { offset: 3, epoch: 'another' } }), { code: 112 });
  await assert.rejects(room.history({ limit: 1, since: { offset: 0, epoch }, reverse: true }), { code: 107 });

  const byHttp = await server.api('history', { channel: 'open:room', limit: 2, since: { offset: 1, epoch } });
  assert.deepEqual(byHttp.publications.map(({ offset, data }) => [offset, data]), [[2, 'b'], [3, 'c']]);
  assert.deepEqual([byHttp.offset, byHttp.epoch], [5, epoch]);
});

test('a call is answered that none is available', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  await assert.rejects(ann.rpc('sum', [1, 2]), { code: 108, message: 'not available' });
  assert.equal(ann.state, 'connected');
});

test('a message that nobody handles ends the connection, as documented', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  await ann.send({ text: 'is anybody there?' });
  assert.equal((await ann.journal.next('disconnected')).code, 3508);
});

test('commands that leave in one frame are all answered, in order', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const room = await subscribed(ann, 'open:room');
  const numbers = Array.from({ length: 100 }, (_, i) => i);
  ann.startBatching();
  const published = numbers.map((number) => room.publish(number));
  const stats = room.presenceStats();
  const history = room.history({ limit: 0 });
  ann.stopBatching();
  await Promise.all(published);
  assert.deepEqual(await stats, { numClients: 1, numUsers: 1 });
  assert.equal((await history).offset, 100);
  assert.deepEqual(await publications(room, 100), numbers.map((number) => [number + 1, number]));
});

test('many subscriptions asked for before the connection are all there after it', async (t) => {
  const server = await startServer(t, config());
  const ann = newClient(t, server.ws, as('ann'));
  const rooms = Array.from({ length: 50 }, (_, i) => subscribe(ann, `open:${i}`));
  ann.connect();
  for (const room of rooms) await room.journal.next('subscribed');
  await server.api('broadcast', { channels: rooms.map((room) => room.channel), data: 'to all' });
  for (const room of rooms) assert.deepEqual(await publications(room, 1), [[1, 'to all']]);
});
