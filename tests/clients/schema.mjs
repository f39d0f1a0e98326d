// Requests and answers against the OpenAPI description that OpenAI publishes of its API, as
// FOLDER/openapi.yml: schema.mjs BASE FOLDER
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import Ajv from 'ajv/dist/2020.js'
import { parse } from 'yaml'
import { BASE, check, finish, run } from './lib.mjs'

const path = join(process.argv[3], 'openapi.yml')
if (!existsSync(path)) {
  console.log(`clients: no ${path}, so nothing is held against OpenAI's schema`)
  process.exit(0)
}

// The description still says "nullable" here and there, which JSON Schema has no word for.
function modern(schema) {
  if (Array.isArray(schema)) return schema.map(modern)
  if (schema === null || typeof schema !== 'object') return schema
  const copy = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, modern(value)]))
  if (typeof copy.nullable !== 'boolean') return copy
  const { nullable, ...rest } = copy
  return nullable ? { anyOf: [rest, { type: 'null' }] } : rest
}

const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true })
ajv.addSchema(modern(parse(readFileSync(path, 'utf8'))), 'openai')

// Why VALUE is not what the schema NAME says, or null.
function wrong(name, value) {
  const validate = ajv.getSchema(`openai#/components/schemas/${name}`)
  return validate(value) ? null : validate.errors.map(e => `${e.instancePath} ${e.message}`)
}

async function post(path, body) {
  const answer = await fetch(`${BASE}${path}`, {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })
  return { status: answer.status, text: await answer.text() }
}

// Where the API itself answers otherwise than its description says: the first token of a prompt has
// no chance, and a choice that goes on has no reason to have ended.
function tidy(body) {
  if (body.object !== 'text_completion') return body
  for (const choice of body.choices) {
    const chances = choice.logprobs
    choice.finish_reason ??= 'stop'
    if (chances?.token_logprobs[0] === null) chances.token_logprobs[0] = 0
    if (chances?.top_logprobs[0] === null) chances.top_logprobs[0] = {}
  }
  return body
}

async function whole(name, path, body, request, response, status = 200) {
  await run(name, async () => {
    const asked = request && wrong(request, body)
    const answer = await post(path, body)
    const found = wrong(response, tidy(JSON.parse(answer.text)))
    check(name, answer.status === status && !asked && !found,
      { status: answer.status, asked, found, text: answer.text })
  })
}

async function stream(name, path, body, request, response) {
  await run(name, async () => {
    const asked = wrong(request, { ...body, stream: true })
    const answer = await post(path, { ...body, stream: true })
    const events = answer.text.split('\n').filter(line => line.startsWith('data: {'))
      .map(line => tidy(JSON.parse(line.slice(6))))
    const bad = events.find(event => wrong(response, event))
    const found = bad && wrong(response, bad)
    check(name, events.length > 1 && !asked && !bad, { asked, type: bad?.type, found, bad })
  })
}

const model = 'octet'
const chat = { model, temperature: 0, max_completion_tokens: 12,
  messages: [{ role: 'system', content: 'Be brief.' },
    { role: 'user', content: [{ type: 'text', text: 'Say hello.' }] }] }
const text = { model, prompt: 'Once upon', max_tokens: 12, temperature: 0 }
const question = { model, input: 'Say hello.', max_output_tokens: 16, temperature: 0 }
const chatRequest = 'CreateChatCompletionRequest', chatAnswer = 'CreateChatCompletionResponse'
const chunk = 'CreateChatCompletionStreamResponse'

await whole('schema_chat', '/v1/chat/completions', chat, chatRequest, chatAnswer)
await whole('schema_chat_logprobs', '/v1/chat/completions',
  { ...chat, n: 2, logprobs: true, top_logprobs: 3 }, chatRequest, chatAnswer)
await stream('schema_chat_stream', '/v1/chat/completions', chat, chatRequest, chunk)
await stream('schema_chat_stream_usage', '/v1/chat/completions',
  { ...chat, stream_options: { include_usage: true } }, chatRequest, chunk)
await stream('schema_chat_stream_logprobs', '/v1/chat/completions',
  { ...chat, logprobs: true, top_logprobs: 1 }, chatRequest, chunk)
await whole('schema_text', '/v1/completions', text,
  'CreateCompletionRequest', 'CreateCompletionResponse')
await whole('schema_text_echo', '/v1/completions',
  { ...text, echo: true, logprobs: 2, n: 2, best_of: 2 },
  'CreateCompletionRequest', 'CreateCompletionResponse')
await stream('schema_text_stream', '/v1/completions', text,
  'CreateCompletionRequest', 'CreateCompletionResponse')
await whole('schema_embeddings', '/v1/embeddings', { model, input: ['one', 'two'] },
  'CreateEmbeddingRequest', 'CreateEmbeddingResponse')
await whole('schema_response', '/v1/responses', question, 'CreateResponse', 'Response')
await stream('schema_response_stream', '/v1/responses', question,
  'CreateResponse', 'ResponseStreamEvent')
await whole('schema_error', '/v1/chat/completions', { ...chat, messages: [] }, null,
  'ErrorResponse', 400)
await run('schema_models', async () => {
  const body = await (await fetch(`${BASE}/v1/models`)).json()
  const found = wrong('ListModelsResponse', body)
  check('schema_models', !found, { found, body })
})
finish()
