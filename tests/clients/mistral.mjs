// Mistral's SDK, which checks every field of an answer.
import { Mistral } from '@mistralai/mistralai'
import { BASE, KEY, check, finish, run } from './lib.mjs'

const client = new Mistral({ apiKey: KEY, serverURL: BASE })
const messages = [{ role: 'user', content: 'Say hello.' }]
const ask = { model: 'open-mistral-7b', messages, maxTokens: 12, temperature: 0 }

await run('mistral_models', async () => {
  const models = await client.models.list()
  const model = models.data[0]
  check('mistral_models', model.capabilities.completionFim === true && model.type === 'base', model)
})
await run('mistral_chat', async () => {
  const answer = await client.chat.complete({ ...ask, randomSeed: 3, safePrompt: false })
  check('mistral_chat', typeof answer.choices[0].message.content === 'string', answer)
})
await run('mistral_stream', async () => {
  let text = '', reason = null
  for await (const event of await client.chat.stream(ask)) {
    text += event.data.choices[0].delta.content ?? ''
    reason = event.data.choices[0].finishReason ?? reason
  }
  check('mistral_stream', text.length > 0 && reason !== null, { text, reason })
})
await run('mistral_prefix', async () => {
  const answer = await client.chat.complete({
    ...ask, messages: [...messages, { role: 'assistant', content: 'Hel', prefix: true }] })
  check('mistral_prefix', typeof answer.choices[0].message.content === 'string', answer)
})
await run('mistral_embeddings', async () => {
  const answer = await client.embeddings.create({ model: 'mistral-embed', inputs: ['one', 'two'] })
  check('mistral_embeddings', answer.data.length === 2 && answer.data[1].embedding.length > 0 &&
    answer.usage.promptTokens > 0, answer)
})
const hole = { model: 'codestral-latest', prompt: 'def add(a, b):\n    return ',
               suffix: '\n\nprint(add(1, 2))', maxTokens: 12, temperature: 0 }
await run('mistral_fim', async () => {
  const answer = await client.fim.complete(hole)
  check('mistral_fim', typeof answer.choices[0].message.content === 'string' &&
    answer.usage.promptTokens > 0, answer)
})
await run('mistral_fim_stream', async () => {
  let n = 0
  for await (const event of await client.fim.stream(hole)) {
    if (typeof event.data.choices[0].delta.content === 'string') n++
  }
  check('mistral_fim_stream', n > 0)
})
const tooled = { ...ask, maxTokens: 60, toolChoice: 'any', messages: [
  { role: 'user', content: 'Weather in Paris?' }], tools: [{ type: 'function', function: {
  name: 'get_weather', description: 'The weather of a city', parameters: {
    type: 'object', properties: { city: { type: 'string', enum: ['Paris', 'Rome'] } },
    required: ['city'], additionalProperties: false } } }] }
const isWeather = (call) => {
  const given = call.function.arguments
  const { city } = typeof given === 'string' ? JSON.parse(given) : given
  return call.function.name === 'get_weather' && ['Paris', 'Rome'].includes(city)
}
await run('mistral_tool', async () => {
  const answer = await client.chat.complete(tooled)
  const { message, finishReason } = answer.choices[0]
  const call = message.toolCalls[0]
  check('mistral_tool', finishReason === 'tool_calls' && isWeather(call), answer)
  const next = await client.chat.complete({ ...tooled, toolChoice: 'auto', maxTokens: 12,
    messages: [...tooled.messages, message, { role: 'tool', name: 'get_weather', content: 'sunny',
                                              toolCallId: call.id }] })
  check('mistral_tool_result', next.choices.length === 1, next)
})
await run('mistral_tool_stream', async () => {
  const calls = []
  let reason = null
  for await (const event of await client.chat.stream(tooled)) {
    calls.push(...event.data.choices[0].delta.toolCalls ?? [])
    reason = event.data.choices[0].finishReason ?? reason
  }
  check('mistral_tool_stream', reason === 'tool_calls' && calls.length === 1 && isWeather(calls[0]),
    calls)
})
finish()
