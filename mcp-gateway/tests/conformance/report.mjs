// What a run found, in one line, and the judgement the suite leaves out: report.mjs NAME ERA RESULTS BASELINE REQUIREMENTS
// The suite judges the scenarios that a revision requires. It runs the optional and pending ones too but does not judge them; here
// they are held to the list `unscored` of the baseline in the same way: what fails unlisted and what is listed and passes fails.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const [name, era, results, baseline, requirements] = process.argv.slice(2);

// The two files use one shape: a key at the margin, then one entry a line.
function entries(file, key) {
  const found = new Set();
  let inside = false;
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    if (/^\S/.test(line) && !line.startsWith('#')) inside = line.startsWith(`${key}:`);
    const entry = /^\s+- (\S+)/.exec(line);
    if (inside && entry) found.add(entry[1]);
  }
  return found;
}

const required = entries(requirements, 'server');
const listed = entries(baseline, 'unscored');
const count = { required: {}, unscored: {} };
const worst = new Map();
const rank = ['SKIPPED', 'INFO', 'SUCCESS', 'WARNING', 'FAILURE'];
for (const folder of readdirSync(results)) {
  const scenario = folder.replace(/^server-/, '').replace(/-\d{4}-\d\d-\d\dT.*$/, '');
  const kind = required.has(scenario) ? 'required' : 'unscored';
  for (const check of JSON.parse(readFileSync(join(results, folder, 'checks.json'), 'utf8'))) {
    count[kind][check.status] = (count[kind][check.status] ?? 0) + 1;
    const entry = `${scenario}:${check.id}`;
    const before = worst.get(entry)?.status;
    if (before === undefined || rank.indexOf(check.status) > rank.indexOf(before))
      worst.set(entry, { kind, scenario, status: check.status });
  }
}

const told = (kind) =>
  `${kind} ${rank.map((status) => `${count[kind][status] ?? 0} ${status.toLowerCase()}`).reverse().join(', ')}`;
console.log(`conformance ${era} ${name}: ${told('required')}; ${told('unscored')}`);

const wrong = [];
for (const [entry, { kind, scenario, status }] of [...worst].sort()) {
  const fails = status === 'FAILURE' || status === 'WARNING';
  if (process.env.CONFORMANCE_VERBOSE && fails) console.log(`${kind}  - ${entry}`);
  if (kind === 'unscored' && fails && !listed.has(entry) && !listed.has(scenario)) wrong.push(`fails and is not listed: ${entry}`);
  if (status === 'SUCCESS' && listed.has(entry)) wrong.push(`is listed and passes: ${entry}`);
}
for (const scenario of listed) {
  const mine = [...worst.values()].filter((check) => check.scenario === scenario);
  const fails = mine.some(({ status }) => status === 'FAILURE' || status === 'WARNING');
  if (!scenario.includes(':') && mine.length > 0 && !fails) wrong.push(`is listed and passes: ${scenario}`);
}
for (const line of wrong) console.error(`${era} ${name}: ${line}`);
process.exit(wrong.length > 0 || worst.size === 0 ? 1 : 0);
