// The protobuf format: what a client can do in JSON it can do with bytes of any kind, and both meet in one channel.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { WebSocket } from 'ws';

import { bounded } from './support/bounded.js';
import { connected, newClient, publications, subscribe, subscribed, who } from './support/client.js';
import { config } from './support/config.js';
import { Hop } from './support/hop.js';
import { pinged, QUICK } from './support/pings.js';
import { startServer } from './support/server.js';
import { fountain, inSeconds, token } from './support/tokens.js';

const inJson = (user, more = {}) => ({ token: token({ sub: user, ...more }) });
const as = (user, more = {}) => ({ protobuf: true, ...inJson(user, more) });

const bytes = (...values) => Uint8Array.from(values);
// What a protobuf client has of a JSON value: its text.
const text = (value) => new TextEncoder().encode(JSON.stringify(value));
const base64 = (data) => Buffer.from(data).toString('base64');
const range = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);

const NO_JSON = bytes(0, 255, 1);
// So many bytes, no JSON either, and another `number` makes others.
const filled = (length, number) => Uint8Array.from({ length }, (_, i) => (i * 7 + number + 128) % 256);

test('bytes that are no JSON reach every subscriber as they are, with who published them', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann', { info: { name: 'Ann' } }));
  const bob = await connected(t, server.ws, as('bob'));
  const heard = await Promise.all([subscribed(ann, 'open:room'), subscribed(bob, 'open:room')]);
  await heard[0].publish(NO_JSON);
  for (const subscription of heard) {
    const { data, offset, info, channel } = await subscription.journal.next('publication');
    assert.deepEqual({ data, offset, channel }, { data: NO_JSON, offset: 1, channel: 'open:room' });
    assert.deepEqual(who(info), { client: ann.id, user: 'ann', connInfo: text({ name: 'Ann' }) });
  }
});

test('bytes of any length arrive as they were sent', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const room = await subscribed(ann, 'open:room');
  // Around where the lengths before them, and before what they are wrapped in, take a byte more.
  const lengths = [1, 2, ...range(100, 130), ...range(16_350, 16_390), 60_000];
  const sent = lengths.map((length) => filled(length, length));
  for (const data of sent) await room.publish(data);
  assert.deepEqual(await publications(room, sent.length), sent.map((data, i) => [i + 1, data]));
  assert.deepEqual((await room.history({ limit: -1 })).publications.map(({ data }) => data), sent);
});

test('no bytes at all are refused with 107, and nothing else suffers', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const room = await subscribed(ann, 'open:room');
  await assert.rejects(room.publish(bytes()), { code: 107, message: 'bad request' });
  await room.publish(bytes(0));
  assert.deepEqual(await publications(room, 1), [[1, bytes(0)]]);
});

test('what is published by HTTP arrives as the text it was, or as the bytes that its base64 stood for', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const room = await subscribed(ann, 'open:room');
  await server.publish('open:room', { text: 'hi', ünïcode: '"\n\u2028' }, { tags: { lang: 'en', empty: '' } });
  await server.api('publish', { channel: 'open:room', b64data: base64(NO_JSON) });
  const [first, second] = await room.journal.take('publication', 2);
  assert.deepEqual([first.offset, first.data, { ...first.tags }, first.info], [
    1, text({ text: 'hi', ünïcode: '"\n\u2028' }), { lang: 'en', empty: '' }, undefined,
  ]);
  assert.deepEqual([second.offset, second.data], [2, NO_JSON]);
});

test('presence tells who is there', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann', { info: { name: 'Ann' } }));
  const twice = [await connected(t, server.ws, as('bob')), await connected(t, server.ws, as('bob'))];
  const room = await subscribed(ann, 'open:room');
  for (const bob of twice) await subscribed(bob, 'open:room');
  const { clients } = await room.presence();
  assert.deepEqual(Object.fromEntries(Object.entries(clients).map(([id, info]) => [id, who(info)])), {
    [ann.id]: { client: ann.id, user: 'ann', connInfo: text({ name: 'Ann' }) },
    [twice[0].id]: { client: twice[0].id, user: 'bob' },
    [twice[1].id]: { client: twice[1].id, user: 'bob' },
  });
  assert.deepEqual(await room.presenceStats(), { numClients: 3, numUsers: 2 });
  room.unsubscribe();
  await room.journal.next('unsubscribed');
  assert.deepEqual(await ann.presenceStats('open:room'), { numClients: 2, numUsers: 1 });
  assert.deepEqual(await ann.presenceStats('open:empty'), { numClients: 0, numUsers: 0 });
});

test('joins and leaves are told in their order, the own join among them', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const room = await subscribed(ann, 'open:room');
  assert.equal((await room.journal.next('join')).info.client, ann.id);
  for (let i = 0; i < 4; i += 1) {
    const bob = await connected(t, server.ws, as('bob', { info: [i] }));
    const theirs = await subscribed(bob, 'open:room');
    const them = { client: bob.id, user: 'bob', connInfo: text([i]) };
    assert.deepEqual(who((await room.journal.next('join')).info), them);
    if (i % 2) theirs.unsubscribe();
    else bob.disconnect();
    assert.deepEqual(who((await room.journal.next('leave')).info), them);
  }
  room.journal.nothingLeft('join');
  room.journal.nothingLeft('leave');
});

test('history is read from where one likes, forwards and backwards', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const room = await subscribed(ann, 'open:room');
  const { epoch } = room.context.streamPosition;
  const sent = range(0, 5).map((number) => bytes(255, number));
  for (const data of sent) await room.publish(data);
  const read = async (options) => {
    const result = await room.history(options);
    assert.deepEqual([result.epoch, result.offset], [epoch, 5]);
    for (const { offset, data } of result.publications) assert.deepEqual(data, sent[offset - 1]);
    return result.publications.map(({ offset }) => offset);
  };
  assert.deepEqual(await read({ limit: -1 }), [1, 2, 3, 4, 5]);
  assert.deepEqual(await read({ limit: 0 }), []);
  assert.deepEqual(await read({ limit: 2, reverse: true }), [5, 4]);
  assert.deepEqual(await read({ limit: 1, since: { offset: 3, epoch } }), [4]);
  assert.deepEqual(await read({ limit: -1, since: { offset: 3, epoch }, reverse: true }), [2, 1]);
  await assert.rejects(room.history({ limit: 1, since: { offset: 3, epoch: 'another' } }), { code: 112 });
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
  await plain.publish(NO_JSON);
  assert.deepEqual(await publications(plain, 1), [[undefined, NO_JSON]]);
});

test('what is refused is refused with its code, and nothing else suffers', async (t) => {
  const server = await startServer(t, config());
  const ann = await connected(t, server.ws, as('ann'));
  const room = await subscribed(ann, 'open:room');
  for (const [channel, code, reason] of [
    ['nowhere:room', 102, 'unknown channel'],
    ['private:room', 103, 'permission denied'],
    [`open:${'x'.repeat(300)}`, 107, 'bad request'],
  ]) {
    const told = await subscribe(ann, channel).journal.next('unsubscribed');
    assert.deepEqual([told.code, told.reason], [code, reason]);
    await assert.rejects(ann.publish(channel, NO_JSON), { code, message: reason });
  }
  await assert.rejects(ann.rpc('sum', NO_JSON), { code: 108, message: 'not available' });
  await room.publish(bytes(7));
  assert.deepEqual(await publications(room, 1), [[1, bytes(7)]]);
});

test('a client that is sent away is told the code', async (t) => {
  const server = await startServer(t, config());
  const nobody = newClient(t, server.ws, { protobuf: true });
  nobody.connect();
  assert.equal((await nobody.journal.next('disconnected')).code, 3501);

  const talker = await connected(t, server.ws, as('talker'));
  await talker.send(NO_JSON);
  assert.equal((await talker.journal.next('disconnected')).code, 3508);

  const ann = await connected(t, server.ws, as('ann'));
  await server.api('disconnect', { user: 'ann', disconnect: { code: 4000, reason: 'rebalance' } });
  const { code, reason } = await ann.journal.next('connecting');
  assert.deepEqual([code, reason], [4000, 'rebalance']);
  await ann.journal.next('connected');
  await server.api('disconnect', { user: 'ann' });
  assert.equal((await ann.journal.next('disconnected')).code, 3503);
});

test('an expired token is renewed through getToken', async (t) => {
  const server = await startServer(t, config());
  const getToken = async () => token({ sub: 'ann', exp: inSeconds(600) });
  const client = await connected(t, server.ws, { ...as('ann', { exp: inSeconds(-60) }), getToken });
  const { error } = await client.journal.next('error');
  assert.deepEqual([error.code, error.message], [109, 'token expired']);
});

test('a connection and a subscription whose tokens are refreshed in time go on', async (t) => {
  const server = await startServer(t, config({
    client: { expired_close_delay: '1s', expired_sub_close_delay: '1s' },
  }));
  const [own, theirs] = [fountain({ sub: 'ann' }), fountain({ sub: 'ann', channel: 'private:room' })];
  const client = await connected(t, server.ws, { ...as('ann', { exp: inSeconds(2) }), getToken: own.getToken });
  const room = await subscribed(client, 'private:room', { getToken: theirs.getToken });
  await Promise.all([own.often(3), theirs.often(3)]);
  assert.equal(client.journal.count('connecting'), 1);
  assert.equal(room.journal.count('subscribing'), 1);
  await room.publish(NO_JSON);
  assert.deepEqual(await publications(room, 1), [[1, NO_JSON]]);
});

test('a client that answers pings stays', async (t) => {
  const server = await startServer(t, config({ client: QUICK }));
  const seen = pinged({ answers: true, protobuf: true });
  const client = await connected(t, server.ws, { ...as('ann'), websocket: seen.WebSocket });
  await bounded(seen.third, 'a third ping');
  assert.equal(client.state, 'connected');
  assert.equal(client.journal.count('connecting'), 1);
});

test('a client that answers no ping is sent away and comes back', async (t) => {
  const server = await startServer(t, config({ client: QUICK }));
  const seen = pinged({ answers: false, protobuf: true });
  const client = await connected(t, server.ws, { ...as('ann'), websocket: seen.WebSocket });
  assert.equal((await client.journal.next('connecting')).code, 3012);
  await client.journal.next('connected');
});

test('many commands in one message are all answered, in order', async (t) => {
  const server = await startServer(t, config());
  const sent = [];
  const ann = newClient(t, server.ws, {
    ...as('ann'),
    websocket: class extends WebSocket {
      send(data, ...rest) {
        sent.push(data);
        super.send(data, ...rest);
      }
    },
  });
  const rooms = range(0, 50).map((number) => subscribe(ann, `open:${number}`));
  ann.connect();
  for (const room of rooms) await room.journal.next('subscribed');
  assert.equal(sent.length, 1, 'the token and all subscriptions in one message');

  ann.startBatching();
  const published = rooms.map((room, number) => room.publish(bytes(255, number)));
  const stats = rooms[0].presenceStats();
  const history = rooms.map((room) => room.history({ limit: 1 }));
  ann.stopBatching();
  await Promise.all(published);
  assert.deepEqual(await stats, { numClients: 1, numUsers: 1 });
  for (const [number, room] of rooms.entries()) {
    assert.deepEqual(await publications(room, 1), [[1, bytes(255, number)]]);
    const { publications: kept } = await history[number];
    assert.deepEqual(kept.map(({ offset, data }) => [offset, data]), [[1, bytes(255, number)]]);
  }
  assert.equal(sent.length, 2, 'all of these commands in one more');
});

// A client behind a hop, subscribed to `channel` and as far as the `first` publications; `publish` goes past the hop.
async function listening(t, channel, first) {
  const server = await startServer(t, config());
  const hop = await Hop.start(t, server.port);
  const room = await subscribed(await connected(t, hop.ws, as('ann')), channel);
  const publish = async (...payloads) => {
    for (const data of payloads) await server.api('publish', { channel, b64data: base64(data) });
  };
  await publish(...first);
  assert.deepEqual(await publications(room, first.length), first.map((data, i) => [i + 1, data]));
  return { server, hop, room, publish };
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
async function onlyThen({ room, publish }, offset, data) {
  await publish(data);
  assert.deepEqual(await publications(room, 1), [[offset, data]]);
  room.journal.nothingLeft('publication');
}

test('after a cut exactly what was missed arrives', async (t) => {
  const here = await listening(t, 'open:room', [NO_JSON, bytes(1)]);
  const told = await away(here, () => here.publish(bytes(255, 2), text('three'), bytes(255, 0)));
  assert.deepEqual(
    [told.wasRecovering, told.recovered, told.hasRecoveredPublications],
    [true, true, true],
  );
  assert.equal(told.streamPosition.offset, 2, 'the client moves its own position on, as it handles them');
  assert.deepEqual(await publications(here.room, 3), [[3, bytes(255, 2)], [4, text('three')], [5, bytes(255, 0)]]);
  await onlyThen(here, 6, bytes(254));
});

test('after a cut in which nothing was published nothing arrives', async (t) => {
  const here = await listening(t, 'open:room', [NO_JSON]);
  const told = await away(here, async () => {});
  assert.deepEqual(
    [told.wasRecovering, told.recovered, told.hasRecoveredPublications],
    [true, true, false],
  );
  await onlyThen(here, 2, bytes(254));
});

test('a client that missed more than is kept is told so', async (t) => {
  const here = await listening(t, 'brief:room', [NO_JSON]);
  const told = await away(here, () => here.publish(...range(0, 5).map((number) => bytes(255, number))));
  const { wasRecovering, recovered, hasRecoveredPublications, streamPosition } = told;
  assert.deepEqual([wasRecovering, recovered, hasRecoveredPublications], [true, false, false]);
  assert.equal(streamPosition.offset, 6, 'it goes on from the top');
  await onlyThen(here, 7, bytes(254));
});

test('cuts while publications flow lose none, repeat none and turn none around', async (t) => {
  const here = await listening(t, 'open:room', []);
  const publisher = await connected(t, here.server.ws, as('publisher'));
  // Never JSON, and no two the same.
  const payload = (number) => bytes(255, number >> 16, number >> 8, number);
  let going = true;
  const publishing = (async () => {
    let published = 0;
    while (going) await publisher.publish('open:room', payload((published += 1)));
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
  assert.deepEqual(arrived, range(1, total + 1).map((number) => [number, payload(number)]));
  assert.ok(here.hop.passed > 10, `only ${here.hop.passed} connections: the cuts did not bite`);
  await onlyThen(here, total + 1, bytes(254));
});

test('the channels of a token are subscribed at once, and recover', async (t) => {
  const server = await startServer(t, config());
  const hop = await Hop.start(t, server.port);
  const publisher = await connected(t, server.ws, as('publisher'));
  const subs = { 'open:a': { data: { welcome: true }, info: { role: 'guest' } } };
  const client = await connected(t, hop.ws, as('ann', { subs }));
  const { channel, data } = await client.journal.next('subscribed');
  assert.deepEqual([channel, data], ['open:a', text({ welcome: true })]);
  const { clients } = await client.presence('open:a');
  assert.deepEqual(who(clients[client.id]), { client: client.id, user: 'ann', chanInfo: text({ role: 'guest' }) });

  await publisher.publish('open:a', NO_JSON);
  await client.journal.next('publication');
  hop.close();
  await client.journal.next('subscribing');
  for (const number of [2, 3]) await publisher.publish('open:a', filled(20_000, number));
  hop.open();
  const told = await client.journal.next('subscribed');
  assert.deepEqual([told.wasRecovering, told.recovered], [true, true]);
  await publisher.publish('open:a', filled(1, 4));
  const arrived = await client.journal.take('publication', 3);
  assert.deepEqual(
    arrived.map((it) => [it.channel, it.offset, it.data]),
    [[2, 20_000], [3, 20_000], [4, 1]].map(([number, length]) => ['open:a', number, filled(length, number)]),
  );
  client.journal.nothingLeft('publication');
});

test('the application subscribes and unsubscribes a user', async (t) => {
  const server = await startServer(t, config());
  const client = await connected(t, server.ws, as('ann'));
  await server.publish('open:news', 'before');
  await server.api('subscribe', { user: 'ann', channel: 'open:news', b64data: base64(NO_JSON) });
  const told = await client.journal.next('subscribed');
  assert.deepEqual([told.channel, told.streamPosition.offset, told.data], ['open:news', 1, NO_JSON]);
  await server.publish('open:news', 'after');
  const { offset, data } = await client.journal.next('publication');
  assert.deepEqual([offset, data], [2, text('after')]);
  await server.api('unsubscribe', { user: 'ann', channel: 'open:news' });
  assert.equal((await client.journal.next('unsubscribed')).channel, 'open:news');

  const room = await subscribed(client, 'open:room');
  await server.api('unsubscribe', { user: 'ann', channel: 'open:room' });
  assert.equal((await room.journal.next('unsubscribed')).code, 2000);
  client.journal.nothingLeft('publication');
});

// One channel with a client of either format.
async function mixed(t) {
  const server = await startServer(t, config());
  const binary = await subscribed(await connected(t, server.ws, as('ann', { info: { name: 'Ann' } })), 'open:room');
  const json = await subscribed(await connected(t, server.ws, inJson('bob', { info: { name: 'Bob' } })), 'open:room');
  return { server, binary, json };
}

test('bytes that are the text of a JSON value reach a JSON client as that value', async (t) => {
  const { binary, json } = await mixed(t);
  const values = [0, -1.5e-7, '', 'a\nb\u2028', [], [[1], {}], {}, true, false, { ünïcode: { er: [null] } }];
  for (const value of values) await binary.publish(text(value));
  assert.deepEqual(await publications(json, values.length), values.map((value, i) => [i + 1, value]));
  assert.deepEqual(await publications(binary, values.length), values.map((value, i) => [i + 1, text(value)]));
});

test('JSON on several lines reaches a JSON client as one value, and a protobuf client as it was', async (t) => {
  const { binary, json } = await mixed(t);
  const lines = new TextEncoder().encode(' {\r\n\t"text":\n"hi" }\n');
  await binary.publish(lines);
  assert.deepEqual(await publications(json, 1), [[1, { text: 'hi' }]]);
  assert.deepEqual(await publications(binary, 1), [[1, lines]]);
});

test('what a JSON client publishes reaches a protobuf client as its text', async (t) => {
  const { binary, json } = await mixed(t);
  const values = [0, '', { text: 'hi', ünïcode: '"\n\u2028' }, [1, [null]]];
  for (const value of values) await json.publish(value);
  assert.deepEqual(await publications(binary, values.length), values.map((value, i) => [i + 1, text(value)]));
  assert.deepEqual(await publications(json, values.length), values.map((value, i) => [i + 1, value]));
});

test('bytes that are no JSON reach a JSON client in base64, and no offset is left out', async (t) => {
  const { binary, json, server } = await mixed(t);
  const noJson = [
    NO_JSON,
    bytes(251, 255, 254), // +//+
    bytes(255), // padded
    bytes(0x22, 255, 0x22), // a string, were it UTF-8
    bytes(0x22, 10, 0x22), // a string, were its line break escaped
    Buffer.from('{} {}'),
    Buffer.from('{}\n{}'),
    Buffer.from('\ufeff{}'),
    Buffer.from('NaN'),
    Buffer.from('{"text":"hi"'),
    Buffer.from(' \n'),
    Buffer.from('['.repeat(10_000) + ']'.repeat(10_000)), // too deep for many a reader
  ].map((data) => Uint8Array.from(data));
  const sent = [];
  for (const data of noJson) {
    sent.push([sent.length + 1, data, base64(data)]);
    await binary.publish(data);
    sent.push([sent.length + 1, text({ number: sent.length }), { number: sent.length }]);
    await json.publish({ number: sent.length - 1 });
  }
  const asBytes = sent.map(([offset, data]) => [offset, data]);
  const asJson = sent.map(([offset, , data]) => [offset, data]);
  assert.deepEqual(await publications(binary, sent.length), asBytes);
  assert.deepEqual(await publications(json, sent.length), asJson);
  const kept = ({ publications }) => publications.map(({ offset, data }) => [offset, data]);
  assert.deepEqual(kept(await binary.history({ limit: -1 })), asBytes);
  assert.deepEqual(kept(await json.history({ limit: -1 })), asJson);
  assert.deepEqual(kept(await server.api('history', { channel: 'open:room', limit: -1 })), asJson);
});

test('clients of both formats see each other come and go', async (t) => {
  const { binary, json } = await mixed(t);
  const ann = (connInfo) => ({ client: binary.client.id, user: 'ann', connInfo });
  const bob = (connInfo) => ({ client: json.client.id, user: 'bob', connInfo });
  const [ofAnn, ofBob] = await binary.journal.take('join', 2);
  assert.deepEqual([who(ofAnn.info), who(ofBob.info)], [ann(text({ name: 'Ann' })), bob(text({ name: 'Bob' }))]);
  const { clients } = await json.presence();
  assert.deepEqual(who(clients[binary.client.id]), ann({ name: 'Ann' }));
  await binary.publish(NO_JSON);
  assert.deepEqual(who((await json.journal.next('publication')).info), ann({ name: 'Ann' }));
  binary.unsubscribe();
  assert.deepEqual(who((await json.journal.next('leave')).info), ann({ name: 'Ann' }));
});

test('after a cut clients of both formats get exactly what they missed, each in its own', async (t) => {
  const here = await listening(t, 'open:room', [NO_JSON]);
  const json = await subscribed(await connected(t, here.hop.ws, inJson('bob')), 'open:room');
  // So much that the server holds it once for all who are given it in one format.
  const value = { big: 'x'.repeat(10_000) };
  const itsText = text(value);
  const missed = [...range(2, 42).map((number) => filled(1000, number)), itsText, NO_JSON];
  here.hop.close();
  await Promise.all([here.room.journal.next('subscribing'), json.journal.next('subscribing')]);
  await here.publish(...missed);
  here.hop.open();
  for (const room of [here.room, json]) {
    const { wasRecovering, recovered } = await room.journal.next('subscribed');
    assert.deepEqual([wasRecovering, recovered], [true, true]);
  }
  await here.publish(bytes(254));
  const due = [...missed, bytes(254)];
  assert.deepEqual(await publications(here.room, due.length), due.map((data, i) => [i + 2, data]));
  assert.deepEqual(
    await publications(json, due.length),
    due.map((data, i) => [i + 2, data === itsText ? value : base64(data)]),
  );
  for (const room of [here.room, json]) room.journal.nothingLeft('publication');
});

test('who comes into a channel of the other format gets all from then on', async (t) => {
  const server = await startServer(t, config());
  const publisher = await connected(t, server.ws, as('publisher'));
  // Two of a format after each other, so that those of the other find it in every shard.
  for (const [channel, formats] of [
    ['open:json_later', [as, as, inJson, inJson]],
    ['open:json_first', [inJson, inJson, as, as]],
  ]) {
    const rooms = [];
    for (const [count, format] of formats.entries()) {
      rooms.push(await subscribed(await connected(t, server.ws, format(`user${count}`)), channel));
      await publisher.publish(channel, bytes(255, count));
      for (const [i, room] of rooms.entries()) {
        const data = formats[i] === as ? bytes(255, count) : base64([255, count]);
        assert.deepEqual(await publications(room, 1), [[count + 1, data]]);
      }
    }
  }
});
