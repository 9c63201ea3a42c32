// SPDX-License-Identifier: Apache-2.0
// The modern TypeScript client against a fixture behind a gateway: URL and `legacy` or a modern revision. Prints what it
// got as one line of JSON; whoever started it says whether that is right.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const [url, mode] = process.argv.slice(2);
const client = new Client(
  { name: 'a test', version: '1' },
  {
    capabilities: { elicitation: {}, sampling: {} },
    versionNegotiation: { mode: mode === 'legacy' ? 'legacy' : { pin: mode } },
  },
);
client.setRequestHandler('elicitation/create', async () => ({
  action: 'accept',
  content: { username: 'ada', email: 'ada@example.com' },
}));
client.setRequestHandler('sampling/createMessage', async () => ({
  role: 'assistant',
  content: { type: 'text', text: 'as you like' },
  model: 'none',
  stopReason: 'endTurn',
}));
await client.connect(new StreamableHTTPClientTransport(new URL(url)));

const text = (result) => result.content[0].text;
const call = (name, args, options) => client.callTool({ name, arguments: args }, options);
const progress = [];
const got = {
  version: client.getNegotiatedProtocolVersion?.(),
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
await client.close();
console.log(JSON.stringify(got));
