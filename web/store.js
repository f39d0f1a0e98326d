// Chats and where they are kept: in this browser's storage, one entry per chat. A chat is a tree of
// turns (a question and the answers to it). A turn follows certain answers of its parent; it is in
// view while those are shown, so that another answer, or another wording of the question, begins a
// branch and loses nothing.
//
//   chat    {id, title, created, updated, system, sampling, models: [name, name?], turns, next}
//   turn    {id, parent, after: [answer id], text, files: [{name, text}], answers, shown: [id, id],
//            next}               parents come before their children; next: the child chosen last
//   answer  {id, lane: 0|1, model, text, finish, error, stats}
import {load, randomId, save} from './dom.js';

const prefix = 'octet-chat-';
export const chats = new Map();

export function newChat(like) {
  const now = Date.now();
  return {id: randomId(), title: '', created: now, updated: now, system: like?.system ?? '',
    sampling: {...like?.sampling}, models: [...(like?.models ?? [])], turns: [], next: null};
}
export function newTurn(parent, text, files) {
  return {id: randomId(), parent: parent?.id ?? null, after: parent ? parent.shown.filter(Boolean) : [],
    text, files, answers: [], shown: [null, null], next: null};
}
export const newAnswer = (lane, model) => (
  {id: randomId(), lane, model, text: '', finish: null, error: '', stats: null});

// ---- The branch in view ----
export function siblings(chat, parent) {
  const id = parent?.id ?? null;
  return chat.turns.filter((turn) => turn.parent === id &&
    (!parent || turn.after.every((answer) => parent.shown.includes(answer))));
}
export function branch(chat) {
  const turns = [];
  for (let at = null; ;) {
    const list = siblings(chat, at), want = at ? at.next : chat.next;
    at = list.find((turn) => turn.id === want) ?? list.at(-1);
    if (!at) return turns;
    turns.push(at);
  }
}
export function choose(chat, turn) {
  const parent = chat.turns.find((each) => each.id === turn.parent);
  (parent ?? chat).next = turn.id;
}
export const answersOf = (turn, lane) => turn.answers.filter((answer) => answer.lane === lane);
export const shownAnswer = (turn, lane) => turn.answers.find((answer) => answer.id === turn.shown[lane]);

// A question as the model gets it: its files in fences that none of them contains.
export function questionText(turn) {
  const files = turn.files.map(({name, text}) => {
    const longest = Math.max(2, ...[...text.matchAll(/`{3,}/g)].map((match) => match[0].length));
    const mark = '`'.repeat(longest + 1), ending = /\.(\w{1,10})$/.exec(name)?.[1] ?? '';
    return `${name}:\n${mark}${ending}\n${text.replace(/\n$/, '')}\n${mark}\n\n`;
  });
  return files.join('') + turn.text;
}

// What is sent for an answer to LAST in LANE: everything before it as that lane saw it.
export function messagesFor(chat, last, lane) {
  const messages = chat.system.trim() ? [{role: 'system', content: chat.system}] : [];
  const byId = new Map(chat.turns.map((turn) => [turn.id, turn]));
  const turns = [];
  for (let at = last; at; at = byId.get(at.parent)) turns.unshift(at);
  for (const turn of turns) {
    messages.push({role: 'user', content: questionText(turn)});
    const answer = turn === last ? null : shownAnswer(turn, lane) ?? shownAnswer(turn, 0);
    if (answer?.text) messages.push({role: 'assistant', content: answer.text});
  }
  return messages;
}

// ---- What comes from outside is taken apart and put together anew ----
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const text = (value) => (typeof value === 'string' ? value : '');
const list = (value) => (Array.isArray(value) ? value : []);
const number = (value, otherwise) => (Number.isFinite(value) ? value : otherwise);
const idOr = (value, otherwise) => (/^[0-9a-f]{16}$/.test(value) ? value : otherwise);

function reviveSampling(raw) {
  const out = {};
  for (const [key, value] of Object.entries(isObject(raw) ? raw : {})) {
    const fine = Number.isFinite(value) || (key === 'stop' && list(value).every((s) => text(s) === s));
    if (/^[a-z_]{1,40}$/.test(key) && fine) out[key] = value;
  }
  return out;
}
function reviveAnswer(raw) {
  const stats = Object.entries(isObject(raw.stats) ? raw.stats : {})
    .filter(([, value]) => Number.isFinite(value));
  return {id: idOr(raw.id, randomId()), lane: raw.lane === 1 ? 1 : 0, model: text(raw.model),
    text: text(raw.text), finish: text(raw.finish) || 'stopped', error: text(raw.error),
    stats: stats.length > 0 ? Object.fromEntries(stats) : null};
}
function reviveTurn(raw) {
  const answers = list(raw.answers).filter(isObject).map(reviveAnswer);
  const shown = [0, 1].map((lane) => {
    const own = answers.filter((answer) => answer.lane === lane);
    return (own.find((answer) => answer.id === list(raw.shown)[lane]) ?? own.at(-1))?.id ?? null;
  });
  return {id: idOr(raw.id, randomId()), parent: idOr(raw.parent, null),
    after: list(raw.after).filter((id) => idOr(id, null)), text: text(raw.text),
    files: list(raw.files).filter(isObject).map((file) => ({name: text(file.name), text: text(file.text)})),
    answers, shown, next: idOr(raw.next, null)};
}
// null: no chat at all.
export function reviveChat(raw) {
  if (!isObject(raw) || !Array.isArray(raw.turns)) return null;
  const now = Date.now(), known = new Set([null]);
  const turns = raw.turns.filter(isObject).map(reviveTurn).filter((turn) => {
    const fits = known.has(turn.parent) && !known.has(turn.id);
    if (fits) known.add(turn.id);
    return fits;
  });
  return {id: idOr(raw.id, randomId()), title: text(raw.title).slice(0, 200),
    created: number(raw.created, now), updated: number(raw.updated, now), system: text(raw.system),
    sampling: reviveSampling(raw.sampling),
    models: list(raw.models).slice(0, 2).map(text).filter(Boolean), turns, next: idOr(raw.next, null)};
}

// ---- Keeping ----
export function readChats() {
  chats.clear();
  let names = [];
  try { names = Object.keys(localStorage); } catch { /* forbidden: nothing is kept */ }
  for (const name of names) {
    const chat = name.startsWith(prefix) ? reviveChat(load(name, null)) : null;
    if (chat) chats.set(chat.id, chat);
  }
}
// False: the storage is full, or there is none.
export function keepChat(chat) {
  chats.set(chat.id, chat);
  return save(prefix + chat.id, chat);
}
export function dropChat(chat) {
  chats.delete(chat.id);
  save(prefix + chat.id, undefined);
}

export const titleOf = (chat) => chat.title || chat.turns[0]?.text.trim().split('\n')[0].slice(0, 80) ||
  (chat.turns[0]?.files[0]?.name ?? 'New chat');

// Newest first; with words, those that hold all of them.
export function findChats(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const holds = (chat) => {
    const all = [chat.title, ...chat.turns.flatMap((turn) => [turn.text,
      ...turn.answers.map((answer) => answer.text)])].join('\n').toLowerCase();
    return words.every((word) => all.includes(word));
  };
  return [...chats.values()].filter((chat) => words.length === 0 || holds(chat))
    .sort((a, b) => b.updated - a.updated);
}

// ---- Export and import ----
export const exportChats = (some) => JSON.stringify({format: 'octet-chats', version: 1, chats: some}, null, 1);

// Adds the chats of a file; those that are here already only if the file's are newer. How many.
export function importChats(json) {
  const raw = JSON.parse(json);
  if (!isObject(raw) || raw.format !== 'octet-chats') throw new Error('not an export of octet chats');
  let n = 0;
  for (const chat of list(raw.chats).map(reviveChat)) {
    if (!chat || (chats.get(chat.id)?.updated ?? -1) >= chat.updated) continue;
    if (!keepChat(chat)) throw new Error('the browser has no room for more chats');
    n++;
  }
  return n;
}
