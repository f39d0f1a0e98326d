// Vercel's AI SDK with its provider for any compatible server.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai'
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
const cities = ['Paris', 'Rome']
const tooled = (result) => ({ ...ask, prompt: 'Weather in Paris?', maxOutputTokens: 60,
  toolChoice: 'required', tools: { get_weather: tool({
    description: 'The weather of a city',
    inputSchema: jsonSchema({ type: 'object', properties: { city: { type: 'string', enum: cities } },
                              required: ['city'], additionalProperties: false }),
    execute: async () => result }) } })
await run('ai_tool', async () => {
  const answer = await generateText({ ...tooled('sunny'), stopWhen: stepCountIs(2) })
  const calls = answer.steps.flatMap((step) => step.toolCalls)
  check('ai_tool', answer.steps.length === 2 && calls.length === 2 &&
    calls.every((call) => call.toolName === 'get_weather' && cities.includes(call.input.city)),
    answer.steps.map((step) => step.content))
})
await run('ai_tool_stream', async () => {
  const answer = streamText(tooled('sunny'))
  const calls = await answer.toolCalls
  check('ai_tool_stream', await answer.finishReason === 'tool-calls' &&
    cities.includes(calls[0].input.city), calls)
})
finish()
