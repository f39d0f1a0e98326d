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
finish()
