// The SDK's client and subscriptions, each with its journal, ended with their test.

import { Centrifuge } from 'centrifuge';
import { Centrifuge as ProtobufCentrifuge } from 'centrifuge/build/protobuf';
import { WebSocket } from 'ws';

import { atEnd } from './endings.js';
import { Journal } from './journal.js';

const CLIENT_EVENTS = [
  'connecting', 'connected', 'disconnected', 'error', 'message',
  'subscribing', 'subscribed', 'unsubscribed', 'publication', 'join', 'leave',
];
const SUBSCRIPTION_EVENTS = [
  'subscribing', 'subscribed', 'unsubscribed', 'publication', 'join', 'leave', 'error',
];

// A client of the SDK that has not connected yet. Its delays are short, so that tests of coming back are too.
// With `protobuf` it is the one of the SDK's protobuf build, whose data are bytes.
export function newClient(t, url, { protobuf = false, ...options } = {}) {
  const client = new (protobuf ? ProtobufCentrifuge : Centrifuge)(url, {
    websocket: WebSocket,
    minReconnectDelay: 20,
    maxReconnectDelay: 100,
    ...options,
  });
  client.journal = new Journal('client', client, CLIENT_EVENTS);
  atEnd(t, () => client.disconnect());
  return client;
}

// A client that is connected.
export async function connected(t, url, options = {}) {
  const client = newClient(t, url, options);
  client.connect();
  await client.journal.next('connecting');
  client.id = (await client.journal.next('connected')).client;
  return client;
}

// A subscription that was asked for.
export function subscribe(client, channel, options = {}) {
  const subscription = client.newSubscription(channel, {
    minResubscribeDelay: 20,
    maxResubscribeDelay: 100,
    ...options,
  });
  subscription.client = client;
  subscription.journal = new Journal(channel, subscription, SUBSCRIPTION_EVENTS);
  subscription.subscribe();
  return subscription;
}

// A subscription that is subscribed; `subscription.context` is what the SDK told of it.
export async function subscribed(client, channel, options = {}) {
  const subscription = subscribe(client, channel, options);
  await subscription.journal.next('subscribing');
  subscription.context = await subscription.journal.next('subscribed');
  return subscription;
}

// Takes `count` publications, as [offset, data] pairs.
export async function publications(subscription, count) {
  const contexts = await subscription.journal.take('publication', count);
  return contexts.map(({ offset, data }) => [offset, data]);
}

// A client's info without what is not set, for which protobuf has no bytes, and without the wire's names that the SDK
// leaves beside its own.
export function who({ client, user, connInfo, chanInfo }) {
  const isSet = (info) => info && info.length !== 0;
  return { client, user, ...(isSet(connInfo) && { connInfo }), ...(isSet(chanInfo) && { chanInfo }) };
}
