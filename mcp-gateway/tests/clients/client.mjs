// @modelcontextprotocol/client 2.x, both eras: client.mjs BINARY DATA | client.mjs --http URL
import assert from 'node:assert/strict';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { access, check } from './checks.mjs';

const [where, data] = process.argv.slice(2);
const http = where === '--http';
let found;
for (const [options, version] of [
  [{}, '2025-11-25'],
  [{ versionNegotiation: { mode: 'auto' } }, '2026-07-28'],
]) {
  const client = new Client({ name: 'smoke', version: '0' }, options);
  await client.connect(
    http
      ? new StreamableHTTPClientTransport(new URL(data), access())
      : new StdioClientTransport({ command: where, args: ['--data', data] }),
  );
  const negotiated = client.getNegotiatedProtocolVersion?.();
  assert.equal(negotiated, version);
  found = await check(client, { imports: !http });
  await client.close();
}
console.log(`client 2.x: ${http ? 'http' : 'stdio'} ok, 2025-11-25 and 2026-07-28, ${found}`);
