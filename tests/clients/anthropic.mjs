// Anthropic's SDK.
import Anthropic from '@anthropic-ai/sdk'
import { BASE, KEY, check, finish, run } from './lib.mjs'

const client = new Anthropic({ baseURL: BASE, apiKey: KEY, maxRetries: 0 })
const ask = { model: 'octet', max_tokens: 12, temperature: 0, system: 'Be brief.',
              messages: [{ role: 'user', content: [{ type: 'text', text: 'Say hello.' }] }] }

let whole = ''
await run('anthropic_message', async () => {
  const answer = await client.messages.create(ask)
  whole = answer.content[0].text
  check('anthropic_message', whole.length > 0 && answer.usage.output_tokens > 0 &&
    ['end_turn', 'max_tokens'].includes(answer.stop_reason), answer)
})
await run('anthropic_stream', async () => {
  const final = await client.messages.stream(ask).finalMessage()
  check('anthropic_stream', final.content[0].text === whole && final.stop_reason, final)
})
await run('anthropic_stop', async () => {
  const stop = whole.slice(3, 5)
  const answer = await client.messages.create({ ...ask, stop_sequences: [stop] })
  check('anthropic_stop', answer.stop_reason === 'stop_sequence' && answer.stop_sequence === stop,
    answer)
})
await run('anthropic_count', async () => {
  const { messages, model, system } = ask
  const { input_tokens } = await client.messages.countTokens({ model, messages, system })
  check('anthropic_count', input_tokens > 0)
})
await run('anthropic_prefill', async () => {
  const messages = [...ask.messages, { role: 'assistant', content: whole.slice(0, 5) }]
  const answer = await client.messages.create({ ...ask, messages })
  check('anthropic_prefill', answer.content[0].type === 'text', answer)
})
await run('anthropic_events', async () => {
  const kinds = []
  for await (const event of await client.messages.create({ ...ask, stream: true })) {
    kinds.push(event.type)
  }
  check('anthropic_events', kinds[0] === 'message_start' && kinds.at(-1) === 'message_stop', kinds)
})
await run('anthropic_overflow', async () => {
  try {
    await client.messages.create({ ...ask, system: 'word '.repeat(20000) })
    check('anthropic_overflow', false, 'no error')
  } catch (error) {
    check('anthropic_overflow', error.status === 400 && /prompt is too long/.test(error.message),
      error.message)
  }
})
await run('anthropic_error', async () => {
  try {
    await client.messages.create({ ...ask, messages: [] })
    check('anthropic_error', false, 'no error')
  } catch (error) {
    check('anthropic_error', error.status === 400 && error.error.type === 'error', error)
  }
})
const tooled = { ...ask, max_tokens: 60, messages: [{ role: 'user', content: 'Weather in Paris?' }],
                 tool_choice: { type: 'any' }, tools: [{
                   name: 'get_weather', description: 'The weather of a city', input_schema: {
                     type: 'object', properties: { city: { type: 'string', enum: ['Paris', 'Rome'] } },
                     required: ['city'], additionalProperties: false } }] }
const isWeather = (answer) => answer.stop_reason === 'tool_use' &&
  answer.content[0].name === 'get_weather' && ['Paris', 'Rome'].includes(answer.content[0].input.city)
await run('anthropic_tool', async () => {
  const answer = await client.messages.create(tooled)
  check('anthropic_tool', isWeather(answer), answer)
  const next = await client.messages.create({ ...tooled, tool_choice: { type: 'auto' },
    max_tokens: 12, messages: [...tooled.messages, { role: 'assistant', content: answer.content },
                               { role: 'user', content: [{ type: 'tool_result', content: 'sunny',
                                                           tool_use_id: answer.content[0].id }] }] })
  check('anthropic_tool_result', next.content.length > 0, next)
})
await run('anthropic_tool_stream', async () => {
  const answer = await client.messages.stream({ ...tooled, tool_choice: {
    type: 'tool', name: 'get_weather' } }).finalMessage()
  check('anthropic_tool_stream', isWeather(answer), answer)
})
finish()
