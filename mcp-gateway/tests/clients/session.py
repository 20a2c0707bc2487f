"""A whole session with the official Python client over HTTP: session.py URL EVENTS

The steps are session.json's, with what $NAMES stand for taken from the environment; what is sent and read goes to EVENTS, one
JSON object a line, which transcript.py makes readable.
"""

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

STEPS = Path(__file__).with_name("session.json").read_text()


class Session:
    def __init__(self, client, events):
        self.client = client
        self.tell = events.append

    async def list(self, _step):
        tools = (await self.client.list_tools()).tools
        self.tell({"sent": "tools/list", "read": [", ".join(tool.name for tool in tools)]})

    async def call(self, step):
        notes = []

        async def note(progress, total, message):
            notes.append({"progress": progress, "total": total, "message": message})

        sent = {"sent": f"tools/call {step['call']}", "arguments": step["arguments"]}
        try:
            result = await self.client.call_tool(step["call"], step["arguments"], progress_callback=note)
        except MCPError as error:
            assert step.get("refused"), error
            self.tell({**sent, "read": [str(error)], "refused": True})
            return
        assert bool(result.is_error) == step.get("refused", False), result.content
        read = [block.text if block.type == "text" else f"{block.type} {block.uri}" for block in result.content]
        self.tell({**sent, "notes": notes, "read": read, "refused": result.is_error})

    async def read(self, step):
        (contents,) = (await self.client.read_resource(step["read"])).contents
        car = base64.b64decode(contents.blob)
        assert car == Path(step["same_as"]).read_bytes(), "what was exported is not what was imported"
        same = f"{contents.mime_type}: {len(car)} bytes, and they are those of the file that was imported"
        self.tell({"sent": f"resources/read {step['read']}", "read": [same]})

    async def run(self, step):
        printed = subprocess.run(step["run"], check=True, capture_output=True, text=True).stdout
        self.tell({**step, "printed": printed})


async def main():
    url, out = sys.argv[1:]
    events = []
    headers = {"Authorization": f"Bearer {Path(os.environ['TOKENFILE']).read_text().strip()}"}
    filled = re.sub(r"\$([A-Z]+)", lambda name: os.environ[name[1]], STEPS)
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            events.append({"protocol": client.protocol_version, "server": client.server_info.model_dump()})
            session = Session(client, events)
            for step in json.loads(filled):
                await getattr(session, next(iter(step)))(step)
    Path(out).write_text("".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events))


asyncio.run(asyncio.wait_for(main(), 120))
