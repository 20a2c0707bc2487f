"""The official Python client, both eras: client.py BINARY DATA | client.py --http URL

MCP_TOKEN, if set, is shown to the server over HTTP.
"""

import asyncio
import os
import sys
from contextlib import AsyncExitStack

import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

ACTOR = "did:plc:rilb2cohzwgttp7xjllpyq2i"
PROFILE = f"at://{ACTOR}/app.bsky.actor.profile/self"


def text(result):
    (block,) = result.content
    return block.text


async def check(client, imports):
    names = [tool.name for tool in (await client.list_tools()).tools]
    assert names[:3] == ["at_overview", "at_get", "at_list"], names
    assert ("at_import" in names) == imports, names

    overview = await client.call_tool("at_overview", {"actor": ACTOR})
    assert "signature unchecked" in text(overview)
    assert overview.structured_content["records"] == 23

    seen, cursor = [], {}
    while True:
        page = await client.call_tool("at_list", {"actor": ACTOR, "collection": "app.bsky.feed.post", "limit": 5, **cursor})
        seen += [item["rkey"] for item in page.structured_content["items"]]
        if "next" not in page.structured_content:
            break
        cursor = {"cursor": page.structured_content["next"]}
    assert len(seen) == len(set(seen)) == 12, seen

    record = await client.call_tool("at_get", {"refs": [PROFILE]})
    assert "fx-varied.test" in text(record), text(record)

    # A tool's error is a result, with its own structured content.
    wrong = await client.call_tool("at_list", {"actor": ACTOR, "collection": "post"})
    assert wrong.is_error and wrong.structured_content["code"] == "notFound", wrong
    bad = await client.call_tool("at_get", {})
    assert bad.is_error and bad.structured_content["code"] == "invalidArgument", bad
    unknown = await client.call_tool("at_nothing", {})
    assert unknown.is_error and unknown.structured_content["code"] == "notFound", unknown

    dids = [str(resource.uri) for resource in (await client.list_resources()).resources]
    assert f"at://{ACTOR}" in dids, dids
    (contents,) = (await client.read_resource(PROFILE)).contents
    assert "fx-varied.test" in contents.text, contents
    try:
        await client.read_resource(f"at://{ACTOR}/app.bsky.feed.post/nope")
    except MCPError:
        pass
    else:
        raise AssertionError("a record that does not exist was read")
    return f"{len(dids)} resources"


async def run(where, argument, mode):
    async with AsyncExitStack() as stack:
        if where == "--http":
            token = os.environ.get("MCP_TOKEN")
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers))
            server = streamable_http_client(argument, http_client=http)
        else:
            server = StdioServerParameters(command=where, args=["--data", argument])
        client = await stack.enter_async_context(Client(server, mode=mode))
        found = await check(client, imports=where != "--http")
        return client.protocol_version, found


async def main():
    where, argument = sys.argv[1:]
    # The older era is asked for by its handshake; the newer is what the client finds by itself.
    for mode, expected in [("legacy", "2025-11-25"), ("auto", "2026-07-28")]:
        version, found = await asyncio.wait_for(run(where, argument, mode), 120)
        assert version == expected, (version, expected)
    door = "http" if where == "--http" else "stdio"
    print(f"python mcp 2.x: {door} ok, 2025-11-25 and 2026-07-28, {found}")


asyncio.run(main())
