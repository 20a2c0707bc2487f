// What every client has to see, whatever its version and transport.
import assert from 'node:assert/strict';

export const ACTOR = 'did:plc:rilb2cohzwgttp7xjllpyq2i';
const PROFILE = `at://${ACTOR}/app.bsky.actor.profile/self`;

// How a client gets in over HTTP: MCP_TOKEN, if set, is shown with every request.
export function access() {
  const token = process.env.MCP_TOKEN;
  return token ? { requestInit: { headers: { Authorization: `Bearer ${token}` } } } : {};
}

export async function check(client, { imports }) {
  const { tools } = await client.listTools();
  const names = tools.map((tool) => tool.name);
  assert.deepEqual(names.slice(0, 3), ['at_overview', 'at_get', 'at_list']);
  assert.equal(names.includes('at_import'), imports);

  // The clients themselves check structuredContent against the outputSchema.
  const overview = await client.callTool({ name: 'at_overview', arguments: { actor: ACTOR } });
  assert.match(overview.content[0].text, /signature unchecked/);
  assert.equal(overview.structuredContent.records, 23);

  const page = { name: 'at_list', arguments: { actor: ACTOR, collection: 'app.bsky.feed.post', limit: 5 } };
  const seen = [];
  for (;;) {
    const { structuredContent } = await client.callTool(page);
    seen.push(...structuredContent.items.map((item) => item.rkey));
    if (!structuredContent.next) break;
    page.arguments.cursor = structuredContent.next;
  }
  assert.equal(seen.length, 12);
  assert.equal(new Set(seen).size, 12);

  const refs = seen.map((rkey) => `${ACTOR},app.bsky.feed.post,${rkey}`);
  const records = await client.callTool({ name: 'at_get', arguments: { refs } });
  assert.equal(records.structuredContent.items.filter((item) => item.cid).length, 12);

  // A tool's error is a result, with its own structured content.
  const wrong = await client.callTool({ name: 'at_list', arguments: { actor: ACTOR, collection: 'post' } });
  assert.equal(wrong.isError, true);
  assert.equal(wrong.structuredContent.code, 'notFound');
  const bad = await client.callTool({ name: 'at_get', arguments: {} });
  assert.equal(bad.structuredContent.code, 'invalidArgument');

  const unknown = await client.callTool({ name: 'at_nothing', arguments: {} });
  assert.equal(unknown.structuredContent.code, 'notFound');

  const { resources } = await client.listResources();
  assert.ok(resources.some((resource) => resource.uri === `at://${ACTOR}`));
  const { contents } = await client.readResource({ uri: PROFILE });
  assert.equal(contents.length, 1);
  assert.match(contents[0].text, /fx-varied\.test/);
  await assert.rejects(client.readResource({ uri: `at://${ACTOR}/app.bsky.feed.post/nope` }));
  return `${resources.length} resources`;
}
