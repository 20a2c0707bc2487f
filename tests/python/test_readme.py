"""What schema/README.md shows to newcomers works as it stands there."""

import asyncio
import sys

import carrack


async def test_the_client_of_the_readme_prints_posts(place):
    readme = (carrack.SCHEMAS.parent / "README.md").read_text()
    [client] = [block.split("```")[0] for block in readme.split("```python\n")[1:]]
    written = place.work / "client.py"
    written.write_text(client)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, written, place.server.unix.removeprefix("unix:"), place.did),
        cwd=carrack.SCHEMAS.parents[1],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0 and len(output.splitlines()) == 3, output.decode()


async def test_the_readme_knows_every_kind_of_exception(place):
    readme = (carrack.SCHEMAS.parent / "README.md").read_text()
    assert all(f"| `{kind}` |" in readme for kind in carrack.Fault.KINDS)
