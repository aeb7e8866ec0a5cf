// What an SDK object told, in order, and a way to await what it tells next.

import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';

import { bounded } from './bounded.js';

export class Journal {
  #told = [];
  #waiting = [];
  #changed = new EventEmitter();

  constructor(name, source, events) {
    this.name = name;
    for (const event of events) {
      source.on(event, (context) => {
        this.#told.push({ event, context });
        this.#waiting.push({ event, context });
        this.#changed.emit('change');
      });
    }
  }

  // Takes the first `event` that nobody took, now or when it comes.
  async next(event) {
    const found = async () => {
      for (;;) {
        const index = this.#waiting.findIndex((entry) => entry.event === event);
        if (index >= 0) return this.#waiting.splice(index, 1)[0].context;
        await once(this.#changed, 'change');
      }
    };
    return bounded(found(), `'${event}' of ${this.name}`, () => this.toString());
  }

  // Takes `count` of them.
  async take(event, count) {
    const contexts = [];
    while (contexts.length < count) contexts.push(await this.next(event));
    return contexts;
  }

  // How often an event was told, taken or not.
  count(event) {
    return this.#told.filter((entry) => entry.event === event).length;
  }

  // Asserts that no `event` came which nobody took.
  nothingLeft(event) {
    const left = this.#waiting.filter((entry) => entry.event === event);
    assert.deepEqual(left, [], `${this.name} told more than was expected`);
  }

  toString() {
    return this.#told.map(({ event, context }) => `  ${this.name}: ${event} ${JSON.stringify(context)}`).join('\n');
  }
}
