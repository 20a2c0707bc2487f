// @modelcontextprotocol/sdk 1.x, the client most deployed: sdk.mjs BINARY DATA SAMPLE | sdk.mjs --http URL
import assert from 'node:assert/strict';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { access, check } from './checks.mjs';

const [where, data, sample] = process.argv.slice(2);
const http = where === '--http';
const transport = http
  ? new StreamableHTTPClientTransport(new URL(data), access())
  : new StdioClientTransport({ command: where, args: ['--data', data] });
const client = new Client({ name: 'smoke', version: '0' });
await client.connect(transport);
if (!http) {
  for (const name of ['varied.car', 'varied-friend.car']) {
    const told = [];
    const result = await client.callTool(
      { name: 'at_import', arguments: { source: `${sample}/${name}` } },
      undefined,
      { onprogress: (progress) => told.push(progress.progress) },
    );
    assert.notEqual(result.isError, true, result.content?.[0]?.text);
    assert.ok(told.length > 0, 'no progress');
    assert.deepEqual(told, [...told].sort((a, b) => a - b));
  }
}
const found = await check(client, { imports: !http });
await client.close();
console.log(`sdk 1.x: ${http ? 'http' : 'stdio'} ok, ${found}`);
