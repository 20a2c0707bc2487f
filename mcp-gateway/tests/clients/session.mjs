// A whole session with @modelcontextprotocol/client 2.x over stdio: session.mjs BINARY EVENTS
// The steps are session.json's, with what $NAMES stand for taken from the environment; what is sent and read goes to EVENTS,
// one JSON object a line, which transcript.py makes readable.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

const [binary, out] = process.argv.slice(2);
const events = [];
const tell = (event) => events.push(event);
const steps = readFileSync(new URL('session.json', import.meta.url), 'utf8');
const filled = steps.replace(/\$([A-Z]+)/g, (_, name) => process.env[name]);
const args = ['--data', process.env.DATA, '--token-file', process.env.TOKENFILE];

const client = new Client({ name: 'session', version: '0' }, { versionNegotiation: { mode: 'auto' } });
await client.connect(new StdioClientTransport({ command: binary, args }));
tell({ protocol: client.getNegotiatedProtocolVersion(), server: client.getServerVersion() });

const does = {
  async list() {
    const { tools } = await client.listTools();
    tell({ sent: 'tools/list', read: [tools.map((tool) => tool.name).join(', ')] });
  },
  async call(step) {
    const notes = [];
    const request = { name: step.call, arguments: step.arguments };
    const result = await client.callTool(request, { onprogress: (note) => notes.push(note) });
    assert.equal(result.isError === true, step.refused === true, JSON.stringify(result.content));
    const read = result.content.map((block) => block.text ?? `${block.type} ${block.uri}`);
    tell({ sent: `tools/call ${step.call}`, arguments: step.arguments, notes, read, refused: step.refused });
  },
  async read(step) {
    const { contents } = await client.readResource({ uri: step.read });
    const car = Buffer.from(contents[0].blob, 'base64');
    assert.ok(car.equals(readFileSync(step.same_as)), 'what was exported is not what was imported');
    const same = `${contents[0].mimeType}: ${car.length} bytes, and they are those of the file that was imported`;
    tell({ sent: `resources/read ${step.read}`, read: [same] });
  },
  async run(step) {
    const printed = execFileSync(step.run[0], step.run.slice(1), { encoding: 'utf8', stdio: 'pipe' });
    tell({ ...step, printed });
  },
};
for (const step of JSON.parse(filled)) {
  await does[Object.keys(step)[0]](step);
}
await client.close();
writeFileSync(out, events.map((event) => `${JSON.stringify(event)}\n`).join(''));
