# SPDX-License-Identifier: Apache-2.0
"""The client of the package `mcp` against a fixture behind a gateway: URL and `legacy` or a modern revision.

Instead of a URL a command may be given, as JSON: it is spoken to on its standard input and output.

Prints what it got as one line of JSON; whoever started it says whether that is right.
"""

import asyncio
import json
import sys

import mcp
from mcp import types


async def elicited(_context, _params):
    return types.ElicitResult(action="accept", content={"username": "ada", "email": "ada@example.com"})


async def sampled(_context, _params):
    text = types.TextContent(type="text", text="as you like")
    return types.CreateMessageResult(role="assistant", content=text, model="none", stop_reason="endTurn")


async def main(url, mode):
    progress = []

    async def on_progress(at, _total, _message):
        progress.append(at)

    def text(result):
        return result.content[0].text

    server = url
    if url.startswith("["):
        program, *arguments = json.loads(url)
        server = mcp.StdioServerParameters(command=program, args=arguments)
    client = mcp.Client(server, mode=mode, elicitation_callback=elicited, sampling_callback=sampled, read_timeout_seconds=60)
    async with client:
        tools = await client.list_tools()
        got = {
            "version": str(client.protocol_version),
            "tools": len(tools.tools),
            "echo": text(await client.call_tool("echo", {"message": "hi"})),
            "elicited": text(await client.call_tool("test_elicitation", {"message": "who?"})),
            "sampled": text(await client.call_tool("test_sampling", {"prompt": "say"})),
            "resource": (await client.read_resource("test://static-text")).contents[0].text,
            "prompt": (await client.get_prompt("test_simple_prompt")).messages[0].content.text,
            "at_once": [
                text(result)
                for result in await asyncio.gather(
                    *[client.call_tool("echo", {"message": str(number)}) for number in range(20)]
                )
            ],
        }
        await client.call_tool("test_tool_with_progress", {}, progress_callback=on_progress)
        got["progress"] = progress
    print(json.dumps(got))


asyncio.run(main(*sys.argv[1:]))
