// The built binary as a child: started on a free port, watched from outside, ended with its test.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { bounded } from './bounded.js';
import { API_KEY } from './config.js';
import { atEnd } from './endings.js';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../../..');
const BINARY = resolve(ROOT, process.env.SDK_TEST_SERVER ?? 'target/debug/pubsub-server');

// Starts a server with `config`, the content of a configuration file, on a free port or on `port`. It ends with
// the test `t`, which fails if the server panicked.
export async function startServer(t, config, { port = 0 } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'sdk-test-'));
  const file = join(folder, 'config.json');
  await writeFile(file, JSON.stringify(config));
  const server = new Server(file, port);
  atEnd(t, async () => {
    await server.kill();
    await rm(folder, { recursive: true });
    if (server.log.includes('panicked')) throw new Error(`the server panicked:\n${server.log}`);
  });
  await server.listening();
  return server;
}

export class Server {
  // Everything it wrote to standard error.
  log = '';
  #child;
  #exited;
  #out = '';

  constructor(file, port) {
    this.#child = spawn(BINARY, ['--config', file, '--port', String(port)], {
      env: withoutOurs(process.env),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text) => (this.log += text));
    this.#exited = once(this.#child, 'exit');
  }

  async listening() {
    const { stdout } = this.#child;
    stdout.setEncoding('utf8');
    const found = new Promise((resolve, reject) => {
      stdout.on('data', (text) => {
        this.#out += text;
        const line = this.#out.match(/^listening on (http:\/\/.*:(\d+))\n/m);
        if (line) resolve(line);
      });
      stdout.on('end', () => reject(new Error(`the server ended before it listened:\n${this.log}`)));
      this.#child.on('error', reject);
    });
    const [, http, port] = await bounded(found, 'the server to listen', () => this.log);
    this.http = http;
    this.port = Number(port);
    this.ws = `${http.replace('http', 'ws')}/connection/websocket`;
  }

  // A call of the HTTP API: its result, or an error with its code.
  async api(method, params) {
    const response = await fetch(`${this.http}/api/${method}`, {
      method: 'POST',
      headers: { 'X-API-Key': API_KEY, 'Content-Type': 'application/json' },
      body: JSON.stringify(params),
    });
    const body = await response.text();
    if (response.status !== 200) throw new Error(`${method}: HTTP ${response.status}: ${body}`);
    const { result, error } = JSON.parse(body);
    if (error) throw Object.assign(new Error(`${method}: ${error.code} ${error.message}`), error);
    return result;
  }

  publish(channel, data, more = {}) {
    return this.api('publish', { channel, data, ...more });
  }

  // Publishes one after the other, so that the order is known.
  async publishAll(channel, payloads) {
    for (const data of payloads) await this.publish(channel, data);
  }

  // The value of one line of /metrics, named with its labels; 0 if it is not there.
  async metric(line) {
    const text = await (await fetch(`${this.http}/metrics`)).text();
    const found = text.split('\n').find((other) => other.startsWith(`${line} `));
    return found ? Number(found.slice(line.length + 1)) : 0;
  }

  // Asks it to end, as an operator does, and waits until it has. Returns its exit code.
  async terminate() {
    this.#child.kill('SIGTERM');
    const [code] = await bounded(this.#exited, 'the server to end after SIGTERM', () => this.log);
    return code;
  }

  // Ends it at once, if it still runs.
  async kill() {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL');
    await bounded(this.#exited, 'the server to be gone');
  }
}

// Variables of the surroundings must not configure the server under test.
function withoutOurs(env) {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('PUBSUB_')));
}
