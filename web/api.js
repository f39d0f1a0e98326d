// What the page asks the server, and how answers are read.
import {load, save} from './dom.js';

const keyName = 'octet-key';
let askForKey = async () => false;
let asking = null;

// ASK shows the field for the key, and resolves to whether there is a new one.
export function onKeyNeeded(ask) { askForKey = ask; }
export const hasKey = () => Boolean(load(keyName, '', sessionStorage));
export function setKey(key) { save(keyName, key || undefined, sessionStorage); }

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function errorOf(response) {
  const text = await response.text();
  try {
    const {error} = JSON.parse(text);
    return new ApiError(String(error.message ?? error), response.status);
  } catch {
    return new ApiError(text.slice(0, 300) || `HTTP ${response.status}`, response.status);
  }
}

// QUIET: a missing key is an error, rather than a reason to ask.
async function ask(path, {body, signal, quiet} = {}) {
  for (;;) {
    const headers = {}, key = load(keyName, '', sessionStorage);
    if (key) headers.Authorization = `Bearer ${key}`;
    if (body) headers['Content-Type'] = 'application/json';
    const response = await fetch(path, {method: body ? 'POST' : 'GET', headers, signal,
      body: body && JSON.stringify(body), cache: 'no-store'}).catch((error) => {
      throw error.name === 'AbortError' ? error : new ApiError('The server does not answer.', 0);
    });
    if (response.ok) return response;
    if (response.status !== 401 || quiet) throw await errorOf(response);
    const stale = load(keyName, '', sessionStorage) !== key;
    asking ??= askForKey(Boolean(key)).finally(() => { asking = null; });
    if (!stale && !(await asking)) throw await errorOf(response);
  }
}

export const getModels = async () => (await (await ask('v1/models')).json()).data;
export const getProps = async () => (await ask('props', {quiet: true})).json();

async function* linesOf(reader) {
  let rest = '', looked = 0;
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    rest += value;
    let from = 0;
    for (let end; (end = rest.indexOf('\n', Math.max(from, looked))) >= 0; from = end + 1) {
      yield rest.slice(from, end);
    }
    rest = rest.slice(from);
    looked = rest.length;
  }
}

// The data of the events of a stream, parsed. Who stops reading closes the connection.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for await (const line of linesOf(reader)) {
      const data = line.startsWith('data:') ? line.slice(5).trim() : '';
      if (data && data !== '[DONE]') yield JSON.parse(data);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// Streams one answer; ON_TEXT gets the pieces. Resolves to {finish, stats}; with a signal that was
// aborted to finish 'stopped', and then the stats are what could be seen from here.
export async function streamChat({model, messages, sampling, signal, onText, onStats}) {
  const begun = performance.now();
  const seen = {pieces: 0, first: 0, ms: 0};
  const out = {finish: 'stopped', stats: seen};
  const body = {model, messages, stream: true, stream_options: {include_usage: true}, ...sampling};
  try {
    for await (const event of events(await ask('v1/chat/completions', {body, signal}))) {
      if (event.error) throw new ApiError(String(event.error.message ?? event.error), 200);
      const choice = event.choices?.[0], text = choice?.delta?.content;
      seen.ms = performance.now() - begun;
      if (typeof text === 'string' && text) {
        seen.pieces++;
        seen.first ||= seen.ms;
        onText(text);
      }
      if (choice?.finish_reason) out.finish = String(choice.finish_reason);
      if (event.usage) readUsage(seen, event);
      onStats?.(seen);
    }
  } catch (error) {
    if (error.name !== 'AbortError') throw error;
    seen.ms = performance.now() - begun;
  }
  return out;
}

function readUsage(stats, {usage, timings}) {
  const number = (value) => (Number.isFinite(value) ? value : 0);
  stats.prompt = number(usage.prompt_tokens);
  stats.generated = number(usage.completion_tokens);
  stats.cached = number(usage.prompt_tokens_details?.cached_tokens);
  stats.speed = number(timings?.predicted_per_second);
  stats.prefill = number(timings?.prompt_per_second);
  stats.guessed = number(timings?.draft_n_accepted);
}

export async function fillHole(body, signal) {
  const begun = performance.now();
  const result = await (await ask('infill', {body, signal})).json();
  return {...result, ms: performance.now() - begun};
}

// Prometheus' text as [{name, labels: {}, value}].
export async function getMetrics() {
  const text = await (await ask('metrics', {quiet: true})).text();
  const rows = [];
  for (const line of text.split('\n')) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{([^}]*)\})? (\S+)/.exec(line);
    if (!match) continue;
    const labels = {};
    for (const [, name, value] of (match[2] ?? '').matchAll(/(\w+)="([^"]*)"/g)) labels[name] = value;
    rows.push({name: match[1], labels, value: Number(match[3])});
  }
  return rows;
}
