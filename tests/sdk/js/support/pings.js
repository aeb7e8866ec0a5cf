// Pings of the protocol: a WebSocket class that tells of them.

import { WebSocket } from 'ws';

// For the section `client`.
export const QUICK = { ping_interval: '1s', pong_timeout: '900ms' };

// A ping is an empty reply and a pong an empty command, which look the same.
const JSON_PING = Buffer.from('{}');
const PROTOBUF_PING = Buffer.of(0);

// `seen.WebSocket` counts pings, and answers them or not; `seen.third` waits for the third.
export function pinged({ answers, protobuf = false }) {
  const seen = { pings: 0, third: null };
  const isPing = (data) => Buffer.from(data).equals(protobuf ? PROTOBUF_PING : JSON_PING);
  seen.third = new Promise((resolve) => {
    seen.WebSocket = class extends WebSocket {
      constructor(...args) {
        super(...args);
        this.on('message', (data) => {
          if (isPing(data) && ++seen.pings === 3) resolve();
        });
      }

      send(data, ...rest) {
        if (answers || !isPing(data)) super.send(data, ...rest);
      }
    };
  });
  return seen;
}
