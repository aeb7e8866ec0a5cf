// The configuration these tests start servers with: that of a real application, with keys and namespaces.

import { PUBLIC_KEYS, SECRET } from './tokens.js';

export const API_KEY = 'api-key-of-the-tests';

// More than any test publishes, however slow the machine, except where a namespace says otherwise.
const HISTORY = { history_size: 100_000, history_ttl: '300s' };

const NAMESPACES = [
  // Every client may do everything.
  {
    name: 'open',
    ...HISTORY,
    force_recovery: true,
    presence: true,
    join_leave: true,
    force_push_join_leave: true,
    allow_subscribe_for_client: true,
    allow_publish_for_client: true,
    allow_presence_for_client: true,
    allow_history_for_client: true,
  },
  // Only a subscription token opens it, and subscribers may speak.
  { name: 'private', ...HISTORY, force_recovery: true, allow_publish_for_subscriber: true },
  // Forgets after three publications.
  { name: 'brief', ...HISTORY, history_size: 3, force_recovery: true, allow_subscribe_for_client: true },
  // Only the newest publication counts.
  { name: 'cache', ...HISTORY, force_recovery: true, force_recovery_mode: 'cache', allow_subscribe_for_client: true },
  // Keeps nothing: no history, no presence.
  { name: 'plain', allow_subscribe_for_client: true, allow_publish_for_client: true },
  // Keeps history, and recovers for those who ask.
  { name: 'asked', ...HISTORY, allow_recovery: true, allow_positioning: true, allow_subscribe_for_client: true },
];

// A configuration whose section `client` is changed by `client`, and others by `rest`.
export function config({ client = {}, ...rest } = {}) {
  return {
    client: {
      token: { hmac_secret_key: SECRET, ...PUBLIC_KEYS },
      recovery_max_publication_limit: 100_000,
      ...client,
    },
    channel: { namespaces: NAMESPACES },
    http_api: { key: API_KEY },
    ...rest,
  };
}
