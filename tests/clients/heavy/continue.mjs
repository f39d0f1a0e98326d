// The network code of Continue (VS Code, JetBrains), for each of its providers that octet stands in
// for: chat, text, holes, vectors.
import { constructLlmApi } from '@continuedev/openai-adapters'
import { BASE, KEY, check, finish, run } from './lib.mjs'

const providers = {
  mistral: `${BASE}/v1/`, openai: `${BASE}/v1/`, 'llama.cpp': `${BASE}/v1/`, ollama: BASE }
const chat = { model: 'octet', messages: [{ role: 'user', content: 'Say hello.' }],
  max_tokens: 12, temperature: 0 }
const hole = { model: 'octet', prompt: 'def add(a, b):\n    return ', suffix: '\n\nprint(add(1, 2))',
  max_tokens: 16, temperature: 0, stream: true }
const signal = new AbortController().signal

async function gather(stream, textOf) {
  let text = ''
  for await (const chunk of stream) text += textOf(chunk) ?? ''
  return text
}

for (const [provider, apiBase] of Object.entries(providers)) {
  const api = constructLlmApi({ provider, apiBase, apiKey: KEY })
  let whole = ''
  await run(`continue_${provider}_chat`, async () => {
    const answer = await api.chatCompletionNonStream({ ...chat, stream: false }, signal)
    whole = answer.choices[0].message.content
    check(`continue_${provider}_chat`, whole.length > 0, answer)
  })
  await run(`continue_${provider}_stream`, async () => {
    const text = await gather(api.chatCompletionStream({ ...chat, stream: true }, signal),
      chunk => chunk.choices[0]?.delta?.content)
    check(`continue_${provider}_stream`, text === whole, { text, whole })
  })
  await run(`continue_${provider}_text`, async () => {
    const ask = { model: 'octet', prompt: 'Once upon', max_tokens: 8, temperature: 0 }
    const answer = await api.completionNonStream({ ...ask, stream: false }, signal)
    const text = await gather(api.completionStream({ ...ask, stream: true }, signal),
      chunk => chunk.choices[0]?.text)
    check(`continue_${provider}_text`, text.length > 0 && answer.choices[0].text === text, text)
  })
  await run(`continue_${provider}_fim`, async () => {
    const choices = []
    for await (const chunk of api.fimStream(hole, signal)) choices.push(chunk.choices[0])
    // That there is text is up to the model: small ones may leave the hole as it is.
    check(`continue_${provider}_fim`, choices.at(-1)?.finish_reason &&
      choices.every(choice => typeof choice.delta.content === 'string'), choices)
  })
  await run(`continue_${provider}_embed`, async () => {
    const answer = await api.embed({ model: 'octet', input: ['one', 'two'] })
    check(`continue_${provider}_embed`, answer.data.length === 2 &&
      answer.data[1].embedding.length > 0, answer)
  })
  await run(`continue_${provider}_list`, async () => {
    const models = await api.list()
    check(`continue_${provider}_list`, models[0].object === 'model', models)
  })
}
finish()
