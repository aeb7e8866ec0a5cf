// Tokens as an application's backend makes them, with every kind of key; made with what Node has, so that what the
// server believes is not what the server made.

import { createHmac, generateKeyPairSync, sign } from 'node:crypto';

import { bounded } from './bounded.js';

export const SECRET = 'secret-of-the-tests';

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ecdsa = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const eddsa = generateKeyPairSync('ed25519');

const pem = ({ publicKey }) => publicKey.export({ type: 'spki', format: 'pem' });

// For the section `client.token`.
export const PUBLIC_KEYS = {
  rsa_public_key: pem(rsa),
  ecdsa_public_key: pem(ecdsa),
  eddsa_public_key: pem(eddsa),
};

const SIGNERS = {
  HS256: (text) => createHmac('sha256', SECRET).update(text).digest(),
  RS256: (text) => sign('sha256', text, rsa.privateKey),
  ES256: (text) => sign('sha256', text, { key: ecdsa.privateKey, dsaEncoding: 'ieee-p1363' }),
  EdDSA: (text) => sign(null, text, eddsa.privateKey),
};

export const ALGORITHMS = Object.keys(SIGNERS);

export function token(claims, algorithm = 'HS256') {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: algorithm, typ: 'JWT' })}.${part(claims)}`;
  return `${text}.${SIGNERS[algorithm](Buffer.from(text)).toString('base64url')}`;
}

// The moment `seconds` from now, as `exp` wants it.
export function inSeconds(seconds) {
  return Math.floor(Date.now() / 1000) + seconds;
}

// A getToken that makes short-lived tokens; `often(n)` waits until it was asked n times.
export function fountain(claims) {
  const waiting = [];
  let asked = 0;
  const getToken = async () => {
    asked += 1;
    for (const { times, resolve } of waiting) if (asked >= times) resolve();
    return token({ ...claims, exp: inSeconds(2) });
  };
  const often = (times) => bounded(new Promise((resolve) => waiting.push({ times, resolve })), `${times} tokens`);
  return { getToken, often };
}
