// Node 18, which Debian 12 has, does not show the cryptography of browsers as a global; later ones do.

import { webcrypto } from 'node:crypto';

globalThis.crypto ??= webcrypto;
