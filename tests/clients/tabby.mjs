// Tabby's agent, the editor's side of its plug-ins, over LSP on stdin and stdout.
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BASE, KEY, check, finish, run } from './lib.mjs'

const home = mkdtempSync(join(tmpdir(), 'octet-tabby-'))
const settings = join(home, '.tabby-client', 'agent')
mkdirSync(settings, { recursive: true })
writeFileSync(join(settings, 'config.toml'),
  `[server]\nendpoint = "${BASE}"\ntoken = "${KEY}"\n[anonymousUsageTracking]\ndisable = true\n`)
const agent = spawn(process.execPath, ['node_modules/tabby-agent/dist/cli.js', '--lsp', '--stdio'], {
  cwd: dirname(fileURLToPath(import.meta.url)), stdio: ['pipe', 'pipe', 'ignore'],
  env: { ...process.env, HOME: home } })
const uri = 'file:///tmp/fib.py'
const lines = ['def fib(n):', '    if n < 2:', '        return n', '    return ', '', 'print(fib(9))']
const waiting = new Map()
let received = Buffer.alloc(0)

function send(message) {
  const text = JSON.stringify({ jsonrpc: '2.0', ...message })
  agent.stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`)
}

function ask(method, params) {
  const id = waiting.size + 1
  send({ id, method, params })
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject })
    setTimeout(() => reject(new Error(`no answer to ${method}`)), 60000).unref()
  })
}

agent.stdout.on('data', data => {
  received = Buffer.concat([received, data])
  for (;;) {
    const head = received.indexOf('\r\n\r\n')
    if (head < 0) return
    const length = Number(/Content-Length: (\d+)/i.exec(received.subarray(0, head).toString())[1])
    if (received.length < head + 4 + length) return
    const message = JSON.parse(received.subarray(head + 4, head + 4 + length).toString())
    received = received.subarray(head + 4 + length)
    const asked = waiting.get(message.id)
    if (message.error) asked?.reject(new Error(message.error.message))
    else asked?.resolve(message.result)
  }
})

await run('tabby_initialize', async () => {
  const result = await ask('initialize', {
    processId: process.pid, rootUri: null, clientInfo: { name: 'octet-checks' },
    capabilities: { textDocument: { completion: {} } } })
  check('tabby_initialize', result.capabilities.completionProvider !== undefined, result)
})
await run('tabby_completion', async () => {
  send({ method: 'initialized', params: {} })
  send({ method: 'textDocument/didOpen', params: { textDocument: {
    uri, languageId: 'python', version: 1, text: lines.join('\n') } } })
  let items = []
  for (let tries = 0; items.length === 0 && tries < 20; tries++) { // it waits for a pause in typing
    await new Promise(resolve => setTimeout(resolve, 500))
    const result = await ask('textDocument/completion', {
      textDocument: { uri }, position: { line: 3, character: lines[3].length },
      context: { triggerKind: 1 } })
    items = result?.items ?? []
  }
  const text = items[0]?.textEdit?.newText ?? items[0]?.insertText ?? ''
  check('tabby_completion', text.trim().length > 0, items)
})
agent.kill()
await new Promise(resolve => agent.on('exit', resolve))
rmSync(home, { recursive: true, force: true })
finish()
