// SPDX-License-Identifier: Apache-2.0
// The legacy TypeScript client against a fixture behind a gateway: URL. Prints what it got as one line of JSON; whoever
// started it says whether that is right.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CreateMessageRequestSchema, ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';

const [url] = process.argv.slice(2);
const client = new Client({ name: 'a test', version: '1' }, { capabilities: { elicitation: {}, sampling: {} } });
client.setRequestHandler(ElicitRequestSchema, async () => ({
  action: 'accept',
  content: { username: 'ada', email: 'ada@example.com' },
}));
client.setRequestHandler(CreateMessageRequestSchema, async () => ({
  role: 'assistant',
  content: { type: 'text', text: 'as you like' },
  model: 'none',
  stopReason: 'endTurn',
}));
const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);

const text = (result) => result.content[0].text;
const call = (name, args, options) => client.callTool({ name, arguments: args }, undefined, options);
const progress = [];
const got = {
  version: transport.protocolVersion,
  tools: (await client.listTools()).tools.length,
  echo: text(await call('echo', { message: 'hi' })),
  elicited: text(await call('test_elicitation', { message: 'who?' })),
  sampled: text(await call('test_sampling', { prompt: 'say' })),
  resource: (await client.readResource({ uri: 'test://static-text' })).contents[0].text,
  prompt: (await client.getPrompt({ name: 'test_simple_prompt' })).messages[0].content.text,
  at_once: (
    await Promise.all([...Array(20).keys()].map((number) => call('echo', { message: String(number) })))
  ).map(text),
};
await call('test_tool_with_progress', {}, { onprogress: ({ progress: at }) => progress.push(at) });
got.progress = progress;
await transport.terminateSession();
await client.close();
console.log(JSON.stringify(got));
