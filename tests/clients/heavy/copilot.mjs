// GitHub's Copilot CLI, offline and with no account: copilot.mjs BASE. Its prompt has some
// 12 thousand tokens, tools included.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BASE, check, finish, run } from './lib.mjs'

const MOST_TOKENS = 24

async function metric(name) {
  const text = await (await fetch(`${BASE}/metrics`)).text()
  return Number(new RegExp(`^${name}\\{.*\\} (\\S+)$`, 'm').exec(text)[1])
}

function copilot(home) {
  const binary = createRequire(import.meta.url).resolve(`@github/copilot-linux-${process.arch}`)
  const child = spawn(binary, ['-p', 'Say hello.', '--silent', '--stream', 'on'], {
    cwd: home, stdio: ['ignore', 'pipe', 'pipe'], timeout: 170000,
    env: { PATH: process.env.PATH, HOME: home, COPILOT_OFFLINE: '1', COPILOT_MODEL: 'octet',
      COPILOT_PROVIDER_BASE_URL: `${BASE}/v1`,
      COPILOT_PROVIDER_MAX_OUTPUT_TOKENS: String(MOST_TOKENS) } })
  let out = '', errors = ''
  child.stdout.on('data', data => { out += data })
  child.stderr.on('data', data => { errors += data })
  return new Promise(resolve => child.on('close', code => resolve({ code, out, errors })))
}

const home = mkdtempSync(join(tmpdir(), 'octet-copilot-'))
await run('copilot', async () => {
  const { code, out, errors } = await copilot(home)
  const prompt = await metric('octet_prompt_tokens_total')
  const generated = await metric('octet_generated_tokens_total')
  check('copilot_asks', prompt > 4000, { prompt, errors })
  // A cut answer is asked to go on, and it ends in an error where a small model has no more to say.
  check('copilot_answers', (code === 0 || /No response was returned/.test(errors)) &&
    out.trim().length > 0 && generated > 0,
    { code, out, errors, generated })
})
rmSync(home, { recursive: true, force: true })
finish()
