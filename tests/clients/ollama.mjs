// Ollama's client.
import { Ollama } from 'ollama'
import { BASE, check, finish, run } from './lib.mjs'

const client = new Ollama({ host: BASE })
const options = { num_predict: 12, temperature: 0 }
const messages = [{ role: 'user', content: 'Say hello.' }]

await run('ollama_list', async () => {
  const { models } = await client.list()
  const shown = await client.show({ model: models[0].name })
  check('ollama_list', models[0].details.format === 'gguf' &&
    shown.capabilities.includes('completion'), shown)
  check('ollama_ps', (await client.ps()).models.length === models.length)
  check('ollama_version', /^\d+\.\d+\.\d+$/.test((await client.version()).version))
})
await run('ollama_embed', async () => {
  const { embeddings } = await client.embed({ model: 'any', input: ['one', 'two'] })
  const { embedding } = await client.embeddings({ model: 'any', prompt: 'two' })
  const length = Math.hypot(...embedding)
  check('ollama_embed', embeddings.length === 2 && embedding.every(
    (x, i) => Math.abs(x / length - embeddings[1][i]) < 1e-5), length)
})
let whole = ''
await run('ollama_chat', async () => {
  const answer = await client.chat({ model: 'any:latest', messages, options })
  whole = answer.message.content
  check('ollama_chat', answer.done && answer.eval_count > 0 && whole.length > 0, answer)
})
await run('ollama_chat_stream', async () => {
  let text = '', last = null
  for await (const part of await client.chat({ model: 'any', messages, options, stream: true })) {
    text += part.message.content
    last = part
  }
  check('ollama_chat_stream', text === whole && last.done && last.eval_duration >= 0,
    { text, whole })
})
await run('ollama_generate', async () => {
  const answer = await client.generate({ model: 'any', prompt: 'int main', raw: true, options })
  check('ollama_generate', typeof answer.response === 'string' && answer.done, answer)
  const hole = await client.generate({ model: 'any', prompt: 'a = ', suffix: '\nb = 2', options })
  check('ollama_suffix', typeof hole.response === 'string' && hole.done, hole)
  const loaded = await client.generate({ model: 'any', prompt: '' })
  check('ollama_load', loaded.done && loaded.done_reason === 'load', loaded)
})
await run('ollama_context', async () => {
  const ask = { model: 'any', system: 'Be brief.', options }
  const first = await client.generate({ ...ask, prompt: 'My name is Ada.' })
  const second = await client.generate({ ...ask, prompt: 'Who am I?', context: first.context })
  check('ollama_context', second.prompt_eval_count > first.context.length, second)
})
await run('ollama_abort', async () => {
  let n = 0
  const stream = await client.generate({ model: 'any', prompt: 'Count.', stream: true,
                                         options: { num_predict: 4000, ignore_eos: true } })
  try {
    for await (const part of stream) if (++n === 3) stream.abort()
    check('ollama_abort', false, 'went on')
  } catch (error) {
    // Parts that arrived together with the third one are still handed out.
    check('ollama_abort', n >= 3 && n < 200 && error.name === 'AbortError', [n, error.name])
  }
})
await run('ollama_overflow', async () => {
  try {
    await client.generate({ model: 'any', prompt: 'word '.repeat(20000), stream: true })
    check('ollama_overflow', false, 'no error')
  } catch (error) {
    check('ollama_overflow', error.status_code === 400 &&
      /context_length_exceeded/.test(error.message), error.message)
  }
})
await run('ollama_error', async () => {
  try {
    await client.chat({ model: 'any', messages, options: { temperature: -1 } })
    check('ollama_error', false, 'no error')
  } catch (error) {
    check('ollama_error', /temperature/.test(error.message), error.message)
  }
})
const parameters = { type: 'object', properties: { city: { type: 'string', enum: ['Paris', 'Rome'] } },
                     required: ['city'], additionalProperties: false }
// This API has no way to require a call: a format that is one stands in for a model that calls.
const tooled = { model: 'any', messages: [{ role: 'user', content: 'Weather in Paris?' }],
                 options: { num_predict: 60, temperature: 0 },
                 tools: [{ type: 'function', function: { name: 'get_weather', parameters,
                                                         description: 'The weather of a city' } }],
                 format: { type: 'object', properties: { name: { const: 'get_weather' },
                                                         arguments: parameters },
                           required: ['name', 'arguments'], additionalProperties: false } }
const isWeather = (call) => call.function.name === 'get_weather' &&
  ['Paris', 'Rome'].includes(call.function.arguments.city)
await run('ollama_tool', async () => {
  const { message } = await client.chat(tooled)
  check('ollama_tool', isWeather(message.tool_calls[0]), message)
  const next = await client.chat({ ...tooled, format: undefined, options,
    messages: [...tooled.messages, message,
               { role: 'tool', tool_name: 'get_weather', content: 'sunny' }] })
  check('ollama_tool_result', next.done, next)
})
await run('ollama_tool_stream', async () => {
  const calls = []
  for await (const part of await client.chat({ ...tooled, stream: true })) {
    calls.push(...part.message.tool_calls ?? [])
  }
  check('ollama_tool_stream', calls.length === 1 && isWeather(calls[0]), calls)
})
finish()
