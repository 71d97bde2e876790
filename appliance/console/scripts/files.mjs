// Walks folders for the checks beside this file.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const consoleFolder = fileURLToPath(new URL('..', import.meta.url));

/** Every file below `folder` whose name ends in one of `endings`: its path and its text. */
export function filesBelow(folder, endings) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return filesBelow(path, endings);
    return endings.some((ending) => entry.name.endsWith(ending)) ? [{ path, text: readFileSync(path, 'utf8') }] : [];
  });
}

/** Prints what was found and fails, or says that nothing was. */
export function report(what, faults) {
  faults.forEach((fault) => console.error(`${what}: ${fault}`));
  if (faults.length > 0) process.exit(1);
  console.log(`${what}: good`);
}
