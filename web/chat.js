// The conversation: its turns as elements, the answers that are being written, and what can be done
// with each: stop, go on, ask again, reword, and move between branches.
import {streamChat} from './api.js';
import {$, copyButton, count, growWithText, iconButton, make, seconds, toast} from './dom.js';
import {MarkdownView, visible} from './markdown.js';
import {answersOf, branch, chats, choose, keepChat, messagesFor, newAnswer, newTurn, shownAnswer, siblings}
  from './store.js';

let chat = null, models = new Map(), onChange = () => {};
const running = new Map(); // by answer id: {chat, answer, controller, stats, begun, kept}
const views = new Map();   // by answer id, of the answers on the page: {section, markdown, ...}

export function setUpChat(changed) {
  onChange = changed;
  // A page that is left keeps what was written so far.
  addEventListener('pagehide', () => running.forEach((job) => keepChat(job.chat)));
  setInterval(() => running.forEach((job) => showStats(job.answer)), 200);
}
export function setModels(list) {
  models = new Map(list.map((model) => [model.id, model]));
}
export const modelNames = () => [...models.keys()];
export const modelOf = (name) => models.get(name);
export const currentChat = () => chat;
export const isRunning = () => [...running.values()].some((job) => job.chat === chat);

// The model of a lane: as chosen if the server has it, else its first, for the second lane another.
export function modelFor(lane) {
  const names = modelNames(), name = chat.models[lane];
  return names.includes(name) ? name : names[lane % (names.length || 1)] ?? name ?? '';
}

export function openChat(next) {
  chat = next;
  render();
  toBottom();
  onChange();
}

function keep(which) {
  which.updated = Date.now();
  if (!keepChat(which)) toast('The browser has no room to keep this chat; export it.');
  onChange();
}

// ---- Asking ----
export function stop(which = chat) {
  for (const job of running.values()) if (job.chat === which) job.controller.abort();
}

export function send(text, files) {
  const turns = branch(chat), turn = newTurn(turns.at(-1), text, files);
  ask(turn);
  toBottom();
}

function ask(turn) {
  chat.turns.push(turn);
  choose(chat, turn);
  const lanes = chat.models.length > 1 ? [0, 1] : [0];
  lanes.forEach((lane) => answer(turn, newAnswer(lane, modelFor(lane))));
}

// A new answer in a lane of TURN, or more of one that is there.
async function answer(turn, one) {
  const owner = chat, controller = new AbortController();
  const job = {chat: owner, answer: one, controller, stats: null, begun: performance.now(), kept: 0};
  const messages = messagesFor(owner, turn, one.lane);
  if (one.text) messages.push({role: 'assistant', content: one.text});
  if (!turn.answers.includes(one)) turn.answers.push(one);
  turn.shown[one.lane] = one.id;
  Object.assign(one, {finish: null, error: '', stats: null});
  running.set(one.id, job);
  keep(owner);
  render();
  try {
    const result = await streamChat({model: one.model, messages, sampling: owner.sampling,
      signal: controller.signal, onText: (piece) => addText(job, piece),
      onStats: (stats) => { job.stats = stats; }});
    Object.assign(one, {finish: result.finish, stats: result.stats});
  } catch (error) {
    Object.assign(one, {finish: 'error', error: error.message, stats: job.stats});
  }
  running.delete(one.id);
  if (chats.has(owner.id)) keep(owner); // it may have been deleted meanwhile
  if (owner !== chat) return;
  views.get(one.id)?.finish();
  showGauge();
}

function addText(job, piece) {
  job.answer.text += piece;
  views.get(job.answer.id)?.schedule();
  const now = performance.now();
  if (now - job.kept > 2000 && chats.has(job.chat.id)) {
    job.kept = now;
    keepChat(job.chat);
  }
}

// ---- Figures ----
const speedOf = (stats) => stats.speed ||
  (stats.pieces > 1 ? (stats.pieces - 1) / ((stats.ms - stats.first) / 1000) : 0);

function statsOf(one) {
  const job = running.get(one.id), stats = job ? job.stats : one.stats, parts = [];
  const add = (text, title) => parts.push(make('span', {title}, text));
  if (job && !stats?.first) {
    add(`reading the prompt, ${seconds(performance.now() - job.begun)}`);
  } else if (stats) {
    const exact = stats.generated !== undefined, n = exact ? stats.generated : stats.pieces;
    if (speedOf(stats)) add(`${speedOf(stats).toFixed(1)} tokens/s`, 'speed of writing');
    add(`${exact ? '' : '≈ '}${count(n)} tokens`, `in ${seconds(stats.ms ?? 0)}` + (stats.guessed
      ? `; ${count(stats.guessed)} of them were guessed before they were computed` : ''));
    if (stats.first) add(`first after ${seconds(stats.first)}`, 'time to first token');
    if (exact) {
      add(`prompt ${count(stats.prompt)}, ${count(stats.cached)} cached`, stats.prefill
        ? `tokens of the prompt, read at ${count(stats.prefill)} per second, and how many of them needed no reading`
        : 'tokens of the prompt, and how many of them needed no reading');
    }
  }
  const ends = {length: 'cut off by a limit', stopped: 'stopped'};
  if (!job && ends[one.finish]) add(ends[one.finish]);
  return parts;
}
function showStats(one) {
  views.get(one.id)?.stats.replaceChildren(...statsOf(one));
}

// How much of the context the branch in view fills.
export function showGauge() {
  const gauge = $('#gauge'), known = (turn, lane) => shownAnswer(turn, lane)?.stats?.prompt;
  const last = branch(chat).findLast((turn) => known(turn, 0) || known(turn, 1));
  let used = 0, most = 0;
  for (const lane of last ? [0, 1] : []) {
    const one = shownAnswer(last, lane), n = (one?.stats?.prompt ?? 0) + (one?.stats?.generated ?? 0);
    const meta = models.get(one?.model)?.meta;
    if (n > used && meta) [used, most] = [n, meta.n_ctx];
  }
  gauge.hidden = most === 0;
  if (most === 0) return;
  $('meter', gauge).value = used / most;
  $('span', gauge).textContent = `${count(used)} of ${count(most)} tokens`;
}

// ---- Elements ----
function arrows(list, at, move, what) {
  if (list.length < 2) return null;
  const i = list.indexOf(at);
  const step = (name, title, by) => iconButton(name, title, () => move(list[i + by]),
    {disabled: !list[i + by]});
  return make('span', {class: 'arrows'}, step('left', `Previous ${what}`, -1),
    make('span', {}, `${i + 1}/${list.length}`), step('right', `Next ${what}`, 1));
}

function fileChip(file) {
  return make('details', {class: 'file'}, make('summary', {}, visible(file.name)),
    make('pre', {tabindex: '0'}, visible(file.text.slice(0, 20000))));
}

function editQuestion(box, turn) {
  const area = make('textarea', {'aria-label': 'Your message', rows: 1});
  const cancel = () => render();
  const submit = () => {
    if (area.value.trim() === '' && turn.files.length === 0) return;
    const next = {...newTurn(null, area.value, turn.files), parent: turn.parent, after: turn.after};
    ask(next);
  };
  area.value = turn.text;
  area.addEventListener('input', () => growWithText(area, 400));
  area.addEventListener('keydown', (event) => {
    if (event.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey) submit();
    else if (event.key === 'Escape') cancel();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  box.replaceChildren(area, make('div', {class: 'row end'},
    make('button', {type: 'button', onclick: cancel}, 'Cancel'),
    make('button', {type: 'button', class: 'main', onclick: submit}, 'Ask this instead')));
  growWithText(area, 400);
  area.focus();
}

function questionElement(turn) {
  const parent = chat.turns.find((each) => each.id === turn.parent) ?? null;
  const box = make('div', {class: 'question'});
  const show = (other) => {
    choose(chat, other);
    keepChat(chat);
    render();
  };
  box.append(make('div', {class: 'bubble'}, ...turn.files.map(fileChip),
    make('div', {class: 'said', dir: 'auto'}, visible(turn.text))),
  make('div', {class: 'row end actions'}, arrows(siblings(chat, parent), turn, show, 'wording'),
    iconButton('edit', 'Reword', () => editQuestion(box, turn), {class: 'icon reword'}),
    copyButton(turn.text)));
  return box;
}

function answerElement(turn, one, list) {
  const body = make('div', {class: 'markdown'}), stats = make('div', {class: 'stats'});
  const actions = make('span', {class: 'actions'}), error = make('p', {class: 'error', role: 'alert'});
  const section = make('section', {class: 'answer', 'data-lane': one.lane, 'aria-label': 'Answer'},
    make('h3', {}, visible(one.model)), body, error, make('div', {class: 'row foot'}, actions, stats));
  const view = {section, stats, markdown: new MarkdownView(body), timer: 0, delay: 60};
  const write = () => {
    const begun = performance.now(), low = atBottom();
    view.timer = 0;
    view.markdown.update(one.text);
    if (low) toBottom();
    view.delay = Math.max(60, 4 * (performance.now() - begun)); // long texts may not take over
  };
  view.schedule = () => { view.timer ||= setTimeout(write, view.delay); };
  view.finish = () => {
    clearTimeout(view.timer);
    const low = atBottom(), busy = running.has(one.id);
    view.markdown.update(one.text);
    section.classList.toggle('busy', busy);
    error.hidden = !one.error;
    error.textContent = one.error;
    const show = (other) => {
      turn.shown[one.lane] = other.id;
      keepChat(chat);
      render();
    };
    const again = () => answer(turn, newAnswer(one.lane, modelFor(one.lane)));
    const more = ['stopped', 'length', 'error'].includes(one.finish) && one.text;
    actions.replaceChildren(...(busy ? [] : [arrows(list, one, show, 'answer'),
      copyButton(() => one.text, 'Copy answer'),
      iconButton('redo', 'Ask again', again, {class: 'icon again'}),
      more && iconButton('play', 'Go on writing', () => answer(turn, one), {class: 'icon more'})]
      .filter(Boolean)));
    showStats(one);
    if (low) toBottom();
  };
  views.set(one.id, view);
  view.finish();
  return section;
}

function turnElement(turn) {
  const lanes = [0, 1].filter((lane) => shownAnswer(turn, lane));
  return make('article', {class: 'turn'}, questionElement(turn),
    make('div', {class: lanes.length > 1 ? 'answers two' : 'answers'},
      lanes.map((lane) => answerElement(turn, shownAnswer(turn, lane), answersOf(turn, lane)))));
}

function welcome() {
  return make('div', {class: 'welcome'}, make('h1', {}, 'Ask this machine.'),
    make('p', {}, 'Everything stays here: the model runs on this server, and chats are kept in this ' +
      'browser. Enter sends, Shift+Enter begins a line, Esc stops.'));
}

function render() {
  const turns = branch(chat), box = $('#turns'), low = atBottom(), at = box.scrollTop;
  views.forEach((view) => clearTimeout(view.timer));
  views.clear();
  box.replaceChildren(...(turns.length > 0 ? turns.map(turnElement) : [welcome()]));
  box.classList.toggle('wide-turns', turns.some((turn) => turn.answers.some((one) => one.lane === 1)));
  if (low) toBottom();
  else box.scrollTop = at;
  showGauge();
  onChange();
}

function atBottom() {
  const box = $('#turns');
  return box.scrollHeight - box.scrollTop - box.clientHeight < 60;
}
function toBottom() {
  const box = $('#turns');
  box.scrollTop = box.scrollHeight;
}

export function rewordLast() {
  const buttons = document.querySelectorAll('.reword');
  if (buttons.length > 0) buttons[buttons.length - 1].click();
}
