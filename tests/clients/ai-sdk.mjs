// Vercel's AI SDK with its provider for any compatible server.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { generateText, streamText } from 'ai'
import { BASE, KEY, check, finish, run } from './lib.mjs'

const provider = createOpenAICompatible({ name: 'octet', baseURL: `${BASE}/v1`, apiKey: KEY,
                                          includeUsage: true })
const ask = { model: provider('octet'), prompt: 'Say hello.', maxOutputTokens: 12, temperature: 0,
              maxRetries: 0 }

let whole = ''
await run('ai_generate', async () => {
  const answer = await generateText(ask)
  whole = answer.text
  check('ai_generate', whole.length > 0 && answer.usage.outputTokens > 0, answer.usage)
})
await run('ai_stream', async () => {
  const answer = streamText(ask)
  let text = ''
  for await (const part of answer.textStream) text += part
  check('ai_stream', text === whole && (await answer.usage).outputTokens > 0, text)
})
await run('ai_completion', async () => {
  const answer = await generateText({ ...ask, model: provider.completionModel('octet') })
  check('ai_completion', answer.text.length >= 0 && answer.finishReason !== 'error', answer)
})
finish()
