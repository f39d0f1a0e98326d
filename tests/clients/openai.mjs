// The OpenAI SDK.
import OpenAI from 'openai'
import { BASE, KEY, check, finish, run } from './lib.mjs'

const client = new OpenAI({ baseURL: `${BASE}/v1`, apiKey: KEY, maxRetries: 0 })
const messages = [{ role: 'user', content: 'Say hello.' }]
const ask = { model: 'octet', messages, max_tokens: 12, temperature: 0 }

await run('openai_models', async () => {
  const models = await client.models.list()
  check('openai_models', models.data[0].object === 'model', models.data)
})
let whole = ''
await run('openai_chat', async () => {
  const answer = await client.chat.completions.create(ask)
  whole = answer.choices[0].message.content
  check('openai_chat', whole.length > 0 && answer.usage.total_tokens > 0, answer)
})
await run('openai_stream', async () => {
  let text = '', usage = null
  const stream = await client.chat.completions.create({
    ...ask, stream: true, stream_options: { include_usage: true } })
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? ''
    usage = chunk.usage ?? usage
  }
  check('openai_stream', text === whole && usage.completion_tokens > 0, { text, whole, usage })
})
await run('openai_parts_and_n', async () => {
  const answer = await client.chat.completions.create({
    ...ask, n: 2, messages: [{ role: 'user', content: [{ type: 'text', text: 'Say hello.' }] }] })
  check('openai_parts_and_n', answer.choices[1].message.content === whole, answer)
})
await run('openai_logprobs', async () => {
  const answer = await client.chat.completions.create({ ...ask, logprobs: true, top_logprobs: 2 })
  check('openai_logprobs', answer.choices[0].logprobs.content[0].top_logprobs.length === 2)
})
await run('openai_text', async () => {
  const answer = await client.completions.create({
    model: 'octet', prompt: 'def f(x):', suffix: '\nprint(f(1))', max_tokens: 8 })
  check('openai_text', typeof answer.choices[0].text === 'string', answer)
})
await run('openai_embeddings', async () => {
  const ask = { model: 'octet', input: ['one', 'two'] } // asks for base64 by itself
  const answer = await client.embeddings.create(ask)
  const plain = await client.embeddings.create({ ...ask, encoding_format: 'float' })
  const length = Math.hypot(...answer.data[0].embedding)
  check('openai_embeddings', Math.abs(length - 1) < 1e-5 && answer.usage.prompt_tokens > 0 &&
    answer.data[1].embedding.every((x, i) => x === plain.data[1].embedding[i]), length)
})
const question = { model: 'octet', input: 'Say hello.', max_output_tokens: 12, temperature: 0 }
await run('openai_response', async () => {
  const answer = await client.responses.create(question)
  check('openai_response', answer.output_text === whole && answer.usage.output_tokens > 0 &&
    answer.output[0].role === 'assistant', answer)
})
await run('openai_response_items', async () => {
  const answer = await client.responses.create({
    ...question, instructions: 'Be brief.', store: false,
    input: [{ role: 'user', content: [{ type: 'input_text', text: 'Say hello.' }] }] })
  check('openai_response_items', answer.output_text.length > 0 && answer.error === null, answer)
})
await run('openai_response_stream', async () => {
  let text = '', last = null
  for await (const event of await client.responses.create({ ...question, stream: true })) {
    if (event.type === 'response.output_text.delta') text += event.delta
    last = event
  }
  check('openai_response_stream', text === whole &&
    ['response.completed', 'response.incomplete'].includes(last.type), { text, last })
})
await run('openai_response_stream_helper', async () => {
  const final = await client.responses.stream(question).finalResponse()
  check('openai_response_stream_helper', final.output_text === whole, final)
})
await run('openai_response_error', async () => {
  try {
    await client.responses.create({ ...question, previous_response_id: 'resp_1' })
    check('openai_response_error', false, 'no error')
  } catch (error) {
    check('openai_response_error', error.status === 400 && /stored/.test(error.message), error)
  }
})
await run('openai_error', async () => {
  try {
    await client.chat.completions.create({ ...ask, temperature: -5 })
    check('openai_error', false, 'no error')
  } catch (error) {
    check('openai_error', error.status === 400 && /temperature/.test(error.message), error)
  }
})
await run('openai_abort', async () => {
  const stream = await client.chat.completions.create({ ...ask, max_tokens: 4000, stream: true })
  let n = 0
  for await (const chunk of stream) if (++n === 3) stream.controller.abort()
  check('openai_abort', n >= 3)
})
await run('openai_stream_helper', async () => {
  const final = await client.chat.completions.stream(ask).finalContent()
  check('openai_stream_helper', final === whole, final)
})
const schema = { type: 'object', properties: { city: { type: 'string', enum: ['Paris', 'Rome'] } },
                 required: ['city'], additionalProperties: false }
const cities = ['Paris', 'Rome']
const tooled = { ...ask, max_tokens: 60, messages: [{ role: 'user', content: 'Weather in Paris?' }],
                 tool_choice: 'required', tools: [{ type: 'function', function: {
                   name: 'get_weather', description: 'The weather of a city', parameters: schema } }] }
await run('openai_tool', async () => {
  const answer = await client.chat.completions.create(tooled)
  const { message, finish_reason: reason } = answer.choices[0]
  const call = message.tool_calls[0]
  check('openai_tool', reason === 'tool_calls' && call.function.name === 'get_weather' &&
    cities.includes(JSON.parse(call.function.arguments).city), answer)
  const next = await client.chat.completions.create({ ...tooled, tool_choice: 'auto', max_tokens: 12,
    messages: [...tooled.messages, message,
               { role: 'tool', tool_call_id: call.id, content: 'sunny, 20 degrees' }] })
  check('openai_tool_result', next.choices.length === 1, next)
})
await run('openai_tool_stream', async () => {
  const stream = client.chat.completions.stream({ ...tooled, tool_choice: {
    type: 'function', function: { name: 'get_weather' } } })
  const pieces = []
  stream.on('tool_calls.function.arguments.delta', (event) => pieces.push(event.arguments_delta))
  const call = (await stream.finalMessage()).tool_calls[0]
  check('openai_tool_stream_pieces', pieces.join('') === call.function.arguments,
    pieces)
  check('openai_tool_stream', call.type === 'function' && call.id.length > 0 &&
    cities.includes(JSON.parse(call.function.arguments).city), call)
})
await run('openai_tool_runner', async () => {
  let asked = null
  const runner = client.chat.completions.runTools({ ...tooled, tools: [{ type: 'function', function: {
    ...tooled.tools[0].function, parse: JSON.parse,
    function: (given) => { asked = given.city; return 'sunny' } } }] }, { maxChatCompletions: 1 })
  await runner.done().catch(() => {})
  check('openai_tool_runner', cities.includes(asked), asked)
})
const items = { ...question, max_output_tokens: 60, input: [tooled.messages[0]],
                tool_choice: 'required', tools: [{ type: 'function', name: 'get_weather',
                                                   parameters: schema, strict: true }] }
await run('openai_response_tool', async () => {
  const answer = await client.responses.create(items)
  const call = answer.output[0]
  check('openai_response_tool', call.type === 'function_call' &&
    cities.includes(JSON.parse(call.arguments).city), answer)
  const next = await client.responses.create({ ...items, tool_choice: 'auto', max_output_tokens: 12,
    input: [...items.input, ...answer.output,
            { type: 'function_call_output', call_id: call.call_id, output: 'sunny' }] })
  check('openai_response_tool_result', next.error === null, next)
})
await run('openai_response_tool_stream', async () => {
  const call = (await client.responses.stream(items).finalResponse()).output[0]
  check('openai_response_tool_stream', call.type === 'function_call' &&
    cities.includes(JSON.parse(call.arguments).city), call)
})
finish()
