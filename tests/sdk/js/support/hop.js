// A TCP hop between client and server, to cut the connection, to hold it up, and to read along.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

import { atEnd } from './endings.js';

export class Hop {
  // Connections that went through it, ever.
  passed = 0;
  #server;
  #pairs = new Set();
  #open = true;
  #frozen = false;

  // A hop to `port` on loopback, which ends with the test.
  static async start(t, port) {
    const hop = new Hop();
    hop.#server = createServer((near) => hop.#pair(near, port));
    hop.#server.listen(0, '127.0.0.1');
    await once(hop.#server, 'listening');
    hop.ws = `ws://127.0.0.1:${hop.#server.address().port}/connection/websocket`;
    atEnd(t, () => {
      hop.close();
      hop.#server.close();
    });
    return hop;
  }

  #pair(near, port) {
    if (!this.#open) return near.resetAndDestroy();
    this.passed += 1;
    const far = connect(port, '127.0.0.1');
    const pair = { near, far };
    this.#pairs.add(pair);
    const end = () => {
      this.#pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) socket.on('error', end).on('close', end);
    near.pipe(far, { end: true });
    far.pipe(near, { end: true });
    if (this.#frozen) hold(pair);
  }

  // Cuts what goes through it with a reset to both sides, and lets new connections in.
  cut() {
    for (const { near, far } of this.#pairs) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
    this.#pairs.clear();
  }

  // Cuts, and lets nobody in until `open`.
  close() {
    this.#open = false;
    this.cut();
  }

  open() {
    this.#open = true;
  }

  // Reads nothing more from the server, so that its socket fills up.
  freeze() {
    this.#frozen = true;
    for (const pair of this.#pairs) hold(pair);
  }

  // Reads again.
  thaw() {
    this.#frozen = false;
    for (const { near, far } of this.#pairs) far.pipe(near, { end: true });
  }
}

function hold({ near, far }) {
  far.unpipe(near);
  far.pause();
}
