// octet lsp as VS Code's own protocol library hears it, with a model of its own and asking BASE.
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { BASE, check, run, finish } from './lib.mjs'

const lsp = createRequire(import.meta.url)('vscode-languageserver-protocol/node')
const uri = 'file:///w/fibonacci.py'
const text = 'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n    '
const end = { line: 2, character: 4 }

async function start(...options) {
  const server = spawn(process.env.OCTET, ['lsp', ...options, '--debounce', '50', '--budget', '0'],
    { stdio: ['pipe', 'pipe', 'inherit'] })
  const client = lsp.createProtocolConnection(server.stdout, server.stdin)
  const heard = { progress: [], log: [] }
  client.onRequest(lsp.WorkDoneProgressCreateRequest.type, () => {})
  client.onProgress(lsp.WorkDoneProgress.type, 'octet/load', value => heard.progress.push(value.kind))
  client.onNotification(lsp.LogMessageNotification.type, ({ message }) => heard.log.push(message))
  client.listen()
  const { capabilities, serverInfo } = await client.sendRequest(lsp.InitializeRequest.type, {
    processId: process.pid,
    rootUri: 'file:///w',
    capabilities: {
      general: { positionEncodings: ['utf-16'] },
      window: { workDoneProgress: true },
      textDocument: { inlineCompletion: {}, completion: {} },
    },
    initializationOptions: { maxTokens: 16, menu: 'on' },
  })
  await client.sendNotification(lsp.InitializedNotification.type, {})
  await client.sendNotification(lsp.DidOpenTextDocumentNotification.type,
    { textDocument: { uri, languageId: 'python', version: 1, text } })
  const exited = new Promise(resolve => server.on('exit', resolve))
  const inline = (position, kind, token) => client.sendRequest(lsp.InlineCompletionRequest.type, {
    textDocument: { uri }, position, context: { triggerKind: kind },
  }, token)
  const stop = async () => {
    await client.sendRequest(lsp.ShutdownRequest.type)
    await client.sendNotification(lsp.ExitNotification.type)
    return exited
  }
  return { client, capabilities, serverInfo, heard, inline, stop }
}

const { Invoked, Automatic } = lsp.InlineCompletionTriggerKind
let own = ''

await run('lsp_own_model', async () => {
  const s = await start('-m', process.env.MODEL)
  check('lsp_capabilities', s.capabilities.inlineCompletionProvider === true &&
    s.capabilities.textDocumentSync.change === lsp.TextDocumentSyncKind.Incremental,
    s.capabilities)
  const { items } = await s.inline(end, Invoked)
  own = items[0]?.insertText ?? ''
  check('lsp_ghost_text', own.trim() !== '' && lsp.Range.is(items[0].range), items)
  const menu = await s.client.sendRequest(lsp.CompletionRequest.type,
    { textDocument: { uri }, position: end })
  check('lsp_menu', menu.items[0]?.textEdit.newText === own && menu.items[0].label !== '', menu)
  check('lsp_progress', ['', 'begin,end'].includes(s.heard.progress.join()), s.heard)
  check('lsp_ready', s.heard.log.some(line => line.includes('is ready')), s.heard)

  await s.client.sendNotification(lsp.DidChangeTextDocumentNotification.type, {
    textDocument: { uri, version: 2 },
    contentChanges: [{ range: lsp.Range.create(end, end), text: own[0] }],
  })
  const typed = { line: 2, character: 5 }
  const rest = await s.inline(typed, Automatic)
  check('lsp_typed_as_predicted', rest.items[0]?.insertText === own.slice(1), rest)

  const source = new lsp.CancellationTokenSource()
  const cancelled = s.inline({ line: 1, character: 10 }, Automatic, source.token)
  source.cancel()
  const error = await cancelled.catch(e => e)
  check('lsp_cancel', error.code === lsp.LSPErrorCodes.RequestCancelled, error)
  const older = s.inline({ line: 1, character: 9 }, Automatic).catch(e => e)
  await s.inline({ line: 1, character: 8 }, Automatic)
  check('lsp_outdated', (await older).code === lsp.LSPErrorCodes.ContentModified, await older)
  check('lsp_exit', await s.stop() === 0)
})

await run('lsp_server', async () => {
  const s = await start('--server', BASE)
  const { items } = await s.inline(end, Invoked)
  check('lsp_served_is_the_same', items[0]?.insertText === own, [items, own])
  check('lsp_exit_served', await s.stop() === 0)
})

finish()
