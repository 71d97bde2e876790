// Fails when the catalogue and the console do not fit: a word missing, unused, or unequal in its two languages.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { consoleFolder, filesBelow, report } from './files.mjs';
import { catalogueFaults, usageFaults } from './words.mjs';

const catalogue = JSON.parse(readFileSync(join(consoleFolder, '../messages/catalogue/console.json'), 'utf8'));
const sources = [...filesBelow(join(consoleFolder, 'src'), ['.ts', '.tsx']).filter(({ path }) => !path.includes('.test.')), { path: 'index.html', text: readFileSync(join(consoleFolder, 'index.html'), 'utf8') }];
report('words', [...catalogueFaults(catalogue), ...usageFaults(catalogue, sources)]);
