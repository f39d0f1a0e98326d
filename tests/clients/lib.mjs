// What the client checks share: BASE is the server's address, KEY any text.
export const BASE = process.argv[2]
export const KEY = 'none'
let failed = 0

export function check(name, good, why = '') {
  if (!good) failed++
  const text = typeof why === 'string' ? why : JSON.stringify(why)
  console.log(good ? `ok ${name}` : `FAIL ${name}: ${String(text).slice(0, 300)}`)
}

// Runs a case; what it throws is its failure.
export async function run(name, body) {
  try {
    await body()
  } catch (error) {
    check(name, false, error?.stack ?? error)
  }
}

export function finish() {
  process.exit(failed ? 1 : 0)
}
